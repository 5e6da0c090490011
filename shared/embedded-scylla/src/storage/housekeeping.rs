//! Small steps between groups: removing what nobody can see any more, remembering the floor.
//!
//! | what goes | when |
//! | --- | --- |
//! | rows of dropped and truncated tables | as soon as there is time |
//! | what a tombstone hides | at the next sweep |
//! | expired cells, tombstones | at the first sweep `gc_grace_seconds` after they expired or were written |
//!
//! A step is bounded in keys and time and needs no sync of its own: what a power cut brings back is
//! as invisible as before.

use super::key::{self, KeyRange};
use super::read::{self, storage_error};
use super::record::{self, Header};
use super::write::{Core, entries, failed};
use super::{StorageOptions, meta};
use crate::error::Result;
use crate::mutation::{Cell, RowChange, Tombstone};
use crate::schema::Table;
use fjall::{OwnedWriteBatch as WriteBatch, UserKey};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What ScyllaDB takes when the schema says nothing.
const GC_GRACE_SECONDS: i64 = 864_000;

/// How much further than the remembered timestamp the floor may be.
const FLOOR_LAG_MICROS: i64 = 1_000_000;

/// The longest the commit thread sleeps.
const IDLE: Duration = Duration::from_secs(1);

/// When the next step is due, and where the sweep is.
pub(super) struct Housekeeping {
    options: StorageOptions,
    last_step: Instant,
    next_sweep: Instant,
    sweep: Option<Sweep>,
    remembered: i64,
}

impl Housekeeping {
    /// The first sweep begins one interval from now.
    pub(super) fn new(options: StorageOptions, remembered: i64) -> Self {
        let now = Instant::now();
        let next_sweep = now + options.sweep_interval;
        Self { options, last_step: now, next_sweep, sweep: None, remembered }
    }

    fn is_busy(&self, core: &Core) -> bool {
        self.sweep.is_some() || !core.dropped.is_empty() || Instant::now() >= self.next_sweep
    }

    /// How long nothing is due.
    pub(super) fn patience(&self, core: &Core) -> Duration {
        let step = self.options.step_interval.saturating_sub(self.last_step.elapsed());
        if self.is_busy(core) { step } else { IDLE.min(self.options.sweep_interval) }
    }

    /// One step, if one is due. Gives whether it was the last one for now.
    pub(super) fn step(&mut self, core: &mut Core) -> bool {
        let floor = core.floor.load(Ordering::SeqCst);
        if floor.max(core.last) > self.remembered.saturating_add(FLOOR_LAG_MICROS) {
            self.remember_floor(core);
        }
        if self.last_step.elapsed() < self.options.step_interval || !self.is_busy(core) {
            return false;
        }
        self.last_step = Instant::now();
        let ended = match core.dropped.last().copied() {
            Some(storage_id) => self.remove_table(core, storage_id).map_err(storage_error),
            None => self.sweep.get_or_insert_with(|| Sweep::new(core)).step(core, &self.options),
        };
        let ended = ended.unwrap_or_else(|error| {
            // Nothing is lost by it; if the device is at fault, the next write finds out.
            tracing::error!(%error, "sweep stopped until its next turn");
            true
        });
        if ended && self.sweep.take().is_some() {
            self.next_sweep = Instant::now() + self.options.sweep_interval;
        }
        ended
    }

    /// Keeps the floor over a restart, so that a clock that steps back meanwhile does no harm. Not
    /// synced: only a power cut within a second makes this a little too low.
    pub(super) fn remember_floor(&mut self, core: &mut Core) {
        let floor = core.floor.load(Ordering::SeqCst).max(core.last);
        let written = core
            .meta
            .insert(meta::TIMESTAMP, floor.to_be_bytes())
            .and_then(|()| core.database.persist(fjall::PersistMode::Buffer));
        match written {
            Ok(()) => self.remembered = floor,
            Err(error) => {
                tracing::error!(error = %failed("write the journal", &error), "floor lost")
            }
        }
    }

    /// Removes some rows of a dropped table. Gives whether that was the last one's end.
    fn remove_table(&self, core: &mut Core, storage_id: u32) -> fjall::Result<bool> {
        let range = key::table_range(storage_id);
        let mut batch = core.database.batch().durability(None);
        for entry in core.rows.range(range.start..range.end).take(self.options.step_keys_max) {
            batch.remove(&core.rows, entry.key()?);
        }
        let ended = batch.len() < self.options.step_keys_max;
        if ended {
            batch.remove(&core.meta, meta::dropped_key(storage_id));
            core.dropped.retain(|id| *id != storage_id);
        }
        batch.commit()?;
        Ok(ended && core.dropped.is_empty())
    }
}

/// One pass over all rows.
struct Sweep {
    /// By storage id.
    tables: HashMap<u32, Arc<Table>>,
    next: Vec<u8>,
    partition: Option<Partition>,
}

/// The partition that the sweep is in.
struct Partition {
    prefix: Vec<u8>,
    header: Header,
    /// Tombstones and expired cells before this second may go.
    horizon: i64,
}

impl Sweep {
    fn new(core: &Core) -> Self {
        let tables = core.catalog.keyspaces.values().flat_map(|keyspace| keyspace.tables.values());
        Self {
            tables: tables.map(|table| (table.storage_id, Arc::clone(table))).collect(),
            next: Vec::new(),
            partition: None,
        }
    }

    /// Goes on over some keys. Gives whether that was the end.
    fn step(&mut self, core: &mut Core, options: &StorageOptions) -> Result<bool> {
        let deadline = Instant::now() + options.step_time_max;
        let mut batch = core.database.batch().durability(None);
        let range = KeyRange { start: std::mem::take(&mut self.next), end: vec![0xff; 5] };
        let stored = entries(core.rows.range(range.start..range.end), false);
        let mut ended = true;
        for (count, entry) in stored.enumerate() {
            let (key, record) = entry?;
            if count >= options.step_keys_max || Instant::now() >= deadline {
                self.next = key.to_vec();
                ended = false;
                break;
            }
            let table = key::storage_id(&key).and_then(|id| self.tables.get(&id)).cloned();
            // Rows of a table made after the sweep began wait for the next one.
            let Some(table) = table else { continue };
            self.visit(core, &mut batch, &table, key, &record)?;
        }
        if ended {
            self.leave_partition(core, &mut batch)?;
        }
        batch.commit().map_err(storage_error)?;
        Ok(ended)
    }

    fn visit(
        &mut self,
        core: &Core,
        batch: &mut WriteBatch,
        table: &Table,
        key: UserKey,
        record: &[u8],
    ) -> Result<()> {
        if !self.partition.as_ref().is_some_and(|current| key.starts_with(&current.prefix)) {
            self.leave_partition(core, batch)?;
            let (_, prefix_len) = key::decode_partition(table, &key)?;
            let prefix = key[..prefix_len].to_vec();
            let header = match core.rows.get(key::header_key(&prefix)).map_err(storage_error)? {
                Some(record) => record::decode_header(&record)?,
                None => Header::default(),
            };
            let horizon = core.clock.now_seconds().saturating_sub(gc_grace(table));
            self.partition = Some(Partition { prefix, header, horizon });
        }
        let Some(partition) = &mut self.partition else { return Ok(()) };
        if !key::is_row(&key, &partition.prefix) {
            return Ok(());
        }
        let (clustering, row) = record::decode_row(record)?;
        let above = read::hiding(&partition.header, key::clustering_part(&key, &partition.prefix));
        let mut kept = row.clone();
        purge_row(&mut kept, above, partition.horizon);
        if kept == row {
            return Ok(());
        }
        if kept == RowChange::default() {
            batch.remove(&core.rows, key);
        } else {
            batch.insert(&core.rows, key, record::encode_row(&clustering, &kept));
        }
        Ok(())
    }

    /// All rows have been seen under the header's tombstones, so old ones have done their work:
    /// unless the header has changed meanwhile, then that is for the next sweep.
    fn leave_partition(&mut self, core: &Core, batch: &mut WriteBatch) -> Result<()> {
        let Some(partition) = self.partition.take() else { return Ok(()) };
        let key = key::header_key(&partition.prefix);
        let Some(stored) = core.rows.get(&key).map_err(storage_error)? else { return Ok(()) };
        if record::decode_header(&stored)? != partition.header {
            return Ok(());
        }
        let mut header = partition.header.clone();
        let is_over = |tombstone: &Tombstone| tombstone.deleted_at <= partition.horizon;
        header.statics.retain(|_, cell| !is_over_cell(cell, partition.horizon));
        header.tombstone = header.tombstone.filter(|tombstone| !is_over(tombstone));
        header.ranges.retain(|span| !is_over(&span.tombstone));
        if header.is_empty() {
            batch.remove(&core.rows, key);
        } else if header != partition.header {
            batch.insert(&core.rows, key, record::encode_header(&header));
        }
        Ok(())
    }
}

fn gc_grace(table: &Table) -> i64 {
    let stored = table.options.get("gc_grace_seconds").and_then(|text| text.parse().ok());
    stored.unwrap_or(GC_GRACE_SECONDS)
}

/// An expired cell still hides older versions, like the tombstone that it has become.
fn is_over_cell(cell: &Cell, horizon: i64) -> bool {
    match (&cell.value, cell.expiry) {
        (None, _) => cell.deleted_at <= horizon,
        (Some(_), Some(expiry)) => expiry.at <= horizon,
        (Some(_), None) => false,
    }
}

/// Drops what is hidden, and what expired or was deleted up to `horizon`.
fn purge_row(row: &mut RowChange, above: Option<Tombstone>, horizon: i64) {
    row.drop_hidden(above);
    row.tombstone = row.tombstone.filter(|tombstone| tombstone.deleted_at > horizon);
    row.marker = row.marker.filter(|marker| marker.expiry.is_none_or(|expiry| expiry.at > horizon));
    row.cells.retain(|_, cell| !is_over_cell(cell, horizon));
}
