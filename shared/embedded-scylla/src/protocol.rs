//! Requests and responses between the wire and the engine, free of any byte layout.

use crate::schema::CqlType;
use bytes::Bytes;
use std::sync::Arc;

/// Consistency levels by their wire codes.
pub mod consistency {
    #![expect(missing_docs, reason = "the names are the protocol's own")]
    pub const ANY: u16 = 0;
    pub const ONE: u16 = 1;
    pub const TWO: u16 = 2;
    pub const THREE: u16 = 3;
    pub const QUORUM: u16 = 4;
    pub const ALL: u16 = 5;
    pub const LOCAL_QUORUM: u16 = 6;
    pub const EACH_QUORUM: u16 = 7;
    pub const SERIAL: u16 = 8;
    pub const LOCAL_SERIAL: u16 = 9;
    pub const LOCAL_ONE: u16 = 10;

    /// A level as messages have it.
    pub fn name(level: u16) -> &'static str {
        match level {
            ANY => "ANY",
            ONE => "ONE",
            TWO => "TWO",
            THREE => "THREE",
            QUORUM => "QUORUM",
            ALL => "ALL",
            LOCAL_QUORUM => "LOCAL_QUORUM",
            EACH_QUORUM => "EACH_QUORUM",
            SERIAL => "SERIAL",
            LOCAL_SERIAL => "LOCAL_SERIAL",
            LOCAL_ONE => "LOCAL_ONE",
            _ => "UNKNOWN",
        }
    }
}

/// A bound value as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Length -1.
    Null,
    /// Length -2: "not given".
    Unset,
    /// CQL-serialised bytes; not yet validated against a type.
    Bytes(Bytes),
}

/// The parameters of QUERY and EXECUTE.
#[derive(Debug, Clone)]
pub struct QueryParams {
    /// Wire code.
    pub consistency: u16,
    /// Bound values, by position or by marker name.
    pub values: Values,
    /// Leave the column specifications out of ROWS.
    pub skip_metadata: bool,
    /// Rows per page; `None` is unpaged.
    pub page_size: Option<usize>,
    /// Where the last page ended.
    pub paging_state: Option<Bytes>,
    /// 8 or 9; absent means SERIAL.
    pub serial_consistency: Option<u16>,
    /// Protocol-level write timestamp in µs.
    pub timestamp: Option<i64>,
}

/// Bound values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// In marker order.
    Positional(Vec<Value>),
    /// By marker name.
    Named(Vec<(String, Value)>),
}

/// The three batch types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub enum BatchKind {
    Logged,
    Unlogged,
    Counter,
}

/// A BATCH request.
#[derive(Debug, Clone)]
pub struct BatchRequest {
    /// Logged, unlogged or counter.
    pub kind: BatchKind,
    /// Statements with their positional values, in order.
    pub statements: Vec<(BatchStatement, Vec<Value>)>,
    /// Wire code.
    pub consistency: u16,
    /// 8 or 9; absent means SERIAL.
    pub serial_consistency: Option<u16>,
    /// Protocol-level write timestamp in µs.
    pub timestamp: Option<i64>,
}

/// One statement of a BATCH request.
#[derive(Debug, Clone)]
pub enum BatchStatement {
    /// CQL text.
    Text(String),
    /// A prepared statement's id.
    Prepared(Bytes),
}

/// One column of a result or one bind marker.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSpec {
    /// Keyspace of the table.
    pub keyspace: String,
    /// The table.
    pub table: String,
    /// Column, alias or marker name.
    pub name: String,
    /// Type.
    pub ty: CqlType,
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub enum Response {
    /// Nothing to say.
    Void,
    /// Rows with their columns.
    Rows(Rows),
    /// USE succeeded.
    SetKeyspace(String),
    /// DDL changed something.
    SchemaChange(SchemaChange),
}

/// A page of rows.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Columns, in order.
    pub columns: Arc<[ColumnSpec]>,
    /// Cells row by row, CQL-serialised; `None` is null.
    pub rows: Vec<Vec<Option<Bytes>>>,
    /// Set when there may be more pages.
    pub paging_state: Option<Bytes>,
}

/// A change of the schema, as result and as event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaChange {
    /// `CREATED`, `UPDATED` or `DROPPED`.
    pub change: &'static str,
    /// The keyspace.
    pub keyspace: String,
    /// The table; `None` when the keyspace itself changed.
    pub table: Option<String>,
}

/// What PREPARE answers, besides the id.
#[derive(Debug, Clone)]
pub struct PreparedMetadata {
    /// Bind markers in order.
    pub markers: Vec<ColumnSpec>,
    /// For each partition key column the index of its marker; empty when any has none.
    pub partition_key_indexes: Vec<u16>,
    /// Result columns; empty for statements without rows.
    pub columns: Arc<[ColumnSpec]>,
    /// Whether the statement is conditional.
    pub is_lwt: bool,
}
