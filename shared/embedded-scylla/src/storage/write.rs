//! What a write job works with on the commit thread.

mod streams;

use super::clock::Clock;
use super::key::{self, KeyRange};
use super::ranges::{Edge, Span};
use super::read::{self, Entries, Keys, Source, storage_error};
use super::record;
use super::tails::{self, Tails};
use super::{KeyIterator, PartitionPosition, ReadRows, RowIterator, View, journal, meta};
use crate::cdc::Streams;
use crate::error::{CqlError, Result};
use crate::faults::Faults;
use crate::mutation::{Cell, Mutation, PartitionKey, RowChange, Slice, Tombstone, merge};
use crate::schema::{Catalog, ColumnId, Table};
use bytes::Bytes;
use fjall::{Database, Keyspace, UserKey, UserValue};
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use streams::StreamChange;

/// The state that the commit thread owns.
pub(super) struct Core {
    pub(super) database: Database,
    pub(super) rows: Keyspace,
    pub(super) meta: Keyspace,
    pub(super) catalog: Arc<Catalog>,
    pub(super) streams: Arc<Streams>,
    pub(super) clock: Clock,
    pub(super) faults: Arc<Faults>,
    /// Where everything is.
    pub(super) dir: PathBuf,
    /// Batches with a lower number are on the device.
    pub(super) synced: u64,
    /// The last timestamp given.
    pub(super) last: i64,
    /// See [`super::Storage::raise_floor`].
    pub(super) floor: Arc<AtomicI64>,
    /// Storage ids whose rows are to be removed.
    pub(super) dropped: Vec<u32>,
    pub(super) tails: Arc<Tails>,
}

/// What a job works with: reads see its own and all earlier jobs' writes, synced or not.
pub struct WriteContext<'a> {
    core: &'a mut Core,
    /// This job's entries, `None` where one is removed.
    changes: BTreeMap<UserKey, Option<UserValue>>,
    catalog: Option<Arc<Catalog>>,
    dropped: Vec<u32>,
    /// Rows written to CDC logs: table, partition prefix, encoded clustering key.
    log_rows: Vec<(u32, Vec<u8>, Vec<u8>)>,
    streams: Option<Arc<Streams>>,
    stream_changes: Vec<StreamChange>,
    gave_timestamp: bool,
}

impl<'a> WriteContext<'a> {
    pub(super) fn new(core: &'a mut Core) -> Self {
        Self {
            core,
            changes: BTreeMap::new(),
            catalog: None,
            dropped: Vec::new(),
            log_rows: Vec::new(),
            streams: None,
            stream_changes: Vec::new(),
            gave_timestamp: false,
        }
    }

    /// The server's clock, in µs since 1970.
    pub fn now_micros(&self) -> i64 {
        self.core.clock.now_micros()
    }

    /// A timestamp above all earlier ones, not below the clock nor the floor. What was given last
    /// is kept with the job's writes, so that a restart does not give it again.
    pub fn next_timestamp(&mut self) -> i64 {
        let floor = self.core.floor.load(Ordering::SeqCst);
        self.core.last = self.now_micros().max(self.core.last.saturating_add(1)).max(floor);
        self.gave_timestamp = true;
        self.core.last
    }

    /// The last timestamp given, by this job or an earlier one.
    pub fn last_timestamp(&self) -> i64 {
        self.core.last
    }

    /// What befalls the rows of CDC logs.
    pub(crate) fn faults(&self) -> &Arc<Faults> {
        &self.core.faults
    }

    /// Takes back what was not synced, as a power cut would, and ends the process. Only returns when
    /// it could not do so.
    pub(crate) fn cut_power(&mut self, torn: bool) -> CqlError {
        let core = &self.core;
        match journal::cut(&core.dir, core.synced, torn) {
            // Nothing may be written any more, so nothing is cleaned up.
            Ok(()) => std::process::abort(),
            Err(error) => CqlError::server(format!("the journal cannot be cut: {error:#}")),
        }
    }

    /// Merges a change with what is stored. A failed one leaves the job useless: its error is to
    /// be the job's result.
    pub fn apply(&mut self, mutation: &Mutation) -> Result<()> {
        let table = &*mutation.table;
        let prefix = key::partition_prefix(table.storage_id, &mutation.key);
        self.apply_header(mutation, &prefix)?;
        for (clustering, change) in &mutation.rows {
            let key = key::row_key(table, &prefix, clustering);
            key::check(&key)?;
            let mut row = match self.get(&key)? {
                Some(record) => record::decode_row(&record)?.1,
                None => RowChange::default(),
            };
            row.merge(change);
            row.drop_hidden(None);
            if tails::is_followed(table) {
                let clustering = key::clustering_part(&key, &prefix).to_vec();
                self.log_rows.push((table.storage_id, prefix.clone(), clustering));
            }
            self.changes.insert(key.into(), Some(record::encode_row(clustering, &row).into()));
        }
        Ok(())
    }

    fn apply_header(&mut self, mutation: &Mutation, prefix: &[u8]) -> Result<()> {
        if mutation.tombstone.is_none() && mutation.statics.is_empty() && mutation.ranges.is_empty()
        {
            return Ok(());
        }
        let key = key::header_key(prefix);
        key::check(&key)?;
        let mut header = read::header(self, prefix)?;
        if let Some(tombstone) = mutation.tombstone {
            merge::newer(&mut header.tombstone, tombstone);
        }
        for (column, cell) in &mutation.statics {
            merge::put_cell(&mut header.statics, *column, cell.clone());
        }
        for range in &mutation.ranges {
            let (start, end) = key::clustering_bounds(&mutation.table, &range.start, &range.end);
            let end = end.map_or(Edge::Open, Edge::At);
            header.ranges.insert(Span { start: Edge::At(start), end, tombstone: range.tombstone });
        }
        if let Some(tombstone) = header.tombstone {
            header.statics.retain(|_, cell| !tombstone.hides(cell.timestamp));
            header.ranges.retain(|span| !tombstone.hides(span.tombstone.timestamp));
        }
        let record = (!header.is_empty()).then(|| record::encode_header(&header).into());
        self.changes.insert(key.into(), record);
        Ok(())
    }

    /// A row as it is stored, without what tombstones hide, but with tombstones and expired cells:
    /// merging a change into it gives the row after the change.
    pub(crate) fn stored_row(
        &self,
        table: &Table,
        partition: &PartitionKey,
        clustering: &[Bytes],
    ) -> Result<RowChange> {
        let prefix = key::partition_prefix(table.storage_id, partition);
        let header = read::header(self, &prefix)?;
        let key = key::row_key(table, &prefix, clustering);
        let mut row = match self.get(&key)? {
            Some(record) => record::decode_row(&record)?.1,
            None => RowChange::default(),
        };
        if let Some(above) = read::hiding(&header, key::clustering_part(&key, &prefix)) {
            merge::newer(&mut row.tombstone, above);
        }
        row.drop_hidden(None);
        Ok(row)
    }

    /// The static cells as they are stored, hidden ones and tombstones included, and the
    /// partition's tombstone.
    pub(crate) fn stored_statics(
        &self,
        table: &Table,
        partition: &PartitionKey,
    ) -> Result<(Option<Tombstone>, BTreeMap<ColumnId, Cell>)> {
        let prefix = key::partition_prefix(table.storage_id, partition);
        let header = read::header(self, &prefix)?;
        Ok((header.tombstone, header.statics))
    }

    /// Replaces the schema, in the same commit.
    pub fn set_catalog(&mut self, catalog: Catalog) {
        self.catalog = Some(Arc::new(catalog));
    }

    /// Removes the rows of a dropped or truncated table, bit by bit after the commit. Nothing may
    /// be written to this storage id any more.
    pub fn drop_storage(&mut self, storage_id: u32) {
        self.dropped.push(storage_id);
    }

    /// Commits what the job did, atomically but not yet durably. Gives the number of bytes
    /// written; 0 if the job changed nothing.
    pub(super) fn commit(self) -> Result<usize> {
        if self.changes.is_empty()
            && self.catalog.is_none()
            && self.dropped.is_empty()
            && self.streams.is_none()
        {
            return Ok(0);
        }
        let Self {
            core,
            changes,
            catalog,
            dropped,
            log_rows,
            streams,
            stream_changes,
            gave_timestamp,
        } = self;
        let mut bytes = 1;
        let mut batch = core.database.batch().durability(None);
        for (key, value) in changes {
            bytes += key.len();
            match value {
                Some(value) => {
                    bytes += value.len();
                    batch.insert(&core.rows, key, value);
                }
                None => batch.remove(&core.rows, key),
            }
        }
        if let Some(catalog) = &catalog {
            batch.insert(&core.meta, meta::CATALOG, meta::encode_catalog(catalog)?);
        }
        for storage_id in &dropped {
            batch.insert(&core.meta, meta::dropped_key(*storage_id), []);
        }
        for change in &stream_changes {
            change.store(&mut batch, &core.meta)?;
        }
        if gave_timestamp {
            batch.insert(&core.meta, meta::TIMESTAMP, core.last.to_be_bytes());
        }
        batch.commit().map_err(storage_error)?;
        if let Some(catalog) = catalog {
            core.catalog = catalog;
            core.tails.follow(&View::of(core), &core.catalog)?;
        }
        if let Some(streams) = streams {
            core.streams = streams;
        }
        for (storage_id, prefix, clustering) in log_rows {
            core.tails.raise(storage_id, &prefix, &clustering);
        }
        core.dropped.extend(dropped);
        Ok(bytes)
    }
}

impl Source for WriteContext<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<UserValue>> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.core.rows.get(key).map_err(storage_error),
        }
    }

    fn range(&self, range: &KeyRange, reversed: bool) -> Entries<'_> {
        let stored = entries(self.core.rows.range::<Vec<u8>, _>(range.bounds()), reversed);
        if self.changes.is_empty() {
            return stored;
        }
        let changed = self.changes.range::<[u8], _>(range.slices());
        let changed: Box<dyn Iterator<Item = _>> =
            if reversed { Box::new(changed.rev()) } else { Box::new(changed) };
        Box::new(Overlaid { stored: stored.peekable(), changed: changed.peekable(), reversed })
    }

    fn keys(&self, range: &KeyRange) -> Keys<'_> {
        Box::new(self.range(range, false).map(|entry| entry.map(|(key, _)| key)))
    }
}

/// The entries of a fjall range.
pub(super) fn entries(range: fjall::Iter, reversed: bool) -> Entries<'static> {
    let entry = |guard: fjall::Guard| guard.into_inner().map_err(storage_error);
    if reversed { Box::new(range.rev().map(entry)) } else { Box::new(range.map(entry)) }
}

/// Stored entries with a job's changes laid over them.
struct Overlaid<'a, C: Iterator> {
    stored: Peekable<Entries<'a>>,
    changed: Peekable<C>,
    reversed: bool,
}

impl<'a, C> Iterator for Overlaid<'a, C>
where
    C: Iterator<Item = (&'a UserKey, &'a Option<UserValue>)>,
{
    type Item = Result<(UserKey, UserValue)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((changed, _)) = self.changed.peek() else { return self.stored.next() };
            let order = match self.stored.peek() {
                Some(Ok((stored, _))) if self.reversed => (*changed).cmp(stored),
                Some(Ok((stored, _))) => stored.cmp(changed),
                Some(Err(_)) => return self.stored.next(),
                None => std::cmp::Ordering::Greater,
            };
            if order.is_lt() {
                return self.stored.next();
            }
            if order.is_eq() {
                self.stored.next();
            }
            if let Some((key, Some(value))) = self.changed.next() {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}

impl ReadRows for WriteContext<'_> {
    fn catalog(&self) -> &Arc<Catalog> {
        self.catalog.as_ref().unwrap_or(&self.core.catalog)
    }

    fn now_seconds(&self) -> i64 {
        self.core.clock.now_seconds()
    }

    fn statics(&self, table: &Table, key: &PartitionKey) -> Result<BTreeMap<ColumnId, Cell>> {
        read::statics(self, self.now_seconds(), table, key)
    }

    fn rows<'a>(
        &'a self,
        table: &'a Table,
        key: &PartitionKey,
        slice: &Slice,
    ) -> Result<RowIterator<'a>> {
        let rows = read::rows(self, self.now_seconds(), table, key, slice)?;
        Ok(tails::visible(&self.core.faults, table, key, rows))
    }

    fn partitions<'a>(
        &'a self,
        table: &'a Table,
        start: Bound<PartitionPosition>,
        end: Bound<PartitionPosition>,
    ) -> Result<KeyIterator<'a>> {
        Ok(read::partitions(self, table, &start, &end))
    }
}

/// A stop that the storage cannot recover from.
pub(super) fn failed(what: &str, error: &fjall::Error) -> CqlError {
    CqlError::server(format!(
        "storage failed to {what}: {error}; nothing is acknowledged until the server is restarted"
    ))
}
