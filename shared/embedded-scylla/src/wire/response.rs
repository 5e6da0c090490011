//! Whole response frames (sections C.2, C.7, A.4 and A.7 of the protocol notes).
//!
//! As ScyllaDB 5.4 does, ROWS names keyspace and table with every column, and PREPARED names them
//! once for all markers.

use super::{BODY_LEN_MAX, HEADER_LEN, LWT_MARK, VERSION, flag, opcode};
use crate::error::{CqlError, ErrorKind, Result};
use crate::protocol::{ColumnSpec, PreparedMetadata, Response, Rows, SchemaChange};
use crate::schema::CqlType;
use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Result kinds.
mod kind {
    pub(super) const VOID: i32 = 1;
    pub(super) const ROWS: i32 = 2;
    pub(super) const SET_KEYSPACE: i32 = 3;
    pub(super) const PREPARED: i32 = 4;
    pub(super) const SCHEMA_CHANGE: i32 = 5;
}

/// Flags of rows metadata and of prepared metadata.
mod metadata_flag {
    pub(super) const GLOBAL_TABLE: u32 = 1;
    pub(super) const MORE_PAGES: u32 = 2;
    pub(super) const NO_METADATA: u32 = 4;
}

/// The text form of [`LWT_MARK`] in SUPPORTED and STARTUP.
pub(crate) const LWT_MARK_OPTION: (&str, &str) =
    ("SCYLLA_LWT_ADD_METADATA_MARK", "LWT_OPTIMIZATION_META_BIT_MASK=2147483648");

/// One shard, no shard-aware port, no tablets, no rate limit, no metadata id.
const SUPPORTED: [(&str, &[&str]); 8] = [
    ("COMPRESSION", &["lz4", "snappy"]),
    ("CQL_VERSION", &["3.3.1"]),
    (LWT_MARK_OPTION.0, &[LWT_MARK_OPTION.1]),
    ("SCYLLA_NR_SHARDS", &["1"]),
    ("SCYLLA_PARTITIONER", &["org.apache.cassandra.dht.Murmur3Partitioner"]),
    ("SCYLLA_SHARD", &["0"]),
    ("SCYLLA_SHARDING_ALGORITHM", &["biased-token-round-robin"]),
    ("SCYLLA_SHARDING_IGNORE_MSB", &["12"]),
];

/// SUPPORTED
pub(crate) fn supported(stream: i16) -> Bytes {
    let mut frame = Frame::new(stream, opcode::SUPPORTED);
    frame.short(SUPPORTED.len());
    for (key, values) in SUPPORTED {
        frame.lossy_string(key);
        frame.short(values.len());
        for value in values {
            frame.lossy_string(value);
        }
    }
    frame.finish()
}

/// READY
pub(crate) fn ready(stream: i16) -> Bytes {
    Frame::new(stream, opcode::READY).finish()
}

/// AUTHENTICATE: a user name and a password are wanted.
pub(crate) fn authenticate(stream: i16) -> Bytes {
    let mut frame = Frame::new(stream, opcode::AUTHENTICATE);
    frame.lossy_string("org.apache.cassandra.auth.PasswordAuthenticator");
    frame.finish()
}

/// AUTH_SUCCESS, with nothing more to say.
pub(crate) fn auth_success(stream: i16) -> Bytes {
    let mut frame = Frame::new(stream, opcode::AUTH_SUCCESS);
    frame.int(-1);
    frame.finish()
}

/// EVENT of a schema change.
pub(crate) fn event(change: &SchemaChange) -> Result<Bytes> {
    let mut frame = Frame::new(-1, opcode::EVENT);
    frame.string("SCHEMA_CHANGE")?;
    frame.schema_change(change)?;
    frame.finish_checked()
}

/// RESULT of a PREPARE; `lwt_mark` if the client has asked for the mark.
pub(crate) fn prepared(
    stream: i16,
    id: &[u8],
    metadata: &PreparedMetadata,
    lwt_mark: bool,
) -> Result<Bytes> {
    let mut frame = Frame::new(stream, opcode::RESULT);
    frame.int(kind::PREPARED);
    frame.short_bytes(id)?;
    let markers = &metadata.markers;
    let global = markers.first().filter(|first| {
        markers.iter().all(|spec| spec.keyspace == first.keyspace && spec.table == first.table)
    });
    let mut flags = if global.is_some() { metadata_flag::GLOBAL_TABLE } else { 0 };
    if metadata.is_lwt && lwt_mark {
        flags |= LWT_MARK;
    }
    frame.uint(flags);
    frame.count(markers.len())?;
    frame.count(metadata.partition_key_indexes.len())?;
    for index in &metadata.partition_key_indexes {
        frame.bytes.put_u16(*index);
    }
    if let Some(spec) = global {
        frame.string(&spec.keyspace)?;
        frame.string(&spec.table)?;
    }
    for spec in markers {
        frame.column(spec, global.is_none())?;
    }
    if metadata.columns.is_empty() {
        frame.uint(metadata_flag::NO_METADATA);
        frame.int(0);
    } else {
        frame.uint(0);
        frame.columns(&metadata.columns)?;
    }
    frame.finish_checked()
}

/// RESULT of anything else. With `skip_metadata` ROWS carries no columns.
pub(crate) fn result(stream: i16, response: &Response, skip_metadata: bool) -> Result<Bytes> {
    let mut frame = Frame::new(stream, opcode::RESULT);
    match response {
        Response::Void => frame.int(kind::VOID),
        Response::Rows(rows) => {
            frame.int(kind::ROWS);
            frame.rows(rows, skip_metadata)?;
        }
        Response::SetKeyspace(keyspace) => {
            frame.int(kind::SET_KEYSPACE);
            frame.string(keyspace)?;
        }
        Response::SchemaChange(change) => {
            frame.int(kind::SCHEMA_CHANGE);
            frame.schema_change(change)?;
        }
    }
    frame.finish_checked()
}

/// The wire code of an error.
pub(crate) fn error_code(kind: &ErrorKind) -> i32 {
    match kind {
        ErrorKind::Server => 0x0000,
        ErrorKind::Protocol => 0x000a,
        ErrorKind::BadCredentials => 0x0100,
        ErrorKind::Unavailable { .. } => 0x1000,
        ErrorKind::Overloaded => 0x1001,
        ErrorKind::WriteTimeout { .. } => 0x1100,
        ErrorKind::ReadTimeout { .. } => 0x1200,
        ErrorKind::CdcWriteFailure => 0x1600,
        ErrorKind::CasUnknown { .. } => 0x1700,
        ErrorKind::Syntax => 0x2000,
        ErrorKind::Unauthorized => 0x2100,
        ErrorKind::Invalid => 0x2200,
        ErrorKind::Config => 0x2300,
        ErrorKind::AlreadyExists { .. } => 0x2400,
        ErrorKind::Unprepared { .. } => 0x2500,
    }
}

/// ERROR. Texts longer than the protocol allows are cut.
pub(crate) fn error(stream: i16, error: &CqlError) -> Bytes {
    let mut frame = Frame::new(stream, opcode::ERROR);
    frame.int(error_code(&error.kind));
    frame.lossy_string(&error.message);
    match &error.kind {
        ErrorKind::WriteTimeout { consistency, received, block_for, write_type } => {
            frame.bytes.put_u16(*consistency);
            frame.int(*received);
            frame.int(*block_for);
            frame.lossy_string(write_type);
        }
        ErrorKind::Unavailable { consistency, required, alive } => {
            frame.bytes.put_u16(*consistency);
            frame.int(*required);
            frame.int(*alive);
        }
        ErrorKind::ReadTimeout { consistency, received, block_for, data_present } => {
            frame.bytes.put_u16(*consistency);
            frame.int(*received);
            frame.int(*block_for);
            frame.bytes.put_u8(u8::from(*data_present));
        }
        ErrorKind::CasUnknown { consistency, received, block_for } => {
            frame.bytes.put_u16(*consistency);
            frame.int(*received);
            frame.int(*block_for);
        }
        ErrorKind::AlreadyExists { keyspace, table } => {
            frame.lossy_string(keyspace);
            frame.lossy_string(table);
        }
        ErrorKind::Unprepared { id } => {
            let id = &id[..id.len().min(u16::MAX.into())];
            frame.short(id.len());
            frame.bytes.put_slice(id);
        }
        ErrorKind::Server
        | ErrorKind::Protocol
        | ErrorKind::BadCredentials
        | ErrorKind::Overloaded
        | ErrorKind::CdcWriteFailure
        | ErrorKind::Syntax
        | ErrorKind::Unauthorized
        | ErrorKind::Invalid
        | ErrorKind::Config => {}
    }
    frame.finish()
}

/// An answer with the id of the trace of its request.
pub(crate) fn traced(answer: &[u8], trace: Uuid) -> Bytes {
    let (header, body) = answer.split_at(HEADER_LEN);
    let mut bytes = BytesMut::with_capacity(answer.len() + trace.as_bytes().len());
    bytes.put_slice(header);
    bytes.put_slice(trace.as_bytes());
    bytes.put_slice(body);
    bytes[1] |= flag::TRACING;
    Frame { bytes }.finish()
}

/// A frame in the making; the length is filled in at the end.
struct Frame {
    bytes: BytesMut,
}

impl Frame {
    fn new(stream: i16, opcode: u8) -> Self {
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_slice(&[0x80 | VERSION, 0]);
        bytes.put_i16(stream);
        bytes.put_u8(opcode);
        bytes.put_u32(0);
        Self { bytes }
    }

    /// For bodies that are small by construction.
    fn finish(mut self) -> Bytes {
        let len = (self.bytes.len() - HEADER_LEN) as u32;
        self.bytes[5..HEADER_LEN].copy_from_slice(&len.to_be_bytes());
        self.bytes.freeze()
    }

    fn finish_checked(self) -> Result<Bytes> {
        if self.bytes.len() - HEADER_LEN > BODY_LEN_MAX {
            return Err(too_long("the result is larger than a frame can be; ask for pages"));
        }
        Ok(self.finish())
    }

    fn int(&mut self, value: i32) {
        self.bytes.put_i32(value);
    }

    fn uint(&mut self, value: u32) {
        self.bytes.put_u32(value);
    }

    /// For lengths that are below 2¹⁶ by construction.
    fn short(&mut self, value: usize) {
        debug_assert!(value <= u16::MAX.into(), "{value} is no short");
        self.bytes.put_u16(value as u16);
    }

    fn count(&mut self, value: usize) -> Result<()> {
        let value = i32::try_from(value).map_err(|_| too_long("too many items for one frame"))?;
        self.int(value);
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<()> {
        self.short_bytes(text.as_bytes())
    }

    /// A string, cut at a character boundary if it is too long.
    fn lossy_string(&mut self, text: &str) {
        let mut len = text.len().min(u16::MAX.into());
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        self.short(len);
        self.bytes.put_slice(&text.as_bytes()[..len]);
    }

    fn short_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let len = u16::try_from(bytes.len())
            .map_err(|_| too_long("a name in the result is longer than 65535 bytes"))?;
        self.bytes.put_u16(len);
        self.bytes.put_slice(bytes);
        Ok(())
    }

    fn cell(&mut self, cell: Option<&[u8]>) -> Result<()> {
        match cell {
            None => self.int(-1),
            Some(bytes) => {
                self.count(bytes.len())?;
                self.bytes.put_slice(bytes);
            }
        }
        Ok(())
    }

    fn rows(&mut self, rows: &Rows, skip_metadata: bool) -> Result<()> {
        let mut flags = if skip_metadata { metadata_flag::NO_METADATA } else { 0 };
        if rows.paging_state.is_some() {
            flags |= metadata_flag::MORE_PAGES;
        }
        self.uint(flags);
        self.count(rows.columns.len())?;
        if let Some(state) = &rows.paging_state {
            self.cell(Some(state))?;
        }
        if !skip_metadata {
            for spec in rows.columns.iter() {
                self.column(spec, true)?;
            }
        }
        self.count(rows.rows.len())?;
        for row in &rows.rows {
            debug_assert_eq!(row.len(), rows.columns.len(), "one cell per column");
            for cell in row {
                self.cell(cell.as_deref())?;
            }
            // No point in encoding the rest of what cannot be sent.
            if self.bytes.len() > BODY_LEN_MAX + HEADER_LEN {
                break;
            }
        }
        Ok(())
    }

    fn columns(&mut self, columns: &[ColumnSpec]) -> Result<()> {
        self.count(columns.len())?;
        columns.iter().try_for_each(|spec| self.column(spec, true))
    }

    fn column(&mut self, spec: &ColumnSpec, with_table: bool) -> Result<()> {
        if with_table {
            self.string(&spec.keyspace)?;
            self.string(&spec.table)?;
        }
        self.string(&spec.name)?;
        self.cql_type(&spec.ty)
    }

    fn cql_type(&mut self, ty: &CqlType) -> Result<()> {
        let code: u16 = match ty {
            CqlType::Ascii => 0x01,
            CqlType::Bigint => 0x02,
            CqlType::Blob => 0x03,
            CqlType::Boolean => 0x04,
            CqlType::Counter => 0x05,
            CqlType::Decimal => 0x06,
            CqlType::Double => 0x07,
            CqlType::Float => 0x08,
            CqlType::Int => 0x09,
            CqlType::Timestamp => 0x0b,
            CqlType::Uuid => 0x0c,
            CqlType::Text => 0x0d,
            CqlType::Varint => 0x0e,
            CqlType::Timeuuid => 0x0f,
            CqlType::Inet => 0x10,
            CqlType::Date => 0x11,
            CqlType::Time => 0x12,
            CqlType::Smallint => 0x13,
            CqlType::Tinyint => 0x14,
            CqlType::Duration => 0x15,
            CqlType::List(..) => 0x20,
            CqlType::Map(..) => 0x21,
            CqlType::Set(..) => 0x22,
            CqlType::Tuple(_) => 0x31,
        };
        self.bytes.put_u16(code);
        match ty {
            CqlType::List(element, _) | CqlType::Set(element, _) => self.cql_type(element),
            CqlType::Map(key, value, _) => {
                self.cql_type(key)?;
                self.cql_type(value)
            }
            CqlType::Tuple(elements) => {
                let count = u16::try_from(elements.len())
                    .map_err(|_| too_long("a tuple in the result has too many elements"))?;
                self.bytes.put_u16(count);
                elements.iter().try_for_each(|element| self.cql_type(element))
            }
            _ => Ok(()),
        }
    }

    fn schema_change(&mut self, change: &SchemaChange) -> Result<()> {
        self.string(change.change)?;
        self.string(if change.table.is_some() { "TABLE" } else { "KEYSPACE" })?;
        self.string(&change.keyspace)?;
        change.table.as_deref().map_or(Ok(()), |table| self.string(table))
    }
}

fn too_long(message: &str) -> CqlError {
    CqlError::server(message)
}
