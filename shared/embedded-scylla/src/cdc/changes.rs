//! From a partition's change to groups of log rows: one group per write timestamp, its rows in
//! ScyllaDB's order.

use crate::mutation::{Cell, ClusteringKey, Mutation, RangeTombstone, RowChange};
use crate::schema::{ColumnId, Table};
use crate::storage::key;
use crate::storage::ranges::{Edge, Span, Spans};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Values of `cdc$operation`.
pub(super) mod operation {
    pub(crate) const PREIMAGE: i8 = 0;
    pub(crate) const UPDATE: i8 = 1;
    pub(crate) const INSERT: i8 = 2;
    pub(crate) const ROW_DELETE: i8 = 3;
    pub(crate) const PARTITION_DELETE: i8 = 4;
    pub(crate) const RANGE_START_INCLUSIVE: i8 = 5;
    pub(crate) const RANGE_START_EXCLUSIVE: i8 = 6;
    pub(crate) const RANGE_END_INCLUSIVE: i8 = 7;
    pub(crate) const RANGE_END_EXCLUSIVE: i8 = 8;
    pub(crate) const POSTIMAGE: i8 = 9;
}

/// What a log row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Static,
    /// Index into the mutation's rows.
    Row(usize),
    /// A bound of a range; empty if it is open.
    Bound(ClusteringKey),
    Partition,
}

/// A log row in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) operation: i8,
    /// Seconds; 0 is none.
    pub(super) ttl: u32,
    /// Base columns; `None` is deleted.
    pub(super) cells: Vec<(ColumnId, Option<Bytes>)>,
}

impl Entry {
    fn bare(place: Place, operation: i8) -> Self {
        Self { place, operation, ttl: 0, cells: Vec::new() }
    }
}

/// The changes of one partition with one write timestamp.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) timestamp: i64,
    pub(super) entries: Vec<Entry>,
    /// The ranges that it deletes.
    pub(super) ranges: Spans<Position>,
}

/// A place between rows: encoded for the order, and as a prefix of a clustering key with the side
/// of it.
#[derive(Debug, Clone)]
pub(super) struct Position {
    pub(super) edge: Edge,
    prefix: ClusteringKey,
    after: bool,
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.edge == other.edge
    }
}

impl Eq for Position {}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.edge.cmp(&other.edge)
    }
}

/// The groups of a change, by ascending timestamp.
pub(super) fn groups(mutation: &Mutation) -> Vec<Group> {
    let ranges = ranges(mutation);
    if is_simple(mutation, &ranges) {
        return simple(mutation, ranges).into_iter().collect();
    }
    split(mutation, ranges)
}

fn ranges(mutation: &Mutation) -> Spans<Position> {
    let mut spans = Spans::default();
    for range in &mutation.ranges {
        spans.insert(span(&mutation.table, range));
    }
    spans
}

fn span(table: &Table, range: &RangeTombstone) -> Span<Position> {
    let (start, end) = key::clustering_bounds(table, &range.start, &range.end);
    let side = |bound: &Bound<ClusteringKey>, after_included: bool| match bound {
        Bound::Unbounded => (ClusteringKey::new(), after_included),
        Bound::Included(prefix) => (prefix.clone(), after_included),
        Bound::Excluded(prefix) => (prefix.clone(), !after_included),
    };
    let (start_prefix, start_after) = side(&range.start, false);
    let (end_prefix, end_after) = side(&range.end, true);
    Span {
        start: Position { edge: Edge::At(start), prefix: start_prefix, after: start_after },
        end: Position {
            edge: end.map_or(Edge::Open, Edge::At),
            prefix: end_prefix,
            after: end_after,
        },
        tombstone: range.tombstone,
    }
}

fn ttl_of(cell: &Cell) -> u32 {
    match (&cell.value, cell.expiry) {
        (Some(_), Some(expiry)) => expiry.ttl,
        _ => 0,
    }
}

/// Whether all can be logged in one go: one timestamp, one TTL (deletions have none), and kinds of
/// change that do not get into each other's way.
fn is_simple(mutation: &Mutation, ranges: &Spans<Position>) -> bool {
    if mutation.tombstone.is_some() {
        return false;
    }
    let has_static = !mutation.statics.is_empty();
    let has_rows = !mutation.rows.is_empty();
    if has_static && (has_rows || !ranges.is_empty()) || has_rows && !ranges.is_empty() {
        return false;
    }
    let mut upserted = false;
    let mut stamps = BTreeSet::new();
    let cells = |stamps: &mut BTreeSet<(i64, u32)>, cells: &BTreeMap<ColumnId, Cell>| {
        stamps.extend(cells.values().map(|cell| (cell.timestamp, ttl_of(cell))));
    };
    cells(&mut stamps, &mutation.statics);
    for (_, row) in &mutation.rows {
        upserted |= is_upsert(row);
        if let Some(tombstone) = row.tombstone {
            if upserted {
                return false;
            }
            stamps.insert((tombstone.timestamp, 0));
        }
        cells(&mut stamps, &row.cells);
        stamps.extend(row.marker.map(|m| (m.timestamp, m.expiry.map_or(0, |e| e.ttl))));
    }
    let timestamps: BTreeSet<i64> = stamps
        .iter()
        .map(|(timestamp, _)| *timestamp)
        .chain(ranges.as_slice().iter().map(|span| span.tombstone.timestamp))
        .collect();
    // A tombstone beside rows with a TTL is a second TTL; ranges are alone here.
    timestamps.len() <= 1 && stamps.len() <= 1
}

fn is_upsert(row: &RowChange) -> bool {
    row.marker.is_some() || !row.cells.is_empty()
}

fn values<'a>(
    cells: impl Iterator<Item = (&'a ColumnId, &'a Cell)>,
) -> Vec<(ColumnId, Option<Bytes>)> {
    cells.map(|(column, cell)| (*column, cell.value.clone())).collect()
}

/// One group: the static row, rows in clustering order, ranges. `None` if nothing is changed.
fn simple(mutation: &Mutation, ranges: Spans<Position>) -> Option<Group> {
    let mut timestamp = None;
    let mut entries = Vec::new();
    if let Some(cell) = mutation.statics.values().next() {
        timestamp = Some(cell.timestamp);
        let cells = values(mutation.statics.iter());
        let (place, operation) = (Place::Static, operation::UPDATE);
        entries.push(Entry { place, operation, ttl: ttl_of(cell), cells });
    }
    for (index, (_, row)) in mutation.rows.iter().enumerate() {
        let place = Place::Row(index);
        if let Some(tombstone) = row.tombstone {
            timestamp = Some(tombstone.timestamp);
            entries.push(Entry::bare(place, operation::ROW_DELETE));
            continue;
        }
        let first = row.cells.values().next().map(|cell| (cell.timestamp, ttl_of(cell)));
        let marker = row.marker.map(|m| (m.timestamp, m.expiry.map_or(0, |e| e.ttl)));
        let Some((stamp, ttl)) = marker.or(first) else { continue };
        timestamp = Some(stamp);
        let operation = if marker.is_some() { operation::INSERT } else { operation::UPDATE };
        entries.push(Entry { place, operation, ttl, cells: values(row.cells.iter()) });
    }
    for span in ranges.as_slice() {
        timestamp = Some(span.tombstone.timestamp);
        entries.extend(range_entries(span));
    }
    Some(Group { timestamp: timestamp?, entries, ranges })
}

fn range_entries(span: &Span<Position>) -> [Entry; 2] {
    let start = match span.start.after {
        false => operation::RANGE_START_INCLUSIVE,
        true => operation::RANGE_START_EXCLUSIVE,
    };
    let end = match span.end.after {
        true => operation::RANGE_END_INCLUSIVE,
        false => operation::RANGE_END_EXCLUSIVE,
    };
    [
        Entry::bare(Place::Bound(span.start.prefix.clone()), start),
        Entry::bare(Place::Bound(span.end.prefix.clone()), end),
    ]
}

/// The kinds of change of one timestamp, each in the order in which it is logged.
#[derive(Default)]
struct Bucket {
    statics: Vec<Entry>,
    inserts: Vec<Entry>,
    updates: Vec<Entry>,
    row_deletes: Vec<Entry>,
    range_deletes: Vec<Entry>,
    partition_delete: Option<Entry>,
    ranges: Spans<Position>,
}

/// One group per timestamp, each: static updates, inserts, updates, row, range, partition deletes;
/// rows in clustering order, then by ascending TTL.
fn split(mutation: &Mutation, ranges: Spans<Position>) -> Vec<Group> {
    let mut buckets: BTreeMap<i64, Bucket> = BTreeMap::new();
    for ((timestamp, ttl), cells) in by_stamp(&mutation.statics) {
        let (place, operation) = (Place::Static, operation::UPDATE);
        buckets.entry(timestamp).or_default().statics.push(Entry { place, operation, ttl, cells });
    }
    for (index, (_, row)) in mutation.rows.iter().enumerate() {
        let marker = row.marker.map(|m| (m.timestamp, m.expiry.map_or(0, |e| e.ttl)));
        let mut stamps = by_stamp(&row.cells);
        if let Some(marker) = marker {
            stamps.entry(marker).or_default();
        }
        for (stamp, cells) in stamps {
            let bucket = buckets.entry(stamp.0).or_default();
            let (list, operation) = if marker == Some(stamp) {
                (&mut bucket.inserts, operation::INSERT)
            } else {
                (&mut bucket.updates, operation::UPDATE)
            };
            list.push(Entry { place: Place::Row(index), operation, ttl: stamp.1, cells });
        }
        if let Some(tombstone) = row.tombstone {
            let entry = Entry::bare(Place::Row(index), operation::ROW_DELETE);
            buckets.entry(tombstone.timestamp).or_default().row_deletes.push(entry);
        }
    }
    for span in ranges.as_slice() {
        let bucket = buckets.entry(span.tombstone.timestamp).or_default();
        bucket.range_deletes.extend(range_entries(span));
        bucket.ranges.insert(span.clone());
    }
    if let Some(tombstone) = mutation.tombstone {
        let entry = Entry::bare(Place::Partition, operation::PARTITION_DELETE);
        buckets.entry(tombstone.timestamp).or_default().partition_delete = Some(entry);
    }
    buckets.into_iter().map(|(timestamp, bucket)| bucket.into_group(timestamp)).collect()
}

type Stamped = BTreeMap<(i64, u32), Vec<(ColumnId, Option<Bytes>)>>;

/// Cells by timestamp and TTL.
fn by_stamp(cells: &BTreeMap<ColumnId, Cell>) -> Stamped {
    let mut stamped = Stamped::new();
    for (column, cell) in cells {
        let stamp = (cell.timestamp, ttl_of(cell));
        stamped.entry(stamp).or_default().push((*column, cell.value.clone()));
    }
    stamped
}

impl Bucket {
    fn into_group(self, timestamp: i64) -> Group {
        let mut entries = self.statics;
        entries.extend(self.inserts);
        entries.extend(self.updates);
        entries.extend(self.row_deletes);
        entries.extend(self.range_deletes);
        entries.extend(self.partition_delete);
        Group { timestamp, entries, ranges: self.ranges }
    }
}
