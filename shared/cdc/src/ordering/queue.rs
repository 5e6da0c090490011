//! The events of a lane that wait for their turn.

use super::Step;
use crate::consumer::Change;
use crate::source::Cursor;
use kernel::{RecordedEvent, Version};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A share of the bound on events in flight: held, not used.
pub(crate) type Share = Arc<OwnedSemaphorePermit>;

/// What waits, and what is known to exist beyond that.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// One that was healed has no share: these are bounded per lane.
    pending: BTreeMap<Version, (Arc<Change>, Option<Share>)>,
    /// The newest version that is known to exist.
    wanted: Version,
    /// Events were dropped from memory; that they are missing is no gap of the log.
    pub(crate) is_shed: bool,
    /// One of the next events cannot be read, so they are read one at a time.
    pub(crate) singly: bool,
}

impl Queue {
    /// Whether an announced event waits already, or is going to be read when its turn comes.
    pub(crate) fn knows(&self, version: Version, most: usize) -> bool {
        let is_full = self.is_shed || self.pending.len() >= most;
        self.pending.contains_key(&version) || (is_full && version <= self.wanted)
    }

    /// The version exists.
    pub(crate) fn want(&mut self, version: Version) {
        self.wanted = self.wanted.max(version);
    }

    /// Takes an event; one without content, or beyond the bound, is read when its turn comes.
    pub(crate) fn push(
        &mut self,
        version: Version,
        change: Option<(Arc<Change>, Option<Share>)>,
        most: usize,
    ) {
        self.want(version);
        match change {
            Some(change) if !self.is_shed && self.pending.len() < most => {
                self.pending.insert(version, change);
            }
            Some(_) => self.is_shed = true,
            None => {}
        }
    }

    /// Takes events that were read from the event store: all that are wanted, or the first ones.
    pub(crate) fn fill(&mut self, events: Vec<RecordedEvent>, is_all: bool) {
        for event in events {
            self.want(event.version);
            let (version, change) = (event.version, Arc::new(Change { event, topic: None }));
            self.pending.entry(version).or_insert((change, None));
        }
        self.is_shed &= !is_all;
    }

    /// What is to be done about the events after the cursor, and before `end`.
    pub(crate) fn next(&self, cursor: &Cursor, end: Option<Version>) -> Option<Step> {
        let (after, next) = (cursor.version, cursor.version.next());
        if self.wanted <= after || end.is_some_and(|end| next >= end) {
            return None;
        }
        if let Some((change, _)) = self.pending.get(&next) {
            return Some(Step::Handle { change: change.clone(), view: cursor.view.clone() });
        }
        let wanted = end.map_or(self.wanted, |end| self.wanted.min(Version(end.0 - 1)));
        Some(Step::Heal { after, wanted, is_gap: !self.is_shed, singly: self.singly })
    }

    /// The event of a version, while it waits.
    pub(crate) fn change(&self, version: Version) -> Option<&Change> {
        self.pending.get(&version).map(|(change, _)| &**change)
    }

    /// Everything up to the version is done.
    pub(crate) fn forget(&mut self, handled: Version) {
        self.pending = self.pending.split_off(&handled.next());
    }

    /// Drops all contents.
    pub(crate) fn clear(&mut self) {
        self.pending.clear();
        self.is_shed = true;
    }

    /// Drops all contents but the first.
    pub(crate) fn shed(&mut self) {
        if let Some(second) = self.pending.keys().nth(1).copied() {
            self.pending.split_off(&second);
            self.is_shed = true;
        }
    }
}
