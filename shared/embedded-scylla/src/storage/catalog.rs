//! The schema as it is stored: JSON whose names are fixed here, apart from the types in memory.

use crate::schema::{
    Catalog, CdcOptions, Column, ColumnId, ColumnKind, CqlType, Keyspace, Partitioner, Table,
};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
pub(super) struct CatalogRecord {
    version: Uuid,
    next_storage_id: u32,
    keyspaces: Vec<KeyspaceRecord>,
}

#[derive(Serialize, Deserialize)]
struct KeyspaceRecord {
    name: String,
    replication: BTreeMap<String, String>,
    durable_writes: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tablets: Option<u32>,
    tables: Vec<TableRecord>,
}

#[derive(Serialize, Deserialize)]
struct TableRecord {
    id: Uuid,
    storage_id: u32,
    name: String,
    columns: Vec<ColumnRecord>,
    partitioner: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cdc: Option<CdcOptions>,
    default_time_to_live: u32,
    options: BTreeMap<String, String>,
    next_column_id: ColumnId,
    #[serde(default)]
    is_virtual: bool,
}

#[derive(Serialize, Deserialize)]
struct ColumnRecord {
    id: ColumnId,
    name: String,
    #[serde(rename = "type")]
    ty: String,
    kind: ColumnKind,
    position: usize,
    #[serde(default)]
    descending: bool,
}

const MURMUR3: &str = "murmur3";
const CDC: &str = "cdc";

pub(super) fn to_record(catalog: &Catalog) -> CatalogRecord {
    CatalogRecord {
        version: catalog.version,
        next_storage_id: catalog.next_storage_id,
        keyspaces: catalog.keyspaces.values().map(keyspace_record).collect(),
    }
}

fn keyspace_record(keyspace: &Keyspace) -> KeyspaceRecord {
    KeyspaceRecord {
        name: keyspace.name.clone(),
        replication: keyspace.replication.clone(),
        durable_writes: keyspace.durable_writes,
        tablets: keyspace.tablets,
        tables: keyspace.tables.values().map(|table| table_record(table)).collect(),
    }
}

fn table_record(table: &Table) -> TableRecord {
    let partitioner = match table.partitioner {
        Partitioner::Murmur3 => MURMUR3,
        Partitioner::Cdc => CDC,
    };
    TableRecord {
        id: table.id,
        storage_id: table.storage_id,
        name: table.name.clone(),
        columns: table.columns.iter().map(column_record).collect(),
        partitioner: partitioner.to_owned(),
        cdc: table.cdc.clone(),
        default_time_to_live: table.default_time_to_live,
        options: table.options.clone(),
        next_column_id: table.next_column_id,
        is_virtual: table.is_virtual,
    }
}

fn column_record(column: &Column) -> ColumnRecord {
    ColumnRecord {
        id: column.id,
        name: column.name.clone(),
        ty: column.ty.to_string(),
        kind: column.kind,
        position: column.position,
        descending: column.descending,
    }
}

pub(super) fn from_record(record: CatalogRecord) -> anyhow::Result<Catalog> {
    let keyspaces = record
        .keyspaces
        .into_iter()
        .map(|keyspace| Ok((keyspace.name.clone(), keyspace_of(keyspace)?)))
        .collect::<anyhow::Result<_>>()?;
    Ok(Catalog { keyspaces, version: record.version, next_storage_id: record.next_storage_id })
}

fn keyspace_of(record: KeyspaceRecord) -> anyhow::Result<Keyspace> {
    let keyspace = record.name;
    let tables = record
        .tables
        .into_iter()
        .map(|table| {
            let name = table.name.clone();
            let table =
                table_of(&keyspace, table).with_context(|| format!("table {keyspace}.{name}"))?;
            Ok((name, Arc::new(table)))
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Keyspace {
        name: keyspace,
        replication: record.replication,
        durable_writes: record.durable_writes,
        tablets: record.tablets,
        tables,
    })
}

fn table_of(keyspace: &str, record: TableRecord) -> anyhow::Result<Table> {
    let partitioner = match record.partitioner.as_str() {
        MURMUR3 => Partitioner::Murmur3,
        CDC => Partitioner::Cdc,
        other => bail!("unknown partitioner {other}"),
    };
    let columns = record
        .columns
        .into_iter()
        .map(|column| column_of(keyspace, column))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let count = |kind| columns.iter().filter(|column| column.kind == kind).count();
    Ok(Table {
        id: record.id,
        storage_id: record.storage_id,
        keyspace: keyspace.to_owned(),
        name: record.name,
        partition_key_len: count(ColumnKind::PartitionKey),
        clustering_len: count(ColumnKind::Clustering),
        columns,
        partitioner,
        cdc: record.cdc,
        default_time_to_live: record.default_time_to_live,
        options: record.options,
        next_column_id: record.next_column_id,
        is_virtual: record.is_virtual,
    })
}

fn column_of(keyspace: &str, record: ColumnRecord) -> anyhow::Result<Column> {
    let ty = CqlType::parse(&record.ty, keyspace)
        .with_context(|| format!("type {} of column {}", record.ty, record.name))?;
    Ok(Column {
        id: record.id,
        name: record.name,
        ty,
        kind: record.kind,
        position: record.position,
        descending: record.descending,
    })
}
