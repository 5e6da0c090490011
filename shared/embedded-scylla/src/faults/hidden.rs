//! Groups of CDC log rows that are stored but not visible yet.
//!
//! Rows are committed together with their base row, so a killed process loses none of them: what it
//! forgets is only that they were to be invisible. Who reads asks for the times that a stream hides
//! at that moment; a group becomes visible when its moment has come, without anybody's doing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many groups may be hidden at a time; further ones are visible at once.
const GROUPS_MAX: usize = 200_000;

/// How often at most what has become visible is forgotten.
const SWEEP: Duration = Duration::from_millis(100);

/// Storage id of the log table, stream id.
type Stream = (u32, Vec<u8>);

/// Until when groups are hidden, by stream and `cdc$time`.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    /// Whether there is any: the only thing that a healthy read looks at.
    any: AtomicBool,
    groups: Mutex<Groups>,
}

#[derive(Debug, Default)]
struct Groups {
    streams: HashMap<Stream, HashMap<Vec<u8>, Instant>>,
    count: usize,
    swept: Option<Instant>,
}

/// The times that one stream hides from one read.
#[derive(Debug)]
pub(crate) struct Unseen(HashSet<Vec<u8>>);

impl Unseen {
    /// Whether the group of this time is hidden.
    pub(crate) fn hides(&self, time: &[u8]) -> bool {
        self.0.contains(time)
    }
}

impl Hidden {
    /// Hides a group from now on; false when too many are hidden.
    pub(crate) fn hide(&self, storage_id: u32, stream: &[u8], time: &[u8], span: Duration) -> bool {
        let now = Instant::now();
        let mut groups = self.groups();
        groups.sweep(now);
        if groups.count >= GROUPS_MAX {
            return false;
        }
        let times = groups.streams.entry((storage_id, stream.to_vec())).or_default();
        if times.insert(time.to_vec(), now + span).is_none() {
            groups.count += 1;
        }
        self.any.store(true, Ordering::Release);
        true
    }

    /// What a stream hides from a read that begins now.
    pub(crate) fn of(&self, storage_id: u32, stream: &[u8]) -> Option<Unseen> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let now = Instant::now();
        let mut groups = self.groups();
        groups.sweep(now);
        self.any.store(groups.count > 0, Ordering::Release);
        let times = groups.streams.get(&(storage_id, stream.to_vec()))?;
        let unseen = times.iter().filter(|(_, until)| **until > now);
        Some(Unseen(unseen.map(|(time, _)| time.clone()).collect()))
    }

    /// How many groups are hidden now.
    pub(crate) fn count(&self) -> u64 {
        let now = Instant::now();
        let groups = self.groups();
        let times = groups.streams.values().flat_map(HashMap::values);
        times.filter(|until| **until > now).count() as u64
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Groups {
    /// Forgets what is visible by now.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.streams.retain(|_, times| {
            times.retain(|_, until| *until > now);
            !times.is_empty()
        });
        self.count = self.streams.values().map(HashMap::len).sum();
    }
}
