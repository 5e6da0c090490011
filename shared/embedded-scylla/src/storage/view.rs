//! What reads see.

use super::clock::Clock;
use super::key::KeyRange;
use super::read::{self, Entries, Keys, Source, storage_error};
use super::tails::{self, Tails};
use super::write::{Core, entries};
use super::{KeyIterator, PartitionPosition, ReadRows, RowIterator};
use crate::cdc::Streams;
use crate::error::Result;
use crate::faults::Faults;
use crate::mutation::{Cell, PartitionKey, Slice};
use crate::schema::{Catalog, ColumnId, Table};
use fjall::{Keyspace, Readable, Snapshot, UserValue};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// The last durable, acknowledged state. Holding one keeps everything that it sees on disk, so let
/// go of it after the request.
pub struct View {
    catalog: Arc<Catalog>,
    streams: Arc<Streams>,
    pub(super) snapshot: Snapshot,
    pub(super) rows: Keyspace,
    clock: Clock,
    faults: Arc<Faults>,
    tails: Arc<Tails>,
}

impl View {
    /// A snapshot of what is committed now.
    pub(super) fn of(core: &Core) -> Self {
        Self {
            catalog: Arc::clone(&core.catalog),
            streams: Arc::clone(&core.streams),
            snapshot: core.database.snapshot(),
            rows: core.rows.clone(),
            clock: core.clock.clone(),
            faults: Arc::clone(&core.faults),
            tails: Arc::clone(&core.tails),
        }
    }

    /// All CDC streams, and with the first of them the node's tokens and id.
    pub(crate) fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }
}

impl Source for View {
    fn get(&self, key: &[u8]) -> Result<Option<UserValue>> {
        self.snapshot.get(&self.rows, key).map_err(storage_error)
    }

    fn range(&self, range: &KeyRange, reversed: bool) -> Entries<'_> {
        entries(self.snapshot.range::<Vec<u8>, _>(&self.rows, range.bounds()), reversed)
    }

    fn keys(&self, range: &KeyRange) -> Keys<'_> {
        let keys = self.snapshot.range::<Vec<u8>, _>(&self.rows, range.bounds());
        Box::new(keys.map(|guard| guard.key().map_err(storage_error)))
    }

    fn ends_before(&self, table: &Table, prefix: &[u8], start: &[u8]) -> bool {
        tails::is_followed(table) && self.tails.end_before(table.storage_id, prefix, start)
    }
}

impl ReadRows for View {
    fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    fn now_seconds(&self) -> i64 {
        self.clock.now_seconds()
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
        Ok(tails::visible(&self.faults, table, key, rows))
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
