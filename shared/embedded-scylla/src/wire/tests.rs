//! The codec against recorded frames of a real server, and against garbage.

pub(crate) mod decode;
mod fuzz;

use super::compression::Compression;
use super::request::{self, Request};
use super::{HEADER_LEN, Header, LWT_MARK, flag, opcode, response};
use crate::error::{CqlError, ErrorKind};
use crate::protocol::{
    BatchKind, BatchStatement, ColumnSpec, PreparedMetadata, Response, Rows, SchemaChange, Value,
    Values, consistency,
};
use crate::schema::CqlType;
use bytes::{BufMut, Bytes, BytesMut};
use decode::{Body, Column, Type};
use proptest::prelude::*;

struct Recorded {
    line: usize,
    client: bool,
    op: String,
    flags: u8,
    stream: i16,
    body: Bytes,
}

/// Every frame between the Rust driver and a real server, in order.
fn recording() -> Vec<Recorded> {
    let text = include_str!("../../testscripts/golden/wire_driver.jsonl");
    let frames = text.lines().enumerate().map(|(index, line)| {
        let frame: serde_json::Value = serde_json::from_str(line).expect("a JSON object per line");
        let number = |key: &str| frame[key].as_i64().expect("a number");
        let string = |key: &str| frame[key].as_str().expect("a string").to_owned();
        Recorded {
            line: index + 1,
            client: string("frm") == "client",
            op: string("op"),
            flags: number("flags") as u8,
            stream: number("stream") as i16,
            body: hex(&string("body")),
        }
    });
    frames.collect()
}

fn hex(text: &str) -> Bytes {
    let digits = text.split_whitespace().collect::<String>();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn cql_type(ty: &Type) -> CqlType {
    let child = |at: usize| Box::new(cql_type(&ty.children[at]));
    match ty.code {
        0x02 => CqlType::Bigint,
        0x03 => CqlType::Blob,
        0x04 => CqlType::Boolean,
        0x09 => CqlType::Int,
        0x0b => CqlType::Timestamp,
        0x0c => CqlType::Uuid,
        0x0d => CqlType::Text,
        0x0f => CqlType::Timeuuid,
        0x10 => CqlType::Inet,
        0x14 => CqlType::Tinyint,
        0x20 => CqlType::List(child(0), true),
        0x21 => CqlType::Map(child(0), child(1), true),
        0x22 => CqlType::Set(child(0), true),
        code => panic!("type {code:#x} does not occur in the recording"),
    }
}

fn spec(column: &Column) -> ColumnSpec {
    ColumnSpec {
        keyspace: column.keyspace.clone(),
        table: column.table.clone(),
        name: column.name.clone(),
        ty: cql_type(&column.ty),
    }
}

fn schema_change(parts: &[String]) -> SchemaChange {
    let change = ["CREATED", "UPDATED", "DROPPED"]
        .into_iter()
        .find(|change| *change == parts[0])
        .expect("a known change");
    SchemaChange { change, keyspace: parts[2].clone(), table: parts.get(3).cloned() }
}

/// What our encoder makes of a decoded body.
fn encode(op: &str, stream: i16, body: &Body) -> Bytes {
    let frame = match body {
        Body::Void => response::result(stream, &Response::Void, false),
        Body::SetKeyspace(keyspace) => {
            response::result(stream, &Response::SetKeyspace(keyspace.clone()), false)
        }
        Body::SchemaChange(parts) if op == "EVENT" => response::event(&schema_change(parts)),
        Body::SchemaChange(parts) => {
            response::result(stream, &Response::SchemaChange(schema_change(parts)), false)
        }
        Body::Rows(body) => {
            let cells = |row: &Vec<Option<Vec<u8>>>| {
                row.iter().map(|cell| cell.clone().map(Bytes::from)).collect()
            };
            let rows = Rows {
                columns: body.columns.iter().map(spec).collect(),
                rows: body.rows.iter().map(cells).collect(),
                paging_state: body.paging_state.clone().map(Bytes::from),
            };
            response::result(stream, &Response::Rows(rows), body.flags & 4 != 0)
        }
        Body::Prepared { id, flags, partition_key, markers, columns, .. } => {
            let metadata = PreparedMetadata {
                markers: markers.iter().map(spec).collect(),
                partition_key_indexes: partition_key.clone(),
                columns: columns.iter().map(spec).collect(),
                is_lwt: flags & LWT_MARK != 0,
            };
            response::prepared(stream, id, &metadata, true)
        }
        Body::Error { code: 0x2200, message, .. } => {
            Ok(response::error(stream, &CqlError::invalid(message.clone())))
        }
        Body::Error { code, .. } => panic!("error {code:#x} does not occur in the recording"),
    };
    frame.expect("what a real server sent can be encoded")
}

#[test]
fn recorded_answers_are_encoded_as_a_real_server_did() {
    let mut checked = 0;
    for frame in recording().into_iter().filter(|frame| !frame.client) {
        if frame.op == "SUPPORTED" || frame.op == "READY" {
            continue;
        }
        let (warnings, body) = decode::decode(&frame.op, frame.flags, &frame.body);
        let ours = encode(&frame.op, frame.stream, &body);
        let prefix = warnings.iter().map(|text| text.len() + 2).sum::<usize>()
            + if warnings.is_empty() { 0 } else { 2 };
        assert_eq!(
            ours.slice(HEADER_LEN..),
            frame.body.slice(prefix..),
            "line {}: {} {body:?}",
            frame.line,
            frame.op
        );
        assert_eq!(ours[2..4], frame.stream.to_be_bytes(), "line {}", frame.line);
        checked += 1;
    }
    assert!(checked > 200, "only {checked} answers in the recording");
}

#[test]
fn recorded_requests_are_decoded() {
    let code = |op: &str| match op {
        "STARTUP" => opcode::STARTUP,
        "OPTIONS" => opcode::OPTIONS,
        "QUERY" => opcode::QUERY,
        "PREPARE" => opcode::PREPARE,
        "EXECUTE" => opcode::EXECUTE,
        "REGISTER" => opcode::REGISTER,
        "BATCH" => opcode::BATCH,
        other => panic!("{other} is no request"),
    };
    for frame in recording().into_iter().filter(|frame| frame.client) {
        let line = frame.line;
        let request = request::decode(frame.flags, code(&frame.op), frame.body.clone())
            .unwrap_or_else(|error| panic!("line {line}: {error}"));
        match request {
            Request::Startup(options) => {
                assert!(options.iter().any(|(key, _)| key == "CQL_VERSION"), "line {line}");
            }
            Request::Register(events) => assert_eq!(events.len(), 3, "line {line}"),
            Request::Query { text, .. } | Request::Prepare { text } => {
                assert!(text.is_ascii() && !text.is_empty(), "line {line}: {text}");
            }
            Request::Execute { id, params } => {
                assert_eq!(id.len(), 16, "line {line}");
                assert!(params.page_size.is_none_or(|size| size == 1024 || size == 5000));
            }
            Request::Batch(batch) => {
                assert_eq!(batch.statements.len(), 2, "line {line}");
                for (statement, values) in &batch.statements {
                    assert!(matches!(statement, BatchStatement::Prepared(id) if id.len() == 16));
                    assert!(values.len() >= 3, "line {line}: {values:?}");
                }
            }
            Request::Options => assert!(frame.body.is_empty()),
            Request::AuthResponse(_) => panic!("line {line}: nobody was asked for a password"),
        }
        // Cut short at any place it is refused, never misread.
        for len in 0..frame.body.len() {
            let cut = request::decode(frame.flags, code(&frame.op), frame.body.slice(..len));
            match cut {
                Err(error) => assert_eq!(error.kind, ErrorKind::Protocol, "line {line} at {len}"),
                Ok(Request::Batch(_)) if len + 3 == frame.body.len() => {}
                Ok(_) => panic!("line {line} was accepted when cut at {len}"),
            }
        }
    }
}

#[test]
fn parameters_of_a_query_are_read_in_flag_order() {
    let body = hex("00000003 666f6f 000a 7f 0002 0001 61 ffffffff 0001 62 fffffffe
                    00000064 00000002 cafe 0009 0000000000000007 ffff");
    let Ok(Request::Query { text, params }) = request::decode(0, opcode::QUERY, body) else {
        panic!("a query")
    };
    assert_eq!(text, "foo");
    assert_eq!(params.consistency, consistency::LOCAL_ONE);
    let values = vec![("a".to_owned(), Value::Null), ("b".to_owned(), Value::Unset)];
    assert_eq!(params.values, Values::Named(values));
    assert!(params.skip_metadata);
    assert_eq!(params.page_size, Some(100));
    assert_eq!(params.paging_state, Some(hex("cafe")));
    assert_eq!(params.serial_consistency, Some(consistency::LOCAL_SERIAL));
    assert_eq!(params.timestamp, Some(7));
}

#[test]
fn a_custom_payload_is_skipped() {
    let body = hex("0001 0001 6b 00000002 0102 00000001 78");
    let request = request::decode(flag::CUSTOM_PAYLOAD, opcode::PREPARE, body);
    assert!(matches!(request, Ok(Request::Prepare { text }) if text == "x"));
}

#[test]
fn malformed_requests_get_the_error_that_fits() {
    for (opcode, body, code) in [
        (opcode::QUERY, "00000001 78 0006 10 0004", 0x2200), // serial consistency QUORUM
        (opcode::QUERY, "00000001 78 000b 00", 0x000a),      // no such consistency
        (opcode::QUERY, "00000001 78 0006 20 8000000000000000", 0x000a), // timestamp
        (opcode::QUERY, "ffffffff 0006 00", 0x000a),         // null text
        (opcode::QUERY, "00000001 ff 0006 00", 0x000a),      // no UTF-8
        (opcode::QUERY, "00000001 78 0006 01 ffff", 0x000a), // values that are not there
        (opcode::QUERY, "00000001 78 0006 01 0001 fffffffd", 0x000a), // length -3
        (opcode::BATCH, "03 0000 0006 00", 0x000a),          // batch type
        (opcode::BATCH, "00 0001 02", 0x000a),               // statement kind
        (opcode::AUTH_RESPONSE, "00000001", 0x000a),         // a token that is not there
        (opcode::RESULT, "", 0x000a),
        (0x77, "", 0x000a),
    ] {
        let error = request::decode(0, opcode, hex(body)).expect_err(body);
        assert_eq!(response::error_code(&error.kind), code, "{body}: {error}");
    }
}

#[test]
fn a_foreign_version_is_refused_on_its_stream() {
    let (stream, error) =
        Header::decode(&[5, 0, 0, 7, 1, 0, 0, 0, 0]).expect_err("version 5 is not spoken");
    assert_eq!((stream, error.kind), (7, ErrorKind::Protocol));
    assert!(error.message.contains("Invalid or unsupported protocol version: 5"));
}

#[test]
fn errors_carry_their_fields() {
    let check = |error: CqlError, body: &str| {
        assert_eq!(response::error(3, &error).slice(HEADER_LEN..), hex(body), "{error:?}");
    };
    let (consistency, received, block_for) = (consistency::SERIAL, 0, 1);
    let timeout = ErrorKind::WriteTimeout { consistency, received, block_for, write_type: "CAS" };
    check(CqlError::new(timeout, "t"), "00001100 0001 74 0008 00000000 00000001 0003 434153");
    let unknown = ErrorKind::CasUnknown { consistency, received, block_for };
    check(CqlError::new(unknown, "t"), "00001700 0001 74 0008 00000000 00000001");
    let exists = ErrorKind::AlreadyExists { keyspace: "k".into(), table: String::new() };
    check(CqlError::new(exists, "t"), "00002400 0001 74 0001 6b 0000");
    let unprepared = ErrorKind::Unprepared { id: hex("0102") };
    check(CqlError::new(unprepared, "t"), "00002500 0001 74 0002 0102");
}

#[test]
fn names_and_messages_that_are_too_long_are_cut_or_refused() {
    let message = "é".repeat(40_000);
    let frame = response::error(0, &CqlError::invalid(message));
    let (_, body) = decode::decode("ERROR", 0, &frame[HEADER_LEN..]);
    assert!(matches!(body, Body::Error { message, .. } if message.len() == 65_534));
    let column = ColumnSpec {
        keyspace: "k".into(),
        table: "t".into(),
        name: "n".repeat(70_000),
        ty: CqlType::Tuple(vec![CqlType::Int, CqlType::Text]),
    };
    let rows = Rows { columns: [column].into(), rows: Vec::new(), paging_state: None };
    assert!(response::result(0, &Response::Rows(rows.clone()), false).is_err());
    assert!(response::result(0, &Response::Rows(rows), true).is_ok());
}

#[test]
fn a_batch_carries_its_statements_and_their_values() {
    let body = hex("01 0002 00 00000001 78 0000 01 0001 aa 0001 00000001 05 0006 30 0008
                    0000000000000009");
    let Ok(Request::Batch(batch)) = request::decode(0, opcode::BATCH, body) else {
        panic!("a batch")
    };
    assert_eq!(batch.kind, BatchKind::Unlogged);
    assert_eq!((batch.serial_consistency, batch.timestamp), (Some(consistency::SERIAL), Some(9)));
    assert!(matches!(&batch.statements[0].0, BatchStatement::Text(text) if text == "x"));
    assert_eq!(batch.statements[1].1, [Value::Bytes(hex("05"))]);
}

#[test]
fn compressed_frames_round_trip_and_bombs_are_refused() {
    let message = "abc".repeat(2000);
    let frame = response::error(9, &CqlError::invalid(message));
    for compression in [Compression::Lz4, Compression::Snappy] {
        let packed = compression.compress(frame.clone());
        assert!(packed.len() < frame.len() / 4, "{compression:?}: {} bytes", packed.len());
        assert_eq!((packed[1], packed[2..5].to_vec()), (flag::COMPRESSED, frame[2..5].to_vec()));
        let unpacked = compression.decompress(&packed[HEADER_LEN..]).expect("our own frame");
        assert_eq!(unpacked, frame.slice(HEADER_LEN..));
        let small = response::ready(1);
        assert_eq!(compression.compress(small.clone()), small);
    }
    assert!(Compression::Lz4.uncompressed_len(&hex("0fffffff 00")).is_err());
    assert!(Compression::Snappy.uncompressed_len(&hex("ffffff7f 00")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn garbage_is_refused_without_a_panic(
        flags: u8,
        opcode in 0u8..0x12,
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(Request::Batch(batch)) = request::decode(flags, opcode, body.clone().into()) {
            prop_assert!(batch.statements.len() <= body.len());
        }
    }

    #[test]
    fn damaged_requests_are_refused_without_a_panic(
        frame in 0usize..400,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        thread_local! {
            static FRAMES: Vec<Bytes> = recording()
                .into_iter()
                .filter(|frame| frame.client && !frame.body.is_empty())
                .map(|frame| frame.body)
                .collect();
        }
        let mut body = FRAMES.with(|frames| BytesMut::from(&frames[frame % frames.len()][..]));
        for (index, byte) in damage {
            let at = index.index(body.len());
            body[at] = byte;
        }
        for opcode in [opcode::STARTUP, opcode::QUERY, opcode::EXECUTE, opcode::BATCH] {
            let _ = request::decode(0, opcode, body.clone().freeze());
        }
    }

    #[test]
    fn broken_compressed_bodies_are_refused_without_a_panic(
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = Compression::Snappy.decompress(&body);
        let mut lz4 = BytesMut::new();
        lz4.put_u32((body.len() * 3) as u32);
        lz4.put_slice(&body);
        let _ = Compression::Lz4.decompress(&lz4);
        let _ = Compression::Lz4.decompress(&body);
    }
}
