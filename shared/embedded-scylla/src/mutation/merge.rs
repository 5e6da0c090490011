//! Which of two versions stays.
//!
//! Every rule here is a total order over all that a version is made of, and merging takes the
//! larger one: that is what makes it commutative, associative and idempotent.

use super::{Cell, Expiry, Marker, RowChange, Tombstone};
use crate::schema::ColumnId;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Versions of one thing, of which the larger one stays.
pub(crate) trait Version {
    /// The order of versions.
    fn order(&self, other: &Self) -> Ordering;
}

impl Version for Cell {
    fn order(&self, other: &Self) -> Ordering {
        let by_kind = || match (&self.value, &other.value) {
            (None, None) => self.deleted_at.cmp(&other.deleted_at),
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(left), Some(right)) => {
                expiry_order(self.expiry, other.expiry).then_with(|| left.cmp(right))
            }
        };
        self.timestamp.cmp(&other.timestamp).then_with(by_kind)
    }
}

impl Version for Marker {
    fn order(&self, other: &Self) -> Ordering {
        self.timestamp.cmp(&other.timestamp).then_with(|| expiry_order(self.expiry, other.expiry))
    }
}

impl Version for Tombstone {
    fn order(&self, other: &Self) -> Ordering {
        self.timestamp.cmp(&other.timestamp).then(self.deleted_at.cmp(&other.deleted_at))
    }
}

/// With TTL beats without; then the later expiry; then the smaller TTL, which was written later.
fn expiry_order(left: Option<Expiry>, right: Option<Expiry>) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => left.at.cmp(&right.at).then(right.ttl.cmp(&left.ttl)),
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}

/// Keeps the larger of what is there and `version`.
pub(crate) fn newer<V: Version>(slot: &mut Option<V>, version: V) {
    let keep = slot.as_ref().is_some_and(|present| present.order(&version).is_ge());
    if !keep {
        *slot = Some(version);
    }
}

/// Keeps the larger of the column's cell and `cell`.
pub(crate) fn put_cell(cells: &mut BTreeMap<ColumnId, Cell>, column: ColumnId, cell: Cell) {
    match cells.entry(column) {
        Entry::Vacant(entry) => {
            entry.insert(cell);
        }
        Entry::Occupied(mut entry) if entry.get().order(&cell).is_lt() => {
            entry.insert(cell);
        }
        Entry::Occupied(_) => {}
    }
}

impl Tombstone {
    /// Whether it hides what was written at `timestamp`.
    pub(crate) fn hides(&self, timestamp: i64) -> bool {
        timestamp <= self.timestamp
    }
}

impl Expiry {
    /// Whether it has come.
    pub(crate) fn is_past(&self, now_seconds: i64) -> bool {
        now_seconds >= self.at
    }
}

impl Cell {
    /// Whether a read at `now_seconds` sees its value.
    pub(crate) fn is_live(&self, now_seconds: i64) -> bool {
        self.value.is_some() && !self.expiry.is_some_and(|expiry| expiry.is_past(now_seconds))
    }
}

impl Marker {
    /// Whether it makes its row exist at `now_seconds`.
    pub(crate) fn is_live(&self, now_seconds: i64) -> bool {
        !self.expiry.is_some_and(|expiry| expiry.is_past(now_seconds))
    }
}

impl RowChange {
    /// Drops what the row's own tombstone, or `above` it, hides.
    pub(crate) fn drop_hidden(&mut self, above: Option<Tombstone>) {
        let mut tombstone = self.tombstone;
        if let Some(above) = above {
            newer(&mut tombstone, above);
        }
        let Some(tombstone) = tombstone else { return };
        self.marker = self.marker.filter(|marker| !tombstone.hides(marker.timestamp));
        self.cells.retain(|_, cell| !tombstone.hides(cell.timestamp));
    }

    /// Drops what a read does not see: tombstones and what has expired.
    pub(crate) fn drop_dead(&mut self, now_seconds: i64) {
        self.tombstone = None;
        self.marker = self.marker.filter(|marker| marker.is_live(now_seconds));
        self.cells.retain(|_, cell| cell.is_live(now_seconds));
    }

    /// Whether a row with only live parts exists.
    pub(crate) fn exists(&self) -> bool {
        self.marker.is_some() || !self.cells.is_empty()
    }
}
