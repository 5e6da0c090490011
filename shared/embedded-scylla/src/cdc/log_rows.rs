//! Log rows as cells of the log table.

use super::changes::{Entry, Place, operation};
use super::generation::StreamId;
use super::log_table::{BATCH_SEQ_NO, END_OF_BATCH, OPERATION, STREAM_ID, TIME, TTL, deleted_name};
use crate::error::{CqlError, Result};
use crate::mutation::{Cell, Expiry, Mutation, PartitionKey, RowChange};
use crate::schema::{ColumnId, ColumnKind, Table};
use crate::storage::{ReadRows, WriteContext};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use uuid::Uuid;

const TRUE: &[u8] = &[1];

/// A log table and where its columns are.
pub(super) struct Log {
    table: Arc<Table>,
    operation: ColumnId,
    ttl: ColumnId,
    end_of_batch: ColumnId,
    /// The base table's key columns: partition key, then clustering.
    partition_key: Vec<ColumnId>,
    clustering: Vec<ColumnId>,
    /// By base column: its value, and that it was deleted.
    values: BTreeMap<ColumnId, (ColumnId, ColumnId)>,
    /// Whether changes carry values.
    has_values: bool,
    ttl_seconds: u32,
}

impl Log {
    /// The log of `base`. Fails if the two do not fit each other.
    pub(super) fn of(base: &Table, table: Arc<Table>) -> Result<Self> {
        let ids: HashMap<&str, ColumnId> =
            table.columns.iter().map(|column| (column.name.as_str(), column.id)).collect();
        let id = |name: &str| {
            ids.get(name).copied().ok_or_else(|| {
                let Table { keyspace, name: log, .. } = &*table;
                CqlError::server(format!("CDC log table {keyspace}.{log} lacks column {name}"))
            })
        };
        for name in [STREAM_ID, TIME, BATCH_SEQ_NO] {
            id(name)?;
        }
        let keys = |columns: &[crate::schema::Column]| {
            columns.iter().map(|column| id(&column.name)).collect::<Result<Vec<_>>>()
        };
        let mut values = BTreeMap::new();
        for column in &base.columns {
            if matches!(column.kind, ColumnKind::Static | ColumnKind::Regular) {
                values.insert(column.id, (id(&column.name)?, id(&deleted_name(&column.name))?));
            }
        }
        let options = base.cdc.as_ref();
        Ok(Self {
            operation: id(OPERATION)?,
            ttl: id(TTL)?,
            end_of_batch: id(END_OF_BATCH)?,
            partition_key: keys(base.partition_key())?,
            clustering: keys(base.clustering())?,
            values,
            has_values: options.is_none_or(|cdc| cdc.full_delta),
            ttl_seconds: options.map_or(0, |cdc| cdc.ttl_seconds),
            table,
        })
    }

    /// Where the log's rows are stored.
    pub(super) fn storage_id(&self) -> u32 {
        self.table.storage_id
    }

    /// The group's rows as a change of its stream's partition.
    pub(super) fn mutation(
        &self,
        base: &Mutation,
        stream: StreamId,
        time: Uuid,
        timestamp: i64,
        entries: Vec<Entry>,
        context: &WriteContext<'_>,
    ) -> Mutation {
        let expiry = (self.ttl_seconds > 0).then(|| Expiry {
            ttl: self.ttl_seconds,
            at: context.now_seconds() + i64::from(self.ttl_seconds),
        });
        let cell = |value: Bytes| Cell { expiry, ..Cell::live(timestamp, value) };
        let key = PartitionKey {
            token: stream.token(),
            components: vec![Bytes::copy_from_slice(&stream.0)],
        };
        let mut log = Mutation::new(Arc::clone(&self.table), key);
        let time = Bytes::copy_from_slice(time.as_bytes());
        let last = entries.len().saturating_sub(1);
        for (number, entry) in entries.into_iter().enumerate() {
            let mut row = RowChange::default();
            let mut set = |column, value: Bytes| {
                row.cells.insert(column, cell(value));
            };
            self.keys(base, &entry.place, &mut set);
            set(self.operation, Bytes::copy_from_slice(&entry.operation.to_be_bytes()));
            if entry.ttl > 0 {
                set(self.ttl, Bytes::copy_from_slice(&i64::from(entry.ttl).to_be_bytes()));
            }
            if number == last {
                set(self.end_of_batch, Bytes::from_static(TRUE));
            }
            self.values(entry, &mut set);
            // One time and ascending numbers: in clustering order.
            let number = Bytes::copy_from_slice(&(number as i32).to_be_bytes());
            log.rows.push((vec![time.clone(), number], row));
        }
        log
    }

    fn keys(&self, base: &Mutation, place: &Place, set: &mut impl FnMut(ColumnId, Bytes)) {
        let clustering = match place {
            Place::Row(index) => base.rows[*index].0.as_slice(),
            Place::Bound(prefix) => prefix,
            Place::Static | Place::Partition => &[],
        };
        let partition_key = self.partition_key.iter().zip(&base.key.components);
        for (column, component) in partition_key.chain(self.clustering.iter().zip(clustering)) {
            set(*column, component.clone());
        }
    }

    fn values(&self, entry: Entry, set: &mut impl FnMut(ColumnId, Bytes)) {
        let is_image = matches!(entry.operation, operation::PREIMAGE | operation::POSTIMAGE);
        if !self.has_values && !is_image {
            return;
        }
        for (column, value) in entry.cells {
            let Some((value_id, deleted_id)) = self.values.get(&column) else { continue };
            match value {
                Some(value) => set(*value_id, value),
                None => set(*deleted_id, Bytes::from_static(TRUE)),
            }
        }
    }
}
