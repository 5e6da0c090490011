//! The schema of a log table.

use crate::schema::{CdcOptions, Column, ColumnId, ColumnKind, CqlType, Partitioner, Table};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What the name of a log ends with.
pub const LOG_SUFFIX: &str = "_scylla_cdc_log";

pub(super) const STREAM_ID: &str = "cdc$stream_id";
pub(super) const TIME: &str = "cdc$time";
pub(super) const BATCH_SEQ_NO: &str = "cdc$batch_seq_no";
pub(super) const OPERATION: &str = "cdc$operation";
pub(super) const TTL: &str = "cdc$ttl";
pub(super) const END_OF_BATCH: &str = "cdc$end_of_batch";
const DELETED: &str = "cdc$deleted_";

/// The name of a base table's log.
pub fn log_name(base: &str) -> String {
    format!("{base}{LOG_SUFFIX}")
}

/// The log's column that says that a base column was deleted.
pub(super) fn deleted_name(column: &str) -> String {
    format!("{DELETED}{column}")
}

/// The log table of `base`.
///
/// With `existing` the log is re-attached or follows an ALTER: its id, storage, options and the ids
/// of the columns that stay are kept, missing columns are added, others dropped. Otherwise it is
/// new, with `id` and `storage_id`, and has only the options in which it differs from a table
/// without options.
pub fn log_table(base: &Table, existing: Option<&Table>, id: Uuid, storage_id: u32) -> Table {
    let mut next_id = existing.map_or(0, |log| log.next_column_id);
    let columns = columns(base)
        .into_iter()
        .map(|column| Column { id: column_id(&column, existing, &mut next_id), ..column })
        .collect();
    Table {
        id: existing.map_or(id, |log| log.id),
        storage_id: existing.map_or(storage_id, |log| log.storage_id),
        keyspace: base.keyspace.clone(),
        name: log_name(&base.name),
        columns,
        partition_key_len: 1,
        clustering_len: 2,
        partitioner: Partitioner::Cdc,
        cdc: None,
        default_time_to_live: existing.map_or(0, |log| log.default_time_to_live),
        options: existing.map_or_else(|| options(base), |log| log.options.clone()),
        next_column_id: next_id,
        is_virtual: false,
    }
}

/// The id of the column that is there already with this name and type, else a new one.
fn column_id(column: &Column, existing: Option<&Table>, next_id: &mut ColumnId) -> ColumnId {
    let same = existing
        .and_then(|log| log.column(&column.name))
        .filter(|there| there.ty == column.ty && there.kind == column.kind);
    same.map_or_else(
        || {
            let id = *next_id;
            *next_id += 1;
            id
        },
        |column| column.id,
    )
}

/// All columns in schema order, without ids.
fn columns(base: &Table) -> Vec<Column> {
    let column = |name: String, ty, kind, position| Column {
        id: 0,
        name,
        ty,
        kind,
        position,
        descending: false,
    };
    let regular = |name: String, ty| column(name, ty, ColumnKind::Regular, 0);
    let mut regulars = vec![
        regular(END_OF_BATCH.to_owned(), CqlType::Boolean),
        regular(OPERATION.to_owned(), CqlType::Tinyint),
        regular(TTL.to_owned(), CqlType::Bigint),
    ];
    for base_column in &base.columns {
        regulars.push(regular(base_column.name.clone(), base_column.ty.clone()));
        if matches!(base_column.kind, ColumnKind::Static | ColumnKind::Regular) {
            regulars.push(regular(deleted_name(&base_column.name), CqlType::Boolean));
        }
    }
    regulars.sort_by(|left, right| left.name.cmp(&right.name));
    let mut columns = vec![
        column(STREAM_ID.to_owned(), CqlType::Blob, ColumnKind::PartitionKey, 0),
        column(TIME.to_owned(), CqlType::Timeuuid, ColumnKind::Clustering, 0),
        column(BATCH_SEQ_NO.to_owned(), CqlType::Int, ColumnKind::Clustering, 1),
    ];
    columns.extend(regulars);
    columns
}

/// Windows so long that a log has about 24 of them before it expires.
fn options(base: &Table) -> BTreeMap<String, String> {
    let ttl = base.cdc.as_ref().map_or(0, |cdc: &CdcOptions| cdc.ttl_seconds);
    let comment = format!("CDC log for {}.{}", base.keyspace, base.name);
    let caching =
        serde_json::json!({"enabled": "false", "keys": "NONE", "rows_per_partition": "NONE"});
    let mut compaction = serde_json::json!({"class": "TimeWindowCompactionStrategy"});
    let mut options = BTreeMap::from([
        ("comment".to_owned(), serde_json::Value::from(comment).to_string()),
        ("caching".to_owned(), caching.to_string()),
    ]);
    if ttl > 0 {
        let window_seconds = ttl.div_ceil(24);
        compaction["compaction_window_unit"] = "MINUTES".into();
        compaction["compaction_window_size"] = window_seconds.div_ceil(60).to_string().into();
        compaction["expired_sstable_check_frequency_seconds"] =
            (window_seconds / 2).max(1).to_string().into();
        options.insert("gc_grace_seconds".to_owned(), "0".to_owned());
    }
    options.insert("compaction".to_owned(), compaction.to_string());
    options
}
