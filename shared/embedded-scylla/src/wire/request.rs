//! Request bodies (sections C.1 and A.3 of the protocol notes).

use super::read::Reader;
use super::{flag, opcode};
use crate::error::{CqlError, Result};
use crate::protocol::{
    BatchKind, BatchRequest, BatchStatement, QueryParams, Value, Values, consistency,
};
use bytes::Bytes;
use std::fmt;

/// A decoded request.
#[derive(Debug)]
pub(crate) enum Request {
    Options,
    Startup(Vec<(String, String)>),
    Register(Vec<String>),
    Query { text: String, params: QueryParams },
    Prepare { text: String },
    Execute { id: Bytes, params: QueryParams },
    Batch(BatchRequest),
    AuthResponse(AuthToken),
}

/// What a client says to be let in: a secret, which is why `Debug` does not show it.
pub(crate) struct AuthToken(pub(crate) Bytes);

impl fmt::Debug for AuthToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AuthToken(…)")
    }
}

/// Flags of QUERY, EXECUTE and BATCH.
mod params_flag {
    pub(super) const VALUES: u8 = 0x01;
    pub(super) const SKIP_METADATA: u8 = 0x02;
    pub(super) const PAGE_SIZE: u8 = 0x04;
    pub(super) const PAGING_STATE: u8 = 0x08;
    pub(super) const SERIAL_CONSISTENCY: u8 = 0x10;
    pub(super) const TIMESTAMP: u8 = 0x20;
    pub(super) const NAMES: u8 = 0x40;
}

/// Decodes an uncompressed body. Bytes after what the opcode needs are ignored, as ScyllaDB does.
pub(crate) fn decode(flags: u8, opcode: u8, body: Bytes) -> Result<Request> {
    let mut reader = Reader::new(body);
    if flags & flag::CUSTOM_PAYLOAD != 0 {
        reader.skip_bytes_map()?;
    }
    match opcode {
        opcode::OPTIONS => Ok(Request::Options),
        opcode::STARTUP => Ok(Request::Startup(reader.string_map()?)),
        opcode::REGISTER => Ok(Request::Register(reader.string_list()?)),
        opcode::QUERY => {
            let text = reader.long_string()?;
            Ok(Request::Query { text, params: params(&mut reader)? })
        }
        opcode::PREPARE => Ok(Request::Prepare { text: reader.long_string()? }),
        opcode::EXECUTE => {
            let id = reader.short_bytes()?;
            Ok(Request::Execute { id, params: params(&mut reader)? })
        }
        opcode::BATCH => batch(&mut reader).map(Request::Batch),
        opcode::AUTH_RESPONSE => {
            // Null says as little as nothing does.
            let token = reader.bytes()?.unwrap_or_default();
            Ok(Request::AuthResponse(AuthToken(token)))
        }
        other => Err(CqlError::protocol(format!("Unknown opcode {other}"))),
    }
}

fn params(reader: &mut Reader) -> Result<QueryParams> {
    let consistency = reader.consistency()?;
    let flags = reader.byte()?;
    let values = match (flags & params_flag::VALUES != 0, flags & params_flag::NAMES != 0) {
        (false, _) => Values::Positional(Vec::new()),
        (true, false) => Values::Positional(reader.list(4, Reader::value)?),
        (true, true) => {
            Values::Named(reader.list(6, |reader| Ok((reader.string()?, reader.value()?)))?)
        }
    };
    let page_size = match flags & params_flag::PAGE_SIZE {
        0 => None,
        _ => usize::try_from(reader.int()?).ok().filter(|size| *size > 0),
    };
    let paging_state = match flags & params_flag::PAGING_STATE {
        0 => None,
        _ => reader.bytes()?.filter(|state| !state.is_empty()),
    };
    let (serial_consistency, timestamp) = serial_and_timestamp(reader, flags)?;
    Ok(QueryParams {
        consistency,
        values,
        skip_metadata: flags & params_flag::SKIP_METADATA != 0,
        page_size,
        paging_state,
        serial_consistency,
        timestamp,
    })
}

fn serial_and_timestamp(reader: &mut Reader, flags: u8) -> Result<(Option<u16>, Option<i64>)> {
    let serial_consistency = match flags & params_flag::SERIAL_CONSISTENCY {
        0 => None,
        _ => Some(reader.consistency()?),
    };
    if serial_consistency
        .is_some_and(|code| code != consistency::SERIAL && code != consistency::LOCAL_SERIAL)
    {
        return Err(CqlError::invalid(
            "Invalid consistency for conditional update. Must be one of SERIAL or LOCAL_SERIAL",
        ));
    }
    let timestamp = match flags & params_flag::TIMESTAMP {
        0 => None,
        _ => Some(reader.long()?),
    };
    if timestamp == Some(i64::MIN) {
        return Err(CqlError::protocol(format!(
            "Out of bound timestamp, must be in [{}, {}] (got {})",
            i64::MIN + 1,
            i64::MAX,
            i64::MIN
        )));
    }
    Ok((serial_consistency, timestamp))
}

fn batch(reader: &mut Reader) -> Result<BatchRequest> {
    let kind = match reader.byte()? {
        0 => BatchKind::Logged,
        1 => BatchKind::Unlogged,
        2 => BatchKind::Counter,
        other => return Err(CqlError::protocol(format!("Unrecognized batch type {other}"))),
    };
    let statements = reader.list(5, batch_statement)?;
    let consistency = reader.consistency()?;
    // A batch without flags may end here: some clients leave the byte out.
    let flags = if reader.remaining() == 0 { 0 } else { reader.byte()? };
    if flags & params_flag::NAMES != 0 {
        return Err(CqlError::protocol("Named values are not supported in BATCH messages"));
    }
    let (serial_consistency, timestamp) = serial_and_timestamp(reader, flags)?;
    Ok(BatchRequest { kind, statements, consistency, serial_consistency, timestamp })
}

fn batch_statement(reader: &mut Reader) -> Result<(BatchStatement, Vec<Value>)> {
    let statement = match reader.byte()? {
        0 => BatchStatement::Text(reader.long_string()?),
        1 => BatchStatement::Prepared(reader.short_bytes()?),
        other => {
            return Err(CqlError::protocol(format!(
                "Invalid query kind in BATCH messages. Must be 0 or 1 but got {other}"
            )));
        }
    };
    Ok((statement, reader.list(4, Reader::value)?))
}
