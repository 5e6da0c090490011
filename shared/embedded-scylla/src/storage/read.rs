//! Live rows out of stored ones, from any [`Source`].

use super::key::{self, KeyRange};
use super::record::{self, Header};
use super::{KeyIterator, PartitionPosition, RowIterator};
use crate::error::{CqlError, Result};
use crate::mutation::{Cell, ClusteringKey, PartitionKey, Row, RowChange, Slice, Tombstone, merge};
use crate::schema::{ColumnId, Table};
use fjall::{UserKey, UserValue};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Entries in [`Source::range`].
pub(super) type Entries<'a> = Box<dyn Iterator<Item = Result<(UserKey, UserValue)>> + 'a>;

/// Keys in [`Source::keys`].
pub(super) type Keys<'a> = Box<dyn Iterator<Item = Result<UserKey>> + 'a>;

/// A consistent state of the rows keyspace.
pub(super) trait Source {
    /// One entry.
    fn get(&self, key: &[u8]) -> Result<Option<UserValue>>;

    /// The entries of a range, ascending or descending, lazily.
    fn range(&self, range: &KeyRange, reversed: bool) -> Entries<'_>;

    /// The keys of a range, ascending, lazily.
    fn keys(&self, range: &KeyRange) -> Keys<'_>;

    /// Whether it is certain, without looking, that a partition has no row at or behind an encoded
    /// clustering key.
    fn ends_before(&self, _table: &Table, _prefix: &[u8], _start: &[u8]) -> bool {
        false
    }
}

/// How many keys of one partition are stepped over before the next partition is looked for anew.
const STEPS_MAX: usize = 16;

/// What the storage crate reports, as the client sees it.
pub(super) fn storage_error(error: fjall::Error) -> CqlError {
    CqlError::server(format!("storage failed: {error}"))
}

/// The header of the partition with this prefix; an empty one if it has none.
pub(super) fn header(source: &impl Source, prefix: &[u8]) -> Result<Header> {
    match source.get(&key::header_key(prefix))? {
        Some(record) => record::decode_header(&record),
        None => Ok(Header::default()),
    }
}

/// What the partition's header hides a row with.
pub(super) fn hiding(header: &Header, clustering: &[u8]) -> Option<Tombstone> {
    let mut hiding = header.tombstone;
    if let Some(tombstone) = header.ranges.hiding(clustering) {
        merge::newer(&mut hiding, tombstone);
    }
    hiding
}

/// See [`super::ReadRows::statics`].
pub(super) fn statics(
    source: &impl Source,
    now_seconds: i64,
    table: &Table,
    key: &PartitionKey,
) -> Result<BTreeMap<ColumnId, Cell>> {
    let mut header = header(source, &key::partition_prefix(table.storage_id, key))?;
    let tombstone = header.tombstone;
    header.statics.retain(|_, cell| {
        cell.is_live(now_seconds) && !tombstone.is_some_and(|t| t.hides(cell.timestamp))
    });
    Ok(header.statics)
}

/// See [`super::ReadRows::rows`].
pub(super) fn rows<'a>(
    source: &'a impl Source,
    now_seconds: i64,
    table: &Table,
    partition: &PartitionKey,
    slice: &Slice,
) -> Result<RowIterator<'a>> {
    let prefix = key::partition_prefix(table.storage_id, partition);
    let one = single_row(table, slice).map(|row| key::row_key(table, &prefix, row));
    let (start, end) = key::clustering_bounds(table, &slice.start, &slice.end);
    let range = key::row_range(&prefix, &start, end.as_deref());
    if range.start >= range.end || source.ends_before(table, &prefix, &start) {
        return Ok(Box::new(std::iter::empty()));
    }
    let header = header(source, &prefix)?;
    let live = move |key: &[u8], record: &[u8]| {
        let above = hiding(&header, key::clustering_part(key, &prefix));
        live_row(record, above, now_seconds)
    };
    if let Some(key) = one {
        let Some(record) = source.get(&key)? else { return Ok(Box::new(std::iter::empty())) };
        return Ok(Box::new(live(&key, &record).transpose().into_iter()));
    }
    let entries = source.range(&range, slice.reversed);
    Ok(Box::new(entries.filter_map(move |entry| match entry {
        Ok((key, record)) => live(&key, &record).transpose(),
        Err(error) => Some(Err(error)),
    })))
}

/// The clustering key of the only row that a slice can have.
fn single_row<'a>(table: &Table, slice: &'a Slice) -> Option<&'a ClusteringKey> {
    match (&slice.start, &slice.end) {
        (Bound::Included(start), Bound::Included(end)) => {
            (start == end && start.len() == table.clustering_len).then_some(start)
        }
        // Without clustering columns there is only the row with the empty key.
        _ if table.clustering_len == 0 => Some(const { &ClusteringKey::new() }),
        _ => None,
    }
}

fn live_row(record: &[u8], above: Option<Tombstone>, now_seconds: i64) -> Result<Option<Row>> {
    let (clustering, mut row) = record::decode_row(record)?;
    row.drop_hidden(above);
    row.drop_dead(now_seconds);
    let RowChange { marker, cells, .. } = row;
    let exists = marker.is_some() || !cells.is_empty();
    Ok(exists.then_some(Row { clustering, marker, cells }))
}

/// See [`super::ReadRows::partitions`].
pub(super) fn partitions<'a, S: Source>(
    source: &'a S,
    table: &'a Table,
    start: &Bound<PartitionPosition>,
    end: &Bound<PartitionPosition>,
) -> KeyIterator<'a> {
    let range = key::partition_range(table.storage_id, start, end);
    let keys = source.keys(&range);
    Box::new(Partitions { source, table, range, keys, done: Vec::new() })
}

struct Partitions<'a, S> {
    source: &'a S,
    table: &'a Table,
    /// What is left.
    range: KeyRange,
    keys: Keys<'a>,
    /// The prefix of the partition given out last.
    done: Vec<u8>,
}

impl<S: Source> Partitions<'_, S> {
    /// The first key behind the partition given out last.
    fn next_key(&mut self) -> Option<Result<UserKey>> {
        for _ in 0..STEPS_MAX {
            match self.keys.next()? {
                Ok(key) if !self.done.is_empty() && key.starts_with(&self.done) => {}
                key => return Some(key),
            }
        }
        self.range.start = key::behind(&self.done);
        if self.range.start >= self.range.end {
            return None;
        }
        self.keys = self.source.keys(&self.range);
        self.keys.next()
    }

    fn partition(&mut self, key: &UserKey) -> Result<PartitionKey> {
        let (partition, prefix_len) = key::decode_partition(self.table, key)?;
        self.done.clear();
        self.done.extend(&key[..prefix_len]);
        Ok(partition)
    }
}

impl<S: Source> Iterator for Partitions<'_, S> {
    type Item = Result<PartitionKey>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_key()?.and_then(|key| self.partition(&key)))
    }
}
