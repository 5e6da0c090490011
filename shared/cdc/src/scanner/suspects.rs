//! Events that were seen stored and not handled, until they are, or until something is made of it.
//!
//! All by the observer's own view: an event is a suspect from the look that found it; it is an anomaly
//! when a look at least `age` later finds it unhandled still, although the group's checkpoint has
//! passed that time of the log. Had it been announced by then, the confirm pass would have handled it.

use crate::log_time::LogTime;
use kernel::Version;
use leases::Slot;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// An event that was seen unhandled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) aggregate_id: Uuid,
    pub(crate) aggregate_type: String,
    pub(crate) version: Version,
    pub(crate) slot: Slot,
    /// When it was seen, by the process's clock and at most by the database's.
    pub(crate) seen: Instant,
    pub(crate) seen_at: LogTime,
    /// How often it was announced again since.
    pub(crate) announced: u32,
}

impl Suspect {
    /// How long it has to be seen unhandled; twice as long after each announcement.
    pub(crate) fn patience(&self, age: Duration) -> Duration {
        age.saturating_mul(1 << self.announced.min(8))
    }

    /// The checkpoint that must have been reached.
    pub(crate) fn settled_from(&self, age: Duration) -> LogTime {
        self.seen_at.plus(self.patience(age))
    }
}

/// The suspects, bounded in number.
#[derive(Debug)]
pub(crate) struct Suspects {
    max: usize,
    by_aggregate: HashMap<Uuid, Suspect>,
}

impl Suspects {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, by_aggregate: HashMap::new() }
    }

    /// Takes note of an unhandled event. The first one of an aggregate stays, whatever comes after it.
    pub(crate) fn note(&mut self, suspect: Suspect) {
        if self.by_aggregate.len() < self.max {
            self.by_aggregate.entry(suspect.aggregate_id).or_insert(suspect);
        }
    }

    /// It is handled, or nothing can be done about it.
    pub(crate) fn clear(&mut self, aggregate_id: Uuid) {
        self.by_aggregate.remove(&aggregate_id);
    }

    /// It was announced again: it has to be seen unhandled anew.
    pub(crate) fn announced(&mut self, aggregate_id: Uuid, now: Instant, at: LogTime) {
        if let Some(suspect) = self.by_aggregate.get_mut(&aggregate_id) {
            (suspect.seen, suspect.seen_at) = (now, at);
            suspect.announced += 1;
        }
    }

    /// Forgets the slots that are not `owned` any more, and gives those that are old enough.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        age: Duration,
        owned: impl Fn(Slot) -> bool,
    ) -> Vec<Suspect> {
        self.by_aggregate.retain(|_, suspect| owned(suspect.slot));
        let old = self.by_aggregate.values().filter(|s| now >= s.seen + s.patience(age));
        old.cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_aggregate.len()
    }
}
