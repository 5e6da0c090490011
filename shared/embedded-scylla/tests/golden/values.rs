//! Prepared statements with values of any size and content: each is answered, and what is stored
//! can be read back by a scan of the whole table.

use crate::support::client::{Answer, Body, Client, decode_answer};
use crate::support::server::TestServer;
use anyhow::{Context as _, bail, ensure};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::cell::RefCell;

/// Consistency ONE.
const ONE: u16 = 1;
const OPCODE_PREPARE: u8 = 0x09;
const OPCODE_EXECUTE: u8 = 0x0a;

const SCHEMA: [&str; 3] = [
    "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}",
    "CREATE TABLE k.t (p int, q text, c timeuuid, d frozen<set<int>>, s bigint static, a ascii, bo boolean, da date, de decimal, do double, du duration, f float, i inet, sm smallint, ti tinyint, tm time, ts timestamp, u uuid, vi varint, fl frozen<list<frozen<tuple<int, text>>>>, fm frozen<map<text, blob>>, PRIMARY KEY ((p, q), c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC) AND cdc = {'enabled': true, 'preimage': true, 'postimage': true}",
    "CREATE TABLE k.one (p varint PRIMARY KEY, v blob)",
];

/// Statements and the types of their markers.
const STATEMENTS: [(&str, &str); 11] = [
    (
        "INSERT INTO k.t (p, q, c, d, s, a, bo, da, de, do) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "int text timeuuid set bigint text tinyint int decimal bigint",
    ),
    (
        "INSERT INTO k.t (p, q, c, d, du, f, i, sm, ti, tm, ts, u, vi, fl, fm) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "int text timeuuid set duration int int smallint tinyint bigint bigint timeuuid text tuples map",
    ),
    (
        "UPDATE k.t USING TTL ? AND TIMESTAMP ? SET a = ?, fl = ? WHERE p = ? AND q = ? AND c = ? AND d = ?",
        "int unset text tuples int text timeuuid set",
    ),
    (
        "UPDATE k.t SET vi = ? WHERE p = ? AND q = ? AND c = ? AND d = ? IF vi = ? AND de != ? AND ts IN ?",
        "text int text timeuuid set text decimal timestamps",
    ),
    (
        "INSERT INTO k.t (p, q, c, d, fm) VALUES (?, ?, ?, {?, 1}, {'x': ?}) IF NOT EXISTS",
        "int text timeuuid int any",
    ),
    ("DELETE FROM k.t WHERE p = ? AND q = ? AND c > ? AND c <= ?", "int text timeuuid timeuuid"),
    (
        "SELECT * FROM k.t WHERE p = ? AND q IN ? AND (c, d) >= (?, ?) LIMIT ?",
        "int texts timeuuid set int",
    ),
    (
        "SELECT * FROM k.t WHERE p = ? AND q = ? AND c > minTimeuuid(?) PER PARTITION LIMIT ?",
        "int text bigint int",
    ),
    (
        "SELECT COUNT(*) FROM k.t WHERE token(p, q) > ? AND vi = ? ALLOW FILTERING USING TIMEOUT ?",
        "bigint text duration",
    ),
    ("INSERT INTO k.one (p, v) VALUES (?, ?)", "text any"),
    ("SELECT * FROM k.one WHERE p IN ?", "texts"),
];

/// Some value of a type of [`STATEMENTS`].
fn sample(ty: &str) -> Option<Option<Vec<u8>>> {
    let bytes: &[u8] = match ty {
        "int" => &[0, 0, 0, 1],
        "bigint" => &[0, 0, 1, 0, 0, 0, 0, 1],
        "smallint" => &[0, 1],
        "tinyint" => &[1],
        "text" => b"a",
        "texts" => b"\0\0\0\x02\0\0\0\x01a\0\0\0\x01b",
        "decimal" => &[0, 0, 0, 2, 0x7f],
        "duration" => &[0, 0, 0xfe, 0x07, 0x73, 0x59, 0x40, 0, 0],
        "timeuuid" => &[4, 0xc2, 0x96, 0x80, 0x83, 0x3b, 0x11, 0xee, 0x81, 0x23, 1, 2, 3, 4, 5, 6],
        // Neither sorted nor without duplicates.
        "set" => b"\0\0\0\x03\0\0\0\x04\0\0\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x04\0\0\0\x01",
        "timestamps" => b"\0\0\0\x01\0\0\0\x08\0\0\0\0\0\0\0\0",
        "tuples" => b"\0\0\0\x02\0\0\0\x04\xff\xff\xff\xff\0\0\0\x08\0\0\0\x04\0\0\0\x07",
        "map" => b"\0\0\0\x01\0\0\0\x01k\0\0\0\0",
        "unset" => return None,
        _ => &[],
    };
    Some(Some(bytes.to_vec()))
}

/// A value on the wire: null, unset or bytes, often of a size that some type takes.
fn value() -> impl Strategy<Value = Option<Option<Vec<u8>>>> {
    let fitting = prop::sample::select(vec![
        vec![],
        vec![1],
        vec![0, 1],
        vec![0, 0, 0, 0],
        vec![0; 8],
        vec![0x7f; 8],
        vec![0xff; 16],
        vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 4],
    ]);
    prop_oneof![
        4 => fitting.prop_map(|bytes| Some(Some(bytes))),
        4 => any::<Vec<u8>>().prop_map(|bytes| Some(Some(bytes))),
        1 => Just(Some(None)),
        1 => Just(None),
    ]
}

fn prepare(client: &mut Client, text: &str) -> anyhow::Result<Vec<u8>> {
    let mut body = (text.len() as u32).to_be_bytes().to_vec();
    body.extend(text.as_bytes());
    let (opcode, answer) = client.request(OPCODE_PREPARE, &body)?;
    let mut answer = Body(&answer);
    ensure!(opcode == 0x08 && answer.int()? == 4, "{text} was not prepared");
    let length = answer.short()?;
    Ok(answer.take(length.into())?.to_vec())
}

fn execute(
    client: &mut Client,
    id: &[u8],
    values: &[Option<Option<Vec<u8>>>],
) -> anyhow::Result<Answer> {
    let mut body = (id.len() as u16).to_be_bytes().to_vec();
    body.extend(id);
    body.extend(ONE.to_be_bytes());
    // Values and page size.
    body.push(0x01 | 0x04);
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            None => body.extend((-2i32).to_be_bytes()),
            Some(None) => body.extend((-1i32).to_be_bytes()),
            Some(Some(bytes)) => {
                body.extend((bytes.len() as i32).to_be_bytes());
                body.extend(bytes);
            }
        }
    }
    body.extend(100i32.to_be_bytes());
    let (opcode, answer) = client.request(OPCODE_EXECUTE, &body)?;
    decode_answer(opcode, &answer)
}

#[test]
fn values_of_any_content_are_answered() -> anyhow::Result<()> {
    let server = TestServer::start()?;
    let mut client = server.connect()?;
    for statement in SCHEMA {
        let answer = client.query(statement, ONE, None, None)?;
        ensure!(answer == Answer::Done, "{statement}: {answer:?}");
    }
    let ids: Vec<Vec<u8>> = STATEMENTS
        .iter()
        .map(|(text, _)| prepare(&mut client, text))
        .collect::<anyhow::Result<_>>()?;

    let client = RefCell::new(client);
    let accepted = RefCell::new(0);
    let strategy = (
        0..STATEMENTS.len(),
        prop::collection::vec(value(), 16..17),
        // Whether a marker gets a value that fits its place.
        prop::collection::vec(prop::bool::weighted(0.85), 16..17),
    );
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&strategy, |(statement, mut values, fits)| {
        let (text, types) = STATEMENTS[statement];
        let types: Vec<&str> = types.split(' ').collect();
        for (at, ty) in types.iter().enumerate() {
            if fits[at] {
                values[at] = sample(ty);
            }
        }
        let mut client = client.borrow_mut();
        let answer = execute(&mut client, &ids[statement], &values[..types.len()])
            .map_err(|error| TestCaseError::fail(format!("{text} {values:02x?}: {error:#}")))?;
        if let Answer::Error(error) = &answer {
            prop_assert!(error.code != 0, "{} {:02x?}: {}", text, values, error.message);
        } else {
            *accepted.borrow_mut() += 1;
        }
        Ok(())
    });
    run.map_err(|error| anyhow::anyhow!("{error}"))?;
    let accepted = accepted.into_inner();

    ensure!(accepted > 500, "only {accepted} of 2000 were accepted: the values fit nothing");

    let mut client = client.into_inner();
    for text in ["SELECT * FROM k.t", "SELECT * FROM k.one", "SELECT * FROM k.t_scylla_cdc_log"] {
        let page = match client.query(text, ONE, None, None)? {
            Answer::Rows(page) => page,
            other => bail!("{text}: {other:?}"),
        };
        ensure!(!page.rows.is_empty(), "{text}: nothing was stored");
        for row in &page.rows {
            for (column, cell) in page.columns.iter().zip(row) {
                crate::support::values::Shower::new("")
                    .show(&column.name, &column.ty, cell.as_deref())
                    .with_context(|| format!("{text}: {}", column.name))?;
            }
        }
    }
    Ok(())
}
