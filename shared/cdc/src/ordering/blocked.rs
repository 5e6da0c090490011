//! Which aggregates have a letter as far as this process knows.
//!
//! What is in here makes the lane of an aggregate read its letter first. What is missing costs an
//! attempt, and no more: the event is handled if that is possible now, and else found in its letter.
//! So the set may be bounded.

use super::LaneKey;
use leases::Slot;
use std::collections::HashSet;

/// The lanes whose letter has to be read before anything else.
#[derive(Debug)]
pub(crate) struct Blocked {
    keys: HashSet<LaneKey>,
    capacity: usize,
}

impl Blocked {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { keys: HashSet::new(), capacity }
    }

    pub(crate) fn contains(&self, key: LaneKey) -> bool {
        self.keys.contains(&key)
    }

    /// Remembers that there is a letter; beyond the bound it does not.
    pub(crate) fn insert(&mut self, key: LaneKey) {
        if self.keys.len() < self.capacity {
            self.keys.insert(key);
        }
    }

    pub(crate) fn remove(&mut self, key: LaneKey) {
        self.keys.remove(&key);
    }

    /// Forgets everything of a slot: another process may go on with it.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.keys.retain(|key| key.slot != slot);
    }
}
