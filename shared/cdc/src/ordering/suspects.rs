//! Aggregates of which the process may have died.
//!
//! A slot that was taken twice or more from an owner which had not released it, without its
//! checkpoint having moved, may hold an event that kills its process. Its first unhandled aggregates
//! are then *suspects*: handled one at a time, each attempt recorded before it begins, so that the
//! next process knows which event was in hand.
//!
//! As many are suspects as run in parallel: more were not in hand when the process died. What the others had done
//! is in their cursors, so after each crash they are other ones, and it is not for long that aggregates are handled
//! one at a time. Were there more of them after each further crash, then a process that is killed again
//! and again for other reasons would get less done each time, until its checkpoint never moves.

use super::LaneKey;
use kernel::Version;
use leases::Slot;
use std::collections::{BTreeMap, HashSet};

/// From this crash on.
const CRASHES_MIN: u32 = 2;

/// The slots that have suspects.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    /// How many suspects are left, by slot.
    left: BTreeMap<Slot, usize>,
    /// Attempts that this process recorded: repeating one after a failure is not another one.
    recorded: HashSet<(LaneKey, Version)>,
}

impl Suspects {
    /// A slot was taken whose owners died so often.
    pub(crate) fn take(&mut self, slot: Slot, crashes: u32, parallel: usize) {
        if crashes >= CRASHES_MIN {
            self.left.insert(slot, parallel);
        } else {
            self.left.remove(&slot);
        }
    }

    /// Whether the slot's aggregates are suspects.
    pub(crate) fn any_in(&self, slot: Slot) -> bool {
        self.left.contains_key(&slot)
    }

    /// Whether an attempt is still to be recorded.
    pub(crate) fn is_new(&self, key: LaneKey, version: Version) -> bool {
        !self.recorded.contains(&(key, version))
    }

    /// The attempt is recorded.
    pub(crate) fn record(&mut self, key: LaneKey, version: Version) {
        self.recorded.insert((key, version));
    }

    /// The slot is given up: its next owner finds out by itself.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.left.remove(&slot);
        self.recorded.retain(|(key, _)| key.slot != slot);
    }

    /// The process outlived an attempt for good: one suspect less.
    pub(crate) fn clear(&mut self, slot: Slot, key: LaneKey, version: Version) {
        self.recorded.remove(&(key, version));
        if let Some(left) = self.left.get_mut(&slot) {
            *left -= 1;
            if *left == 0 {
                self.left.remove(&slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const KEY: LaneKey = LaneKey { slot: Slot(7), aggregate_id: Uuid::nil(), consumer: 0 };

    #[test]
    fn from_the_second_crash_on_there_are_as_many_suspects_as_run_in_parallel() {
        for (crashes, expected) in [(0, 0), (1, 0), (2, 3), (3, 3), (u32::MAX, 3)] {
            let mut suspects = Suspects::default();
            suspects.take(Slot(7), crashes, 3);
            let mut found = 0;
            while suspects.any_in(Slot(7)) {
                suspects.clear(Slot(7), KEY, Version(found));
                found += 1;
            }
            assert_eq!(found, expected, "after {crashes} crashes");
        }
    }

    #[test]
    fn an_attempt_is_recorded_once() {
        let mut suspects = Suspects::default();
        suspects.take(Slot(7), 2, 3);
        assert!(suspects.is_new(KEY, Version(4)));
        suspects.record(KEY, Version(4));
        assert!(!suspects.is_new(KEY, Version(4)));
        assert!(suspects.is_new(KEY, Version(5)));
    }
}
