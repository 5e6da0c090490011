//! Tables, changes and data directories for the tests of storage and CDC.

use super::{Durability, ReadRows, Storage, StorageOptions};
use crate::metrics::Metrics;
use crate::mutation::{Cell, Expiry, Marker, Mutation, PartitionKey, Row, Slice, Tombstone};
use crate::schema::{
    Catalog, CdcOptions, Column, ColumnId, ColumnKind, CqlType, Keyspace, Partitioner, Table,
};
use crate::types::murmur3;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The columns of [`table`] by id.
pub(crate) const S: ColumnId = 2;
pub(crate) const V: ColumnId = 3;
pub(crate) const W: ColumnId = 4;

/// `t (p int, c int, s int static, v int, w int, PRIMARY KEY (p, c))`
pub(crate) fn table(storage_id: u32, cdc: Option<CdcOptions>) -> Table {
    let column = |id, name: &str, kind| Column {
        id,
        name: name.to_owned(),
        ty: CqlType::Int,
        kind,
        position: 0,
        descending: false,
    };
    Table {
        id: Uuid::from_u128(u128::from(storage_id)),
        storage_id,
        keyspace: "ks".into(),
        name: "t".into(),
        columns: vec![
            column(0, "p", ColumnKind::PartitionKey),
            column(1, "c", ColumnKind::Clustering),
            column(S, "s", ColumnKind::Static),
            column(V, "v", ColumnKind::Regular),
            column(W, "w", ColumnKind::Regular),
        ],
        partition_key_len: 1,
        clustering_len: 1,
        partitioner: Partitioner::Murmur3,
        cdc,
        default_time_to_live: 0,
        options: BTreeMap::from([("gc_grace_seconds".to_owned(), "100".to_owned())]),
        next_column_id: 5,
        is_virtual: false,
    }
}

/// A schema of these tables.
pub(crate) fn catalog(tables: impl IntoIterator<Item = Table>) -> Catalog {
    let tables = tables.into_iter().map(|table| (table.name.clone(), Arc::new(table))).collect();
    let keyspace = Keyspace {
        name: "ks".into(),
        replication: BTreeMap::from([("class".to_owned(), "x".to_owned())]),
        durable_writes: true,
        tablets: None,
        tables,
    };
    Catalog {
        keyspaces: BTreeMap::from([("ks".to_owned(), keyspace)]),
        version: Uuid::from_u128(1),
        next_storage_id: 10,
    }
}

/// Small and quick.
pub(crate) fn options() -> StorageOptions {
    StorageOptions { token_ranges: 4, workers: 1, ..StorageOptions::default() }
}

/// Opens a directory with [`table`] 1 in it.
pub(crate) fn open(dir: &Path) -> Storage {
    open_with(dir, options())
}

/// Opens a directory with [`table`] 1 in it.
pub(crate) fn open_with(dir: &Path, options: StorageOptions) -> Storage {
    let metrics = Metrics::new().expect("metric names are unique");
    Storage::open(dir, options, metrics, |_| catalog([table(1, None)]))
        .unwrap_or_else(|error| panic!("{error:#}"))
}

/// Options that answer before the sync.
pub(crate) fn periodic() -> StorageOptions {
    StorageOptions { durability: Durability::Periodic(Duration::from_secs(3600)), ..options() }
}

/// A CQL int.
pub(crate) fn int(value: i32) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

/// The int of a live cell.
pub(crate) fn as_int(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes.try_into().unwrap_or_else(|_| panic!("{bytes:?} is no int")))
}

/// Partition `p` under the Murmur3 partitioner.
pub(crate) fn partition(p: i32) -> PartitionKey {
    let components = vec![int(p)];
    PartitionKey { token: murmur3::token(&components), components }
}

/// No change of partition `p`.
pub(crate) fn change(table: &Arc<Table>, p: i32) -> Mutation {
    Mutation::new(Arc::clone(table), partition(p))
}

/// Marks row `c` as inserted and sets `v`.
pub(crate) fn insert(table: &Arc<Table>, p: i32, c: i32, v: i32, timestamp: i64) -> Mutation {
    let mut mutation = change(table, p);
    let row = mutation.row_mut(vec![int(c)]);
    row.set_marker(Marker { timestamp, expiry: None });
    row.set_cell(V, Cell::live(timestamp, int(v)));
    mutation
}

/// A cell with TTL.
pub(crate) fn expiring(timestamp: i64, value: i32, ttl: u32, at: i64) -> Cell {
    Cell { expiry: Some(Expiry { ttl, at }), ..Cell::live(timestamp, int(value)) }
}

/// A tombstone.
pub(crate) fn tombstone(timestamp: i64, deleted_at: i64) -> Tombstone {
    Tombstone { timestamp, deleted_at }
}

/// All live rows of a partition as `(c, v, w)`.
pub(crate) fn rows(
    reader: &impl ReadRows,
    table: &Table,
    p: i32,
    slice: &Slice,
) -> Vec<(i32, Option<i32>, Option<i32>)> {
    let rows = reader.rows(table, &partition(p), slice).expect("rows can be read");
    rows.map(|row| row.expect("the row can be read")).map(|row| plain(&row)).collect()
}

fn plain(row: &Row) -> (i32, Option<i32>, Option<i32>) {
    let value = |column| {
        row.cells.get(&column).map(|cell| as_int(cell.value.as_ref().expect("cells are live")))
    };
    (as_int(&row.clustering[0]), value(V), value(W))
}

/// The table of [`open`].
pub(crate) fn table_of(reader: &impl ReadRows) -> Arc<Table> {
    Arc::clone(reader.catalog().table("ks", "t").expect("the table exists"))
}

/// Applies changes in one write.
pub(crate) async fn apply(storage: &Storage, changes: Vec<Mutation>) {
    storage
        .write(move |context| changes.iter().try_for_each(|change| context.apply(change)))
        .await
        .expect("the write succeeds");
}

/// Waits, with a limit, until a condition holds.
pub(crate) async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
