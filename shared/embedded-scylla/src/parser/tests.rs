//! What parses, to what, and where errors are.

use super::parse;
use crate::ast::{
    Assignment, Condition, Literal, Modify, Operand, Operator, Property, Relation, Selector,
    Statement, Term,
};
use proptest::prelude::*;

fn statement(text: &str) -> Statement {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).statement
}

fn modify(text: &str) -> Modify {
    match statement(text) {
        Statement::Modify(modify) => *modify,
        other => panic!("{text}: {other:?}"),
    }
}

fn select(text: &str) -> crate::ast::Select {
    match statement(text) {
        Statement::Select(select) => *select,
        other => panic!("{text}: {other:?}"),
    }
}

fn error(text: &str) -> String {
    match parse(text) {
        Ok(parsed) => panic!("{text}: parsed as {:?}", parsed.statement),
        Err(error) => error.message,
    }
}

fn integer(text: &str) -> Term {
    Term::Literal(Literal::Integer(text.to_owned()))
}

#[test]
fn a_select_has_all_its_clauses_in_order() {
    let select = select(
        "SELECT DISTINCT p AS x, COUNT(*), count(1), Count(v), token(p), WRITETIME(v), TTL(v), \
         CAST(v AS text) FROM ks.\"T\" WHERE p IN (1, 2) AND (c, d) > (1, 'a') \
         AND token(p) <= ? GROUP BY p ORDER BY c DESC, d PER PARTITION LIMIT 1 LIMIT :n \
         ALLOW FILTERING BYPASS CACHE USING TIMEOUT 30000ms;",
    );
    assert!(select.distinct && !select.json && select.allow_filtering && select.bypass_cache);
    assert_eq!(select.table.keyspace.as_deref(), Some("ks"));
    assert_eq!(select.table.name, "T");
    let column = |name: &str| Selector::Column(name.to_owned());
    let function = |name: &str, argument: &str| Selector::Function {
        name: name.to_owned(),
        arguments: vec![column(argument)],
    };
    assert_eq!(
        select.selectors.unwrap_or_default(),
        vec![
            (column("p"), Some("x".to_owned())),
            (Selector::CountStar, None),
            (Selector::CountStar, None),
            (function("count", "v"), None),
            (function("token", "p"), None),
            (Selector::Writetime("v".to_owned()), None),
            (Selector::Ttl("v".to_owned()), None),
            (Selector::Cast(Box::new(column("v")), "text".to_owned()), None),
        ]
    );
    let shown: Vec<String> = select.relations.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["p IN (1, 2)", "(c, d) > (1, 'a')", "token(p) <= ?"]);
    assert_eq!(select.order_by, [("c".to_owned(), true), ("d".to_owned(), false)]);
    assert_eq!(select.per_partition_limit, Some(integer("1")));
    assert_eq!(select.limit, Some(Term::Marker { index: 1, name: Some("n".to_owned()) }));
    assert_eq!(select.timeout, Some(Term::Literal(Literal::Duration("30000ms".to_owned()))));
}

#[test]
fn the_statements_of_the_cdc_reader_parse() {
    let parsed = parse(
        r#"SELECT * FROM "ks"."t_scylla_cdc_log" WHERE "cdc$stream_id" in ? AND "cdc$time" >= minTimeuuid(?) AND "cdc$time" < minTimeuuid(?)  BYPASS CACHE"#,
    );
    let parsed = parsed.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(parsed.markers, [None, None, None]);
    let Statement::Select(select) = parsed.statement else { panic!("no select") };
    assert_eq!(
        select.relations[0],
        Relation::Column {
            column: "cdc$stream_id".to_owned(),
            operator: Operator::In,
            operand: Operand::Term(Term::Marker { index: 0, name: None }),
        }
    );
    assert_eq!(select.relations[2].to_string(), "cdc$time < mintimeuuid(?)");
    statement(
        "SELECT keyspace_name, replication, durable_writes FROM system_schema.keyspaces where keyspace_name in ? USING TIMEOUT 30000ms",
    );
    statement(
        "SELECT time FROM system_distributed.cdc_generation_timestamps WHERE key = 'timestamps' AND time <= ? ORDER BY time DESC LIMIT 1;",
    );
}

#[test]
fn words_that_are_not_reserved_are_names() {
    for name in ["key", "json", "distinct", "count", "ttl", "time", "type", "exists", "desc"] {
        let select = select(&format!("SELECT {name} FROM t WHERE {name} = 1"));
        assert_eq!(
            select.selectors,
            Some(vec![(Selector::Column(name.to_owned()), None)]),
            "{name}"
        );
    }
    assert!(select("SELECT JSON v, d FROM t").json);
    assert!(select("SELECT JSON DISTINCT p FROM t").distinct);
    assert_eq!(
        error("SELECT last_version, view FROM t"),
        "line 1:21 no viable alternative at input 'view'"
    );
}

#[test]
fn terms_take_every_form() {
    let Modify::Insert { values, .. } = modify(
        "INSERT INTO t (a) VALUES (-1, 1.5e-3, -Infinity, NaN, true, 0x00fF, \
         11111111-2222-3333-4444-555555555555, 'it''s', $$it's$$, 1h30m, P1Y2M, null, [1, [2]], \
         {}, {1, 2}, {'a': 1}, (1, 'x'), (int) ?, now(), system.toTimestamp(now()), :name, :name)",
    ) else {
        panic!("no insert")
    };
    let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "-1",
            "1.5e-3",
            "-Infinity",
            "NaN",
            "true",
            "0x00fF",
            "11111111-2222-3333-4444-555555555555",
            "'it''s'",
            "'it''s'",
            "1h30m",
            "P1Y2M",
            "null",
            "[1, [2]]",
            "{}",
            "{1, 2}",
            "{'a': 1}",
            "(1, 'x')",
            "(int)?",
            "now()",
            "totimestamp(now())",
            ":name",
            ":name",
        ]
    );
    let parsed = parse("INSERT INTO t (a, b, c) VALUES (:x, ?, :x)");
    assert_eq!(parsed.map(|parsed| parsed.markers), Ok(vec![Some("x".to_owned()), None]));
}

#[test]
fn updates_and_deletes_have_their_conditions() {
    let Modify::Update { assignments, condition, using, .. } = modify(
        "UPDATE t USING TTL 5 AND TIMESTAMP ? SET a = ?, b = b -1, c = [1] + c, d[1] = 2 \
         WHERE p = 1 IF v = 1 AND w NOT IN (null, 2) AND x IN ?",
    ) else {
        panic!("no update")
    };
    assert_eq!(using.ttl, Some(integer("5")));
    let kinds: Vec<&Assignment> = assignments.iter().map(|(_, assignment)| assignment).collect();
    assert_eq!(kinds[1], &Assignment::Arithmetic('-', integer("1")));
    assert_eq!(kinds[2], &Assignment::Arithmetic('+', Term::List(vec![integer("1")])));
    assert_eq!(kinds[3], &Assignment::Element);
    let Condition::Columns(conditions) = condition else { panic!("no conditions") };
    assert_eq!(conditions[1].operator, Operator::NotIn);

    let Modify::Delete { condition, columns, .. } =
        modify("DELETE a, b FROM t USING TIMESTAMP 1 WHERE p = 1 IF EXISTS")
    else {
        panic!("no delete")
    };
    assert_eq!((condition, columns.len()), (Condition::Exists, 2));
    let exists = modify("UPDATE t SET a = 1 WHERE p = 1 IF exists = 1");
    assert!(matches!(exists, Modify::Update { condition: Condition::Columns(_), .. }));
}

#[test]
fn tables_and_keyspaces_are_described() {
    let Statement::CreateTable(table) = statement(
        "CREATE TABLE IF NOT EXISTS ks.t (p uuid, q text, c bigint, s set<text> static, \
         l frozen<map<text, frozen<list<int>>>>, PRIMARY KEY ((p, q), c)) WITH CLUSTERING ORDER BY \
         (c DESC) AND cdc = {'enabled': true, 'ttl': -1} AND comment = 'a table' AND ttl = 5",
    ) else {
        panic!("no table")
    };
    assert_eq!(table.columns[3].ty, "set<text>");
    assert!(table.columns[3].is_static);
    assert_eq!(table.columns[4].ty, "frozen<map<text, frozen<list<int>>>>");
    assert_eq!(table.primary_keys, [(vec!["p".to_owned(), "q".to_owned()], vec!["c".to_owned()])]);
    assert_eq!(table.clustering_order, [("c".to_owned(), true)]);
    let cdc = vec![("enabled".to_owned(), "true".to_owned()), ("ttl".to_owned(), "-1".to_owned())];
    assert_eq!(table.properties[0], ("cdc".to_owned(), Property::Map(cdc)));
    assert_eq!(table.properties[1].1, Property::Simple("a table".to_owned()));

    for text in [
        "CREATE KEYSPACE k WITH replication = {'class': 'X', 'dc': 1} AND tablets = {'enabled': false}",
        "ALTER TABLE t ADD (a int, b text static)",
        "ALTER TABLE t RENAME a TO b AND c TO d",
        "ALTER TABLE t DROP (a, b)",
        "ALTER TABLE t WITH cdc = {}",
        "DROP KEYSPACE IF EXISTS k",
        "TRUNCATE TABLE ks.t USING TIMEOUT 5s",
        "USE \"Ks\"",
    ] {
        statement(text);
    }
    for text in ["CREATE INDEX ON t (a)", "LIST ROLES", "CREATE OR REPLACE FUNCTION f"] {
        assert!(matches!(statement(text), Statement::Unsupported(_)), "{text}");
    }
}

#[test]
fn describe_takes_words_and_names() {
    for text in [
        "DESC CLUSTER",
        "DESCRIBE FULL SCHEMA WITH INTERNALS;",
        "DESCRIBE ONLY KEYSPACE",
        "DESCRIBE KEYSPACE \"Ks\"",
        "DESC COLUMNFAMILIES",
        "DESC TABLE ks.t WITH INTERNALS",
        "DESC MATERIALIZED VIEW v",
        "DESC type",
        "DESC aggregate.b",
        "DESC aggregate b",
    ] {
        assert!(matches!(statement(text), Statement::Describe(_)), "{text}");
    }
    for text in ["DESC", "DESC FULL", "DESC TABLE", "DESC t WITH", "DESC SCHEMA x", "DESC 1"] {
        error(text);
    }
}

#[test]
fn errors_say_where() {
    for (text, message) in [
        ("SELECT", "line 1:0 no viable alternative at input '<EOF>'"),
        ("SELECT * FROM", "line 1:0 no viable alternative at input '<EOF>'"),
        ("UPDATE t SET v = 1", "line 1:0 no viable alternative at input '<EOF>'"),
        ("SELEC * FROM t", "line 1:0 no viable alternative at input 'SELEC'"),
        (
            "UPDATE t SET v = 1 WHERE p = 1 AND c = 1 IF NOT EXISTS",
            "line 1:44 no viable alternative at input 'NOT'",
        ),
        (
            "BEGIN BATCH SELECT * FROM t; APPLY BATCH",
            "line 1:12 no viable alternative at input 'SELECT'",
        ),
        (
            "SELECT toTimestamp(minTimeuuid('x')) FROM t",
            "line 1:30 no viable alternative at input '('",
        ),
        ("SELECT *\n FROM t;\n x", "line 3:1 no viable alternative at input 'x'"),
        ("SELECT 'grün', 1 FROM t", "line 1:7 no viable alternative at input ''grün''"),
        ("SELECT * FROM t WHERE a = 'open", "line 1:26 no viable alternative at input ''open'"),
        ("SELECT * FROM t WHERE a = 12xyz", "line 1:26 no viable alternative at input '12xyz'"),
        ("DELETE FROM t USING TTL 1 WHERE p = 1", "line 1:20 no viable alternative at input 'TTL'"),
        ("", "line 1:0 no viable alternative at input '<EOF>'"),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
}

#[test]
fn comments_are_blanks() {
    statement("-- first\nSELECT /* all */ * // of\nFROM t -- it\n;");
    assert!(parse("SELECT * FROM t /* open").is_ok());
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = format!("INSERT INTO t (a) VALUES ({}1{})", "[".repeat(10_000), "]".repeat(10_000));
    assert!(error(&deep).contains("nested more than"), "{}", error(&deep));
    let deep = format!("SELECT {} FROM t", "f(".repeat(10_000));
    assert!(error(&deep).contains("nested more than"));
    let deep = format!("CREATE TABLE t (a {}", "list<".repeat(10_000));
    assert!(error(&deep).contains("nested more than"));
}

/// Pieces that statements are made of.
fn piece() -> impl Strategy<Value = String> {
    let words = "SELECT JSON DISTINCT * FROM WHERE AND IN ( ) [ ] { } , ; : ? . < > <= >= != = + - \
                 INSERT INTO VALUES UPDATE SET DELETE IF NOT EXISTS USING TTL TIMESTAMP TIMEOUT \
                 BEGIN BATCH APPLY CREATE TABLE KEYSPACE WITH DESCRIBE CLUSTER FULL SCHEMA ONLY TABLES \
                 TYPE MATERIALIZED VIEW INTERNALS PRIMARY KEY STATIC ORDER BY DESC t \
                 ks.t token( count( cast( AS int 1 -1 1.5 0x00 5s 'a' \"b\" null true NaN $$ ' \" -- /*";
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    prop_oneof![4 => prop::sample::select(words), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn no_pieces_make_the_parser_panic(pieces in prop::collection::vec(piece(), 0..40)) {
        let _ = parse(&pieces.join(" "));
        let _ = parse(&pieces.concat());
    }

    #[test]
    fn every_prefix_of_a_statement_parses_or_is_an_error(cut in 0usize..300) {
        let text = "BEGIN UNLOGGED BATCH USING TIMESTAMP 1 UPDATE ks.t USING TTL ? SET a = {'x': [1, 2]}, \
                    b = 0x00ff WHERE p = 11111111-2222-3333-4444-555555555555 AND (c, d) IN ((1, 2)) \
                    IF v >= 1.5e3 AND w = 'ü''s'; DELETE FROM t WHERE p = :p; APPLY BATCH";
        if let Some(prefix) = text.get(..cut) {
            let _ = parse(prefix);
        }
    }
}
