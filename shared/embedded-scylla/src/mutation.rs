//! A change of one partition, and the rows that reads give back.
//!
//! Merging is commutative and idempotent: any order of the same changes gives the
//! same rows.

pub(crate) mod merge;

use crate::schema::{Column, ColumnId, Table};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// A partition key with its token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionKey {
    /// By the table's partitioner.
    pub token: i64,
    /// The key's components, CQL-serialised, in key order.
    pub components: Vec<Bytes>,
}

/// The clustering components of one row, CQL-serialised, in key order; empty for tables without
/// clustering columns. A shorter list is a prefix and is only used in bounds.
pub type ClusteringKey = Vec<Bytes>;

/// One version of one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Write timestamp in µs.
    pub timestamp: i64,
    /// `None`: a tombstone.
    pub value: Option<Bytes>,
    /// Set when written with a TTL.
    pub expiry: Option<Expiry>,
    /// Tombstones: when it was deleted, in seconds; 0 otherwise.
    pub deleted_at: i64,
}

/// TTL and expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// As written, in seconds.
    pub ttl: u32,
    /// Expired when the server's clock, in seconds since 1970, is at or past this.
    pub at: i64,
}

/// The row marker that INSERT writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Write timestamp in µs.
    pub timestamp: i64,
    /// Set when written with a TTL.
    pub expiry: Option<Expiry>,
}

/// Hides everything at or before its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// Write timestamp in µs.
    pub timestamp: i64,
    /// In seconds since 1970.
    pub deleted_at: i64,
}

/// A change of one row, or a stored row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowChange {
    /// From INSERT.
    pub marker: Option<Marker>,
    /// From DELETE of the whole row.
    pub tombstone: Option<Tombstone>,
    /// By column.
    pub cells: BTreeMap<ColumnId, Cell>,
}

/// Deletes a range of rows. Bounds are prefixes in *clustering* order (so with DESC the larger
/// value is the start).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeTombstone {
    /// Lower bound in clustering order.
    pub start: Bound<ClusteringKey>,
    /// Upper bound in clustering order.
    pub end: Bound<ClusteringKey>,
    /// What it hides.
    pub tombstone: Tombstone,
}

/// All changes of one partition of one table by one request: what a batch merges into, and what CDC looks at.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// The table.
    pub table: Arc<Table>,
    /// The partition.
    pub key: PartitionKey,
    /// DELETE of the whole partition.
    pub tombstone: Option<Tombstone>,
    /// Static cells.
    pub statics: BTreeMap<ColumnId, Cell>,
    /// Changed rows in clustering order. Kept sorted by the table's comparator by
    /// [`Mutation::row_mut`].
    pub rows: Vec<(ClusteringKey, RowChange)>,
    /// Range deletes, in statement order.
    pub ranges: Vec<RangeTombstone>,
}

/// A row as a read sees it: merged, tombstones applied, expired cells gone. Only live rows are
/// given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Full clustering key.
    pub clustering: ClusteringKey,
    /// A live marker, if any.
    pub marker: Option<Marker>,
    /// Live regular cells (`value` is always `Some`).
    pub cells: BTreeMap<ColumnId, Cell>,
}

/// A slice of one partition's rows, in clustering order; bounds are prefixes.
#[derive(Debug, Clone)]
pub struct Slice {
    /// Lower bound in clustering order.
    pub start: Bound<ClusteringKey>,
    /// Upper bound in clustering order.
    pub end: Bound<ClusteringKey>,
    /// Newest-first when the clustering order is to be reversed.
    pub reversed: bool,
}

impl Cell {
    /// A live cell without TTL.
    pub fn live(timestamp: i64, value: Bytes) -> Self {
        Self { timestamp, value: Some(value), expiry: None, deleted_at: 0 }
    }

    /// A tombstone written at `deleted_at` (seconds since 1970).
    pub fn dead(timestamp: i64, deleted_at: i64) -> Self {
        Self { timestamp, value: None, expiry: None, deleted_at }
    }
}

impl RowChange {
    /// Adds one cell; of two for one column the one that F.1 prefers stays.
    pub fn set_cell(&mut self, column: ColumnId, cell: Cell) {
        merge::put_cell(&mut self.cells, column, cell);
    }

    /// Adds a row marker.
    pub fn set_marker(&mut self, marker: Marker) {
        merge::newer(&mut self.marker, marker);
    }

    /// Adds a row tombstone.
    pub fn set_tombstone(&mut self, tombstone: Tombstone) {
        merge::newer(&mut self.tombstone, tombstone);
    }

    /// Adds another change of the same row. Cells that a tombstone of either hides stay.
    pub fn merge(&mut self, other: &Self) {
        if let Some(marker) = other.marker {
            self.set_marker(marker);
        }
        if let Some(tombstone) = other.tombstone {
            self.set_tombstone(tombstone);
        }
        for (column, cell) in &other.cells {
            self.set_cell(*column, cell.clone());
        }
    }
}

impl Slice {
    /// The whole partition, in clustering order.
    pub fn all() -> Self {
        Self { start: Bound::Unbounded, end: Bound::Unbounded, reversed: false }
    }

    /// The rows whose clustering key begins with `prefix`; with a full key that one row.
    pub fn prefix(prefix: ClusteringKey) -> Self {
        let (start, end) = (Bound::Included(prefix.clone()), Bound::Included(prefix));
        Self { start, end, reversed: false }
    }
}

impl Mutation {
    /// No change yet.
    pub fn new(table: Arc<Table>, key: PartitionKey) -> Self {
        Self {
            table,
            key,
            tombstone: None,
            statics: BTreeMap::new(),
            rows: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.tombstone.is_none()
            && self.statics.is_empty()
            && self.rows.is_empty()
            && self.ranges.is_empty()
    }

    /// The change of one row, empty if there was none; rows stay in clustering order.
    pub fn row_mut(&mut self, clustering: ClusteringKey) -> &mut RowChange {
        let columns = self.table.clustering();
        let position =
            self.rows.binary_search_by(|(key, _)| compare_clustering(columns, key, &clustering));
        let index = position.unwrap_or_else(|index| {
            self.rows.insert(index, (clustering, RowChange::default()));
            index
        });
        &mut self.rows[index].1
    }

    /// Adds one static cell.
    pub fn set_static(&mut self, column: ColumnId, cell: Cell) {
        merge::put_cell(&mut self.statics, column, cell);
    }

    /// Adds a tombstone of the whole partition.
    pub fn set_tombstone(&mut self, tombstone: Tombstone) {
        merge::newer(&mut self.tombstone, tombstone);
    }

    /// Adds another change of the same partition of the same table.
    pub fn merge(&mut self, other: Self) {
        debug_assert!(self.table.id == other.table.id && self.key == other.key);
        if let Some(tombstone) = other.tombstone {
            self.set_tombstone(tombstone);
        }
        for (column, cell) in other.statics {
            self.set_static(column, cell);
        }
        for (clustering, change) in other.rows {
            self.row_mut(clustering).merge(&change);
        }
        self.ranges.extend(other.ranges);
    }
}

/// The order of two clustering keys or prefixes; a prefix comes before what it begins.
pub fn compare_clustering(columns: &[Column], left: &[Bytes], right: &[Bytes]) -> Ordering {
    for ((left, right), column) in left.iter().zip(right).zip(columns) {
        let order = column.ty.compare(left, right);
        if order.is_ne() {
            return if column.descending { order.reverse() } else { order };
        }
    }
    left.len().cmp(&right.len())
}
