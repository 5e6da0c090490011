//! Random statements, mostly right ones: each is answered, none makes a request panic.

use crate::support::client::Answer;
use crate::support::random::{assert_no_panics, client_with_schema, random};
use crate::support::server::TestServer;
use anyhow::{Context as _, ensure};
use proptest::prelude::*;
use std::cell::RefCell;

/// Consistency ONE.
const ONE: u16 = 1;

fn name() -> impl Strategy<Value = String> {
    let names = "p p c c d s v w l m u q b f nosuch \"cdc$time\" key ttl";
    prop::sample::select(names.split(' ').map(str::to_owned).collect::<Vec<_>>())
}

/// Mostly the table whose columns the statements use.
fn table() -> impl Strategy<Value = &'static str> {
    let others = vec![
        "k.one",
        "k.t_scylla_cdc_log",
        "system.local",
        "system_schema.columns",
        "nosuch",
        "nosuch.t",
    ];
    prop_oneof![4 => Just("k.t"), 1 => prop::sample::select(others)]
}

/// A column of `k.t` and a term; mostly one of its type.
fn cell() -> impl Strategy<Value = (String, String)> {
    let fitting = prop::sample::select(vec![
        ("p", "1"),
        ("c", "2"),
        ("d", "'a'"),
        ("s", "7"),
        ("v", "-5"),
        ("v", "null"),
        ("v", "2147483648"),
        ("w", "'x'"),
        ("w", "''"),
        ("w", "null"),
        ("l", "[3, 1, 1]"),
        ("l", "[]"),
        ("l", "null"),
        ("m", "{'b': 1, 'a': 2}"),
        ("m", "{}"),
        ("u", "now()"),
        ("u", "minTimeuuid(0)"),
    ]);
    prop_oneof![
        5 => fitting.prop_map(|(name, term)| (name.to_owned(), term.to_owned())),
        1 => (name(), term()),
    ]
}

/// A column that is no key, and a term.
fn value() -> impl Strategy<Value = (String, String)> {
    cell().prop_map(|(name, term)| match name.as_str() {
        "p" | "c" | "d" => ("v".to_owned(), "1".to_owned()),
        _ => (name, term),
    })
}

fn term() -> impl Strategy<Value = String> {
    let constants = vec![
        "1",
        "1",
        "2",
        "-1",
        "2147483648",
        "99999999999999999999999",
        "1.5",
        "-1e400",
        "NaN",
        "'a'",
        "''",
        "'2026-11-23'",
        "true",
        "null",
        "0x",
        "0x00ff",
        "0x0",
        "1h",
        "?",
        ":x",
        "00000000-0000-0000-0000-00000000000a",
        "04c29680-833b-11ee-8123-456789abcdef",
        "now()",
        "uuid()",
        "minTimeuuid(1700000000123)",
        "maxTimeuuid(9223372036854775807)",
        "token(1)",
        "[]",
        "{}",
        "currentTimestamp()",
        "nosuch(1)",
    ];
    let constant = prop::sample::select(constants).prop_map(str::to_owned);
    constant.prop_recursive(3, 8, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 0..3).prop_map(|items| items.join(", "));
        prop_oneof![
            several.clone().prop_map(|items| format!("[{items}]")),
            several.clone().prop_map(|items| format!("{{{items}}}")),
            several.clone().prop_map(|items| format!("({items})")),
            several.prop_map(|items| format!("blobAsInt({items})")),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| format!("{{{key}: {value}}}")),
            inner.prop_map(|term| format!("(int){term}")),
        ]
    })
}

fn relations() -> impl Strategy<Value = String> {
    let operator =
        prop::sample::select(vec!["=", "=", "=", "<", "<=", ">", ">=", "!=", "CONTAINS"]);
    let relation = prop_oneof![
        6 => (cell(), operator.clone()).prop_map(|((name, term), op)| format!("{name} {op} {term}")),
        2 => (name(), prop::collection::vec(term(), 0..4))
            .prop_map(|(name, terms)| format!("{name} IN ({})", terms.join(", "))),
        1 => (name(), name(), operator.clone(), term(), term())
            .prop_map(|(a, b, op, x, y)| format!("({a}, {b}) {op} ({x}, {y})")),
        1 => (operator, term()).prop_map(|(op, term)| format!("token(p) {op} {term}")),
    ];
    let usual = prop::sample::select(vec![
        "p = 1",
        "p = 1 AND c = 1",
        "p = 1 AND c = 1 AND d = 'a'",
        "p = 2 AND c = 2 AND d = 'a'",
        "p = 1 AND c = 2 AND d > ''",
        "p = 1 AND c > 0",
        "p = 1 AND (c, d) <= (2, 'a')",
        "p = 1 AND (c, d) IN ((1, 'a'), (2, 'a'))",
        "p IN (1, 2)",
        "p IN (1, 2) AND c IN (2, 1)",
        "p IN (1, 2) AND c = 1 AND d = 'a'",
        "token(p) > 0",
        "token(p) > 5 AND token(p) < 3",
    ]);
    let random = prop::collection::vec(relation, 1..4).prop_map(|all| all.join(" AND "));
    prop_oneof![
        1 => random.clone(),
        3 => usual.clone().prop_map(str::to_owned),
        1 => (usual, random).prop_map(|(usual, random)| format!("{usual} AND {random}")),
    ]
}

fn select() -> impl Strategy<Value = String> {
    let selector = prop_oneof![
        4 => name(),
        1 => Just("COUNT(*)".to_owned()),
        2 => (prop::sample::select(vec!["token", "writetime", "ttl", "max", "sum", "count", "avg",
            "toTimestamp", "intAsBlob", "blobAsInt", "textAsBlob", "nosuch", "dateOf"]), name())
            .prop_map(|(function, name)| format!("{function}({name})")),
        1 => (name(), prop::sample::select(vec!["text", "int", "nosuch", "frozen<list<int>>"]))
            .prop_map(|(name, ty)| format!("CAST({name} AS {ty})")),
    ];
    let selectors = prop_oneof![
        3 => Just("*".to_owned()),
        3 => prop::collection::vec(selector, 1..4).prop_map(|all| all.join(", ")),
        1 => prop::sample::select(vec!["DISTINCT p", "DISTINCT p, s", "DISTINCT c"])
            .prop_map(str::to_owned),
        1 => name().prop_map(|name| format!("JSON {name}")),
    ];
    let tail = prop::sample::subsequence(
        vec![
            " GROUP BY p",
            " ORDER BY c ASC",
            " PER PARTITION LIMIT 1",
            " LIMIT 3",
            " ALLOW FILTERING",
            " BYPASS CACHE",
        ],
        0..3,
    );
    (selectors, table(), prop::option::of(relations()), tail).prop_map(
        |(selectors, table, relations, tail)| {
            let relations = relations.map(|text| format!(" WHERE {text}")).unwrap_or_default();
            format!("SELECT {selectors} FROM {table}{relations}{}", tail.concat())
        },
    )
}

fn modification() -> impl Strategy<Value = String> {
    let using = prop::sample::select(vec![
        "",
        "",
        "",
        "",
        " USING TTL 100",
        " USING TTL -1",
        " USING TIMESTAMP 1700000000000000",
        " USING TIMESTAMP -9223372036854775808",
        " USING TTL 2147483648 AND TIMESTAMP 5",
    ]);
    let condition = prop_oneof![
        4 => Just(String::new()),
        1 => Just(" IF EXISTS".to_owned()),
        2 => value().prop_map(|(name, term)| format!(" IF {name} = {term}")),
        1 => value().prop_map(|(name, term)| format!(" IF {name} IN ({term}, null) AND v != 3")),
    ];
    let key =
        prop::sample::select(vec!["1, 1, 'a'", "1, 2, 'a'", "2, 1, ''", "null, 1, 'a'", "1, 1"]);
    let insert = (
        table(),
        key,
        prop::collection::vec(value(), 0..4),
        prop::sample::select(vec!["", "", " IF NOT EXISTS"]),
        using.clone(),
    )
        .prop_map(|(table, key, cells, condition, using)| {
            let (names, terms): (Vec<String>, Vec<String>) = cells.into_iter().unzip();
            let names: String = names.iter().map(|name| format!(", {name}")).collect();
            let terms: String = terms.iter().map(|term| format!(", {term}")).collect();
            format!("INSERT INTO {table} (p, c, d{names}) VALUES ({key}{terms}){condition}{using}")
        });
    let update = (
        table(),
        using.clone(),
        prop::collection::vec(value(), 1..3),
        relations(),
        condition.clone(),
    )
        .prop_map(|(table, using, cells, relations, condition)| {
            let cells: Vec<String> =
                cells.iter().map(|(name, term)| format!("{name} = {term}")).collect();
            format!("UPDATE {table}{using} SET {} WHERE {relations}{condition}", cells.join(", "))
        });
    let columns = prop_oneof![
        3 => Just(String::new()),
        2 => value().prop_map(|(name, _)| name),
        1 => name(),
    ];
    let delete = (columns, table(), using, relations(), condition).prop_map(
        |(names, table, using, relations, condition)| {
            format!("DELETE {names} FROM {table}{using} WHERE {relations}{condition}")
        },
    );
    prop_oneof![insert, update, delete]
}

fn statement() -> impl Strategy<Value = String> {
    let schema_change = prop::sample::select(vec![
        "ALTER TABLE k.one ADD x int",
        "ALTER TABLE k.one DROP x",
        "ALTER TABLE k.one ADD x text",
        "ALTER TABLE k.one WITH cdc = {'enabled': true}",
        "ALTER TABLE k.one WITH cdc = {'enabled': false}",
        "ALTER TABLE k.one WITH default_time_to_live = -1",
        "ALTER TABLE k.one RENAME q TO r",
        "ALTER TABLE k.one ALTER v TYPE int",
        "TRUNCATE k.t",
        "TRUNCATE system.local",
        "DROP TABLE system.local",
        "DROP KEYSPACE system",
        "CREATE TABLE k.x (a duration PRIMARY KEY)",
        "CREATE TABLE k.x (a int PRIMARY KEY, b list<int>)",
        "CREATE TABLE system.x (a int PRIMARY KEY)",
        "CREATE TABLE k.x (a counter PRIMARY KEY)",
        "USE system",
        "USE k",
        "DROP TABLE k.t_scylla_cdc_log",
        "CREATE KEYSPACE k2 WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 'x'}",
    ]);
    prop_oneof![
        8 => select(),
        8 => modification(),
        3 => (
            prop::sample::select(vec!["", "", "UNLOGGED ", "COUNTER "]),
            prop::sample::select(vec!["", "", "", "USING TIMESTAMP 1700000000000000 "]),
            prop::collection::vec(modification(), 0..4),
        )
            .prop_map(|(kind, using, all)| {
                format!("BEGIN {kind}BATCH {using}{} APPLY BATCH", all.join("; "))
            }),
        1 => schema_change.prop_map(str::to_owned),
    ]
}

#[test]
fn every_statement_is_answered() -> anyhow::Result<()> {
    let server = TestServer::start()?;
    let client = RefCell::new(client_with_schema(&server)?);
    random(3000, (statement(), prop::option::of(1i32..4)), |(text, page_size)| {
        let mut client = client.borrow_mut();
        let mut state: Option<Vec<u8>> = None;
        for _ in 0..5 {
            let answer = client.query(&text, ONE, page_size, state.as_deref())?;
            match answer {
                Answer::Error(error) => {
                    // The one server error that ScyllaDB gives to a statement.
                    let known = error.message.contains("An hex string representing bytes");
                    ensure!(error.code != 0 || known, "{text}: {}", error.message);
                }
                Answer::Rows(page) if page.paging_state.is_some() => {
                    state = page.paging_state;
                    continue;
                }
                Answer::Rows(_) | Answer::Done => {}
            }
            return Ok(());
        }
        Ok(())
    })?;
    assert_no_panics(&server)
}

#[test]
fn deep_and_long_statements_are_answered() -> anyhow::Result<()> {
    let server = TestServer::start()?;
    let mut client = client_with_schema(&server)?;
    for text in [
        format!("INSERT INTO t (p) VALUES ({}1{})", "[".repeat(100_000), "]".repeat(100_000)),
        format!("SELECT {}p{} FROM t", "intAsBlob(".repeat(50_000), ")".repeat(50_000)),
        format!("SELECT * FROM t WHERE {}p = 1{}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("SELECT * FROM t WHERE p IN ({}1)", "1, ".repeat(200_000)),
        format!("SELECT * FROM t WHERE p = 1{}", " AND p = 1".repeat(50_000)),
        format!(
            "CREATE TABLE k.x (a {}int{} PRIMARY KEY)",
            "frozen<list<".repeat(9_000),
            ">>".repeat(9_000)
        ),
        format!("INSERT INTO one (p, q, v) VALUES ('a', uuid(), {})", "9".repeat(1_000_000)),
        format!("SELECT {}p FROM t", "p, ".repeat(100_000)),
    ] {
        let start: String = text.chars().take(60).collect();
        let answer = client.query(&text, ONE, None, None).context(start.clone())?;
        ensure!(matches!(answer, Answer::Error(_) | Answer::Rows(_)), "{start}: {answer:?}");
    }
    assert_no_panics(&server)
}
