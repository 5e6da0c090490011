//! All sets of CDC streams that a node has had: generations.
//!
//! Tables of vnode keyspaces share one history, each table with CDC in a tablets keyspace has its
//! own. A change goes to the stream set that is current at its write timestamp.

use super::Generation;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// The longest history; the oldest sets are never forgotten, so nothing more is opened then.
pub(crate) const GENERATIONS_MAX: usize = 1024;

/// Stream sets that followed one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History(Vec<Arc<Generation>>);

/// Every history of a node. Replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    vnodes: History,
    /// By base table.
    tablets: BTreeMap<Uuid, History>,
}

impl History {
    /// The first set.
    pub fn new(first: Generation) -> Self {
        Self(vec![Arc::new(first)])
    }

    /// All sets, ascending by time; at least one.
    pub fn all(&self) -> &[Arc<Generation>] {
        &self.0
    }

    /// The set that was there first.
    pub fn first(&self) -> &Arc<Generation> {
        &self.0[0]
    }

    /// The set that begins last, which may be still to come.
    pub fn newest(&self) -> &Arc<Generation> {
        &self.0[self.0.len() - 1]
    }

    /// The set that is current at a time in µs; `None` before the first.
    pub fn at(&self, micros: i64) -> Option<&Arc<Generation>> {
        self.0.iter().rev().find(|one| one.begins_micros() <= micros)
    }

    /// Adds a set; false if it does not begin after all others.
    #[must_use]
    fn push(&mut self, generation: Generation) -> bool {
        let follows = generation.time_millis > self.newest().time_millis;
        if follows {
            self.0.push(Arc::new(generation));
        }
        follows
    }
}

impl Streams {
    /// Those of a node that has no tablets (yet).
    pub fn new(first: Generation) -> Self {
        Self { vnodes: History::new(first), tablets: BTreeMap::new() }
    }

    /// The history that all vnode tables share.
    pub fn vnodes(&self) -> &History {
        &self.vnodes
    }

    /// The history of a table with CDC on tablets.
    pub fn tablets(&self, table: Uuid) -> Option<&History> {
        self.tablets.get(&table)
    }

    /// The tables that have a history of their own.
    pub(crate) fn tablet_tables(&self) -> impl Iterator<Item = (Uuid, &History)> {
        self.tablets.iter().map(|(table, history)| (*table, history))
    }

    /// The history that a base table's changes go by.
    pub fn of(&self, table: Uuid) -> &History {
        self.tablets.get(&table).unwrap_or(&self.vnodes)
    }

    /// Adds a set, of a table's tablets or (`None`) of the vnodes; false if it does not begin after
    /// the others.
    #[must_use]
    pub(crate) fn push(&mut self, table: Option<Uuid>, generation: Generation) -> bool {
        match table {
            None => self.vnodes.push(generation),
            Some(table) => match self.tablets.get_mut(&table) {
                Some(history) => history.push(generation),
                None => self.tablets.insert(table, History::new(generation)).is_none(),
            },
        }
    }

    /// Forgets a table that is gone.
    pub(crate) fn remove(&mut self, table: Uuid) {
        self.tablets.remove(&table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(time_millis: i64) -> Generation {
        Generation::even(Uuid::nil(), 4, time_millis)
    }

    #[test]
    fn the_newest_set_that_has_begun_is_current() {
        let mut streams = Streams::new(generation(10));
        assert!(streams.push(None, generation(20)) && streams.push(None, generation(30)));
        assert!(!streams.push(None, generation(30)), "not after the others");
        let at = |micros| streams.vnodes().at(micros).map(|one| one.time_millis);
        assert_eq!(
            [9_999, 10_000, 19_999, 20_000, 50_000].map(at),
            [None, Some(10), Some(10), Some(20), Some(30)]
        );
    }

    #[test]
    fn a_table_on_tablets_has_a_history_of_its_own() {
        let mut streams = Streams::new(generation(10));
        let (ours, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(streams.push(Some(ours), generation(40)));
        assert!(streams.push(Some(ours), generation(50)));
        assert_eq!(streams.of(ours).newest().time_millis, 50);
        assert_eq!(streams.of(other).newest().time_millis, 10);
        streams.remove(ours);
        assert_eq!(streams.of(ours).newest().time_millis, 10);
    }
}
