//! Keyspaces, tables, columns and types as the engine knows them.

use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A CQL type. `Display` gives ScyllaDB's text form (`map<text, int>`, `frozen<list<int>>`).
///
/// Collections, tuples carry whether they are frozen; non-frozen collections are refused at
/// CREATE TABLE, so that every stored value is one cell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum CqlType {
    Ascii,
    Bigint,
    Blob,
    Boolean,
    Counter,
    Date,
    Decimal,
    Double,
    Duration,
    Float,
    Inet,
    Int,
    Smallint,
    Text,
    Time,
    Timestamp,
    Timeuuid,
    Tinyint,
    Uuid,
    Varint,
    List(Box<CqlType>, bool),
    Set(Box<CqlType>, bool),
    Map(Box<CqlType>, Box<CqlType>, bool),
    Tuple(Vec<CqlType>),
}

/// A column's place in its table for as long as the table lives; never reused, so that a dropped
/// and re-added column does not show old values.
pub type ColumnId = u16;

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum ColumnKind {
    PartitionKey,
    Clustering,
    Static,
    Regular,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Stable id within the table.
    pub id: ColumnId,
    /// Case-preserved name.
    pub name: String,
    /// Type.
    pub ty: CqlType,
    /// Kind.
    pub kind: ColumnKind,
    /// Position within its key (0-based); 0 for other kinds.
    pub position: usize,
    /// Clustering columns only.
    pub descending: bool,
}

/// How a table's partition keys become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// Murmur3 over the serialised key.
    Murmur3,
    /// The first eight bytes of a 16-byte key (CDC log tables).
    Cdc,
}

/// CDC options of a base table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub struct CdcOptions {
    pub enabled: bool,
    pub preimage: Preimage,
    pub postimage: bool,
    /// `false`: `delta: keys`.
    pub full_delta: bool,
    pub ttl_seconds: u32,
}

/// The preimage option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum Preimage {
    Off,
    Changed,
    Full,
}

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    /// The schema's id: a new one for each CREATE.
    pub id: Uuid,
    /// Prefix of the table's keys in storage; never reused. TRUNCATE gives a new one, so that old
    /// data is out of sight at once.
    pub storage_id: u32,
    /// Keyspace.
    pub keyspace: String,
    /// Name.
    pub name: String,
    /// In schema order: partition key, clustering, static, regular; the last two by name.
    pub columns: Vec<Column>,
    /// How many of `columns` are partition key.
    pub partition_key_len: usize,
    /// How many of `columns` are clustering columns, right after the partition key.
    pub clustering_len: usize,
    /// Key to token.
    pub partitioner: Partitioner,
    /// CDC options; `None` when CDC was never enabled.
    pub cdc: Option<CdcOptions>,
    /// Seconds; 0 is none.
    pub default_time_to_live: u32,
    /// All other options (`comment`, `gc_grace_seconds`, `compaction`, …) by name, as
    /// JSON text, for the system tables.
    pub options: BTreeMap<String, String>,
    /// The next column id to give.
    pub next_column_id: ColumnId,
    /// Virtual tables (`system`, `system_schema`) hold no rows in storage.
    pub is_virtual: bool,
}

impl Table {
    /// The partition key columns, in key order.
    pub fn partition_key(&self) -> &[Column] {
        &self.columns[..self.partition_key_len]
    }

    /// The clustering columns, in key order.
    pub fn clustering(&self) -> &[Column] {
        &self.columns[self.partition_key_len..self.partition_key_len + self.clustering_len]
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether the table has static columns.
    pub fn has_static(&self) -> bool {
        self.columns.iter().any(|column| column.kind == ColumnKind::Static)
    }
}

/// A keyspace and its tables.
#[derive(Debug, Clone)]
pub struct Keyspace {
    /// Name.
    pub name: String,
    /// `class` as full name, and the factors, as `system_schema.keyspaces` shows them.
    pub replication: BTreeMap<String, String>,
    /// As given.
    pub durable_writes: bool,
    /// On tablets: the `initial` that was asked for, 0 if none was. `None`: on vnodes.
    pub tablets: Option<u32>,
    /// By name.
    pub tables: BTreeMap<String, Arc<Table>>,
}

/// Everything that DDL changes; immutable, replaced as a whole.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// By name, system keyspaces included.
    pub keyspaces: BTreeMap<String, Keyspace>,
    /// Changes with every DDL; what `system.local.schema_version` shows.
    pub version: Uuid,
    /// The next storage id to give.
    pub next_storage_id: u32,
}

impl Catalog {
    /// A table by name.
    pub fn table(&self, keyspace: &str, table: &str) -> Option<&Arc<Table>> {
        self.keyspaces.get(keyspace)?.tables.get(table)
    }
}
