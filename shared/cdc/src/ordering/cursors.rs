//! Cursors of aggregates that nothing is being done for, kept so that the next event costs no read.
//!
//! Bounded; the least recently used goes first. An entry whose newest event is not confirmed yet is
//! pinned: the confirm pass is going to ask for it within seconds. The pin is soft: when everything
//! is pinned, the oldest goes all the same and costs one read later.

use crate::source::Cursor;
use kernel::Version;
use leases::Slot;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// One aggregate in one consumer, by the consumer's place in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LaneKey {
    /// The slot of the aggregate.
    pub(crate) slot: Slot,
    pub(crate) aggregate_id: Uuid,
    pub(crate) consumer: usize,
}

#[derive(Debug)]
struct Entry {
    cursor: Cursor,
    /// Up to which version the confirm pass has seen it settled.
    confirmed: Version,
    /// Place in the order of use.
    tick: u64,
}

impl Entry {
    fn rank(&self) -> (bool, u64) {
        (self.cursor.version > self.confirmed, self.tick)
    }
}

/// Cursors by use.
#[derive(Debug)]
pub(crate) struct CursorCache {
    capacity: usize,
    ticks: u64,
    entries: HashMap<LaneKey, Entry>,
    /// Not pinned before pinned, then by use: the first goes first.
    order: BTreeMap<(bool, u64), LaneKey>,
}

impl CursorCache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, ticks: 0, entries: HashMap::new(), order: BTreeMap::new() }
    }

    /// The version of a cached cursor. Counts as a use.
    pub(crate) fn version(&mut self, key: LaneKey) -> Option<Version> {
        self.ticks += 1;
        let entry = self.entries.get_mut(&key)?;
        self.order.remove(&entry.rank());
        entry.tick = self.ticks;
        self.order.insert(entry.rank(), key);
        Some(entry.cursor.version)
    }

    /// Takes a cursor out, for the lane that works with it, and the version that is confirmed.
    pub(crate) fn take(&mut self, key: LaneKey) -> Option<(Cursor, Version)> {
        let entry = self.entries.remove(&key)?;
        self.order.remove(&entry.rank());
        Some((entry.cursor, entry.confirmed))
    }

    /// Puts a stored cursor in.
    pub(crate) fn put(&mut self, key: LaneKey, cursor: Cursor, confirmed: Version) {
        self.take(key);
        self.ticks += 1;
        let entry = Entry { cursor, confirmed, tick: self.ticks };
        self.order.insert(entry.rank(), key);
        self.entries.insert(key, entry);
        while self.entries.len() > self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.entries.remove(&oldest);
        }
    }

    /// The confirm pass saw `version` settled.
    pub(crate) fn confirm(&mut self, key: LaneKey, version: Version) {
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.confirmed < version
        {
            self.order.remove(&entry.rank());
            entry.confirmed = version;
            self.order.insert(entry.rank(), key);
        }
    }

    /// Forgets everything of a slot: another process may go on with it.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.entries.retain(|key, _| key.slot != slot);
        self.order.retain(|_, key| key.slot != slot);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len(), "one place per entry");
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u128) -> LaneKey {
        LaneKey {
            slot: Slot(u32::from(number >= 100)),
            aggregate_id: Uuid::from_u128(number),
            consumer: 0,
        }
    }

    fn at(version: u64) -> Cursor {
        Cursor { version: Version(version), view: None }
    }

    #[test]
    fn the_least_recently_used_cursor_goes_first() {
        let mut cache = CursorCache::new(2);
        cache.put(key(1), at(1), Version(1));
        cache.put(key(2), at(1), Version(1));
        assert_eq!(cache.version(key(1)), Some(Version(1)));
        cache.put(key(3), at(1), Version(1));
        assert_eq!(cache.version(key(2)), None);
        assert_eq!(cache.version(key(1)), Some(Version(1)));
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn an_unconfirmed_cursor_outlives_a_younger_confirmed_one() {
        let mut cache = CursorCache::new(2);
        cache.put(key(1), at(5), Version(4));
        cache.put(key(2), at(1), Version(1));
        cache.put(key(3), at(1), Version(1));
        assert_eq!(cache.version(key(1)), Some(Version(5)));
        assert_eq!(cache.version(key(2)), None);
        cache.confirm(key(1), Version(5));
        cache.put(key(4), at(1), Version(1));
        cache.put(key(5), at(1), Version(1));
        assert_eq!(cache.version(key(1)), None);
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn a_slot_that_is_given_up_leaves_nothing_behind() {
        let mut cache = CursorCache::new(9);
        cache.put(key(1), at(5), Version(4));
        cache.put(key(101), at(1), Version(1));
        cache.forget(Slot(1));
        assert_eq!(cache.version(key(101)), None);
        assert_eq!(cache.version(key(1)), Some(Version(5)));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn the_bound_holds_when_everything_is_unconfirmed() {
        let mut cache = CursorCache::new(3);
        for number in 0..100 {
            cache.put(key(number), at(1), Version(0));
        }
        assert_eq!(cache.len(), 3);
        assert_eq!(cache.version(key(99)), Some(Version(1)));
    }
}
