//! Keyspaces on tablets, as clients and readers of the log see them.

use crate::support::{KEYSPACE, Stand, connect, run, wait_for};
use embedded_scylla::release::Release;
use embedded_scylla::server::{Server, ServerConfig};
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::routing::Token;
use scylla::value::CqlTimestamp;
use std::collections::BTreeMap;

/// By timestamp: state and stream.
type Sets = BTreeMap<i64, Vec<(i8, Vec<u8>)>>;

async fn refusal(stand: &Stand, cql: &str) -> DbError {
    match stand.session.query_unpaged(cql, ()).await {
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _))) => error,
        other => panic!("{cql}: {other:?}"),
    }
}

async fn sets(stand: &Stand, table: &str) -> Sets {
    let session = &stand.session;
    let cql =
        "SELECT timestamp FROM system.cdc_timestamps WHERE keyspace_name = ? AND table_name = ?";
    let result = session.query_unpaged(cql, ("ks", table)).await.expect("answered");
    let rows = result.into_rows_result().expect("rows");
    let times: Vec<i64> =
        rows.rows::<(CqlTimestamp,)>().expect("sound").map(|row| row.expect("sound").0.0).collect();
    assert!(times.is_sorted_by(|a, b| a > b), "the newest first: {times:?}");
    let mut sets = Sets::new();
    for time in times {
        let cql = "SELECT stream_state, stream_id FROM system.cdc_streams \
                   WHERE keyspace_name = ? AND table_name = ? AND timestamp = ?";
        let values = ("ks", table, CqlTimestamp(time));
        let result = session.query_unpaged(cql, values).await.expect("answered");
        let rows = result.into_rows_result().expect("rows");
        let streams = rows.rows::<(i8, Vec<u8>)>().expect("sound");
        sets.insert(time, streams.map(|row| row.expect("sound")).collect());
    }
    sets
}

fn current(set: &[(i8, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut streams: Vec<_> =
        set.iter().filter(|(state, _)| *state == 0).map(|(_, id)| id.clone()).collect();
    streams.sort_by_key(|id| token(id));
    streams
}

fn token(stream: &[u8]) -> i64 {
    i64::from_be_bytes(stream[..8].try_into().expect("sixteen bytes"))
}

async fn initial_tablets(stand: &Stand, keyspace: &str) -> Option<i32> {
    let cql = "SELECT initial_tablets FROM system_schema.scylla_keyspaces WHERE keyspace_name = ?";
    let result = stand.session.query_unpaged(cql, (keyspace,)).await.expect("answered");
    let rows = result.into_rows_result().expect("rows");
    rows.maybe_first_row::<(Option<i32>,)>().expect("sound").and_then(|row| row.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspace_is_on_tablets_if_it_says_so_and_stays_there() {
    let stand = Stand::on_tablets().await;
    assert_eq!(initial_tablets(&stand, "ks").await, Some(0));
    let create = |name: &str, clause: &str| {
        let keyspace = KEYSPACE.replace(" ks ", &format!(" {name} "));
        format!("{keyspace} {clause}")
    };
    for (name, clause, expected) in [
        ("a", "", Some(0)),
        ("b", "AND tablets = {'enabled': false}", None),
        ("c", "AND tablets = {'initial': 8}", Some(8)),
        ("d", "AND tablets = {'enabled': true, 'initial': 2}", Some(2)),
    ] {
        stand.run(&create(name, clause)).await;
        assert_eq!(initial_tablets(&stand, name).await, expected, "{clause}");
    }
    for clause in ["{'initial': -1}", "{'enabled': false, 'initial': 2}", "{'enabled': 'x'}"] {
        let cql = create("e", &format!("AND tablets = {clause}"));
        assert!(matches!(refusal(&stand, &cql).await, DbError::ConfigError), "{clause}");
    }
    let simple = "CREATE KEYSPACE e WITH replication = {'class': 'SimpleStrategy', \
                  'replication_factor': 1} AND tablets = {'enabled': true}";
    assert!(matches!(refusal(&stand, simple).await, DbError::ConfigError));
    stand.run("ALTER KEYSPACE ks WITH tablets = {'enabled': true}").await;
    for cql in [
        "ALTER KEYSPACE ks WITH tablets = {'enabled': false}",
        "ALTER KEYSPACE b WITH tablets = {'enabled': true}",
    ] {
        assert!(matches!(refusal(&stand, cql).await, DbError::Invalid), "{cql}");
    }
    // In the usual release nothing can be on tablets.
    let without = Stand::new().await;
    let cql = create("f", "AND tablets = {'enabled': true}");
    assert!(matches!(refusal(&without, &cql).await, DbError::ConfigError));
    assert_eq!(initial_tablets(&without, "ks").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_table_has_a_stream_per_tablet_until_it_is_gone() {
    let stand = Stand::on_tablets().await;
    stand.run("CREATE TABLE plain (p int PRIMARY KEY)").await;
    stand.run("CREATE TABLE t (p int PRIMARY KEY) WITH cdc = {'enabled': true}").await;
    stand.run("CREATE TABLE u (p int PRIMARY KEY)").await;
    assert_eq!(sets(&stand, "u").await, Sets::new());
    stand.run("ALTER TABLE u WITH cdc = {'enabled': true}").await;
    let (of_t, of_u) = (sets(&stand, "t").await, sets(&stand, "u").await);
    for sets in [&of_t, &of_u] {
        let [set] = sets.values().collect::<Vec<_>>()[..] else { panic!("{sets:?}") };
        let streams = current(set);
        assert_eq!((set.len(), streams.len()), (4, 4), "four tablets, none before");
        assert_eq!(token(&streams[3]), i64::MAX);
        assert_eq!(token(&streams[1]), -1);
        assert!(streams.iter().all(|id| id[15] == 1), "version 1, no index: {streams:?}");
    }
    assert_ne!(of_t, of_u);
    assert_eq!(sets(&stand, "plain").await, Sets::new());

    let opened = stand.port("POST", "/generations", r#"{"starts_in_ms":0}"#).await;
    let after = sets(&stand, "t").await;
    let split = opened["tables"]["ks.t"].as_i64().expect("a timestamp");
    let by_state = |state| after[&split].iter().filter(move |(other, _)| *other == state).count();
    assert_eq!([0, 1, 2].map(by_state), [8, 4, 8], "current, closed, opened");
    assert_eq!(after.len(), 2);

    stand.run("DROP TABLE t").await;
    assert_eq!(sets(&stand, "t").await, Sets::new());
    assert_eq!(sets(&stand, "u").await.len(), 2);
    stand.run("DROP KEYSPACE ks").await;
    assert_eq!(sets(&stand, "u").await, Sets::new());
    let rows = stand.rows("SELECT * FROM system.cdc_streams").await;
    assert_eq!(rows.len(), 0);
}

/// Streams and partitions of all rows in the log.
async fn log(stand: &Stand) -> Vec<(Vec<u8>, i32)> {
    let cql = r#"SELECT "cdc$stream_id", p FROM t_scylla_cdc_log"#;
    let result = stand.session.query_unpaged(cql, ()).await.expect("answered");
    let rows = result.into_rows_result().expect("rows");
    rows.rows::<(Vec<u8>, i32)>().expect("sound").map(|row| row.expect("sound")).collect()
}

/// The stream where ScyllaDB puts a row: that of the tablet whose last token is at or behind this one.
fn expected(streams: &[Vec<u8>], token_of_row: Token) -> &Vec<u8> {
    let of_tablet = streams.iter().find(|stream| token(stream) >= token_of_row.value());
    of_tablet.expect("the last tablet ends with the ring")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_lwts_are_logged_in_the_stream_of_their_tablet() {
    let stand = Stand::on_tablets().await;
    stand.run("CREATE TABLE t (p int PRIMARY KEY, v int) WITH cdc = {'enabled': true}").await;
    let insert = "INSERT INTO t (p, v) VALUES (?, 1) IF NOT EXISTS";
    let insert = stand.session.prepare(insert).await.expect("sound");
    let update = stand.session.prepare("UPDATE t SET v = 2 WHERE p = ?").await.expect("sound");
    let token_of = |p: i32| insert.calculate_token(&(p,)).expect("sound").expect("a token");
    for p in 0..32 {
        stand.session.execute_unpaged(&insert, (p,)).await.expect("applied");
        stand.session.execute_unpaged(&update, (p,)).await.expect("written");
    }
    let before = sets(&stand, "t").await;
    let streams = current(before.values().next().expect("one set"));
    let rows = log(&stand).await;
    assert_eq!(rows.len(), 64);
    for (stream, p) in &rows {
        assert_eq!(stream, expected(&streams, token_of(*p)), "partition {p}");
    }
    let cql = r#"UPDATE t_scylla_cdc_log SET v = 1 WHERE "cdc$stream_id" = 0x00 AND "cdc$time" = now() AND "cdc$batch_seq_no" = 0 IF v = 2"#;
    assert!(matches!(refusal(&stand, cql).await, DbError::Invalid));

    // After a split and a restart rows go to the new streams.
    stand.port("POST", "/generations", r#"{"starts_in_ms":0}"#).await;
    let Stand { session, server, _dir } = stand;
    drop(session);
    server.shutdown().await;
    let server = Server::start(ServerConfig::ephemeral(_dir.path())).await.expect("starts");
    let session = connect(server.address()).await;
    run(&session, "USE ks").await;
    session.use_keyspace("ks", false).await.expect("the keyspace is there");
    let stand = Stand { session, server, _dir };
    let after = sets(&stand, "t").await;
    assert_eq!(after.len(), 2);
    let streams = current(after.values().last().expect("two sets"));
    assert_eq!(streams.len(), 8);
    wait_for("a row in its new stream", async || {
        stand.run("UPDATE t SET v = 3 WHERE p = 7").await;
        log(&stand).await.contains(&(expected(&streams, token_of(7)).clone(), 7))
    })
    .await;
}

/// `done`, or the kind of error that a statement is refused with.
async fn answer(stand: &Stand, cql: &str) -> String {
    match stand.session.query_unpaged(cql, ()).await {
        Ok(_) => "done".to_owned(),
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _))) => {
            format!("{error:?}")
        }
        Err(error) => panic!("{cql}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_release_makes_of_keyspaces_what_it_can() {
    const NETWORK: &str = "{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}";
    const SIMPLE: &str = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    const OFF: &str = "AND tablets = {'enabled': false}";
    const ON: &str = "AND tablets = {'enabled': true}";
    let cases = [(NETWORK, ""), (NETWORK, OFF), (NETWORK, ON), (SIMPLE, ""), (SIMPLE, OFF)];
    let usual = ["tablets", "vnodes", "tablets", "vnodes", "vnodes"];
    let old = ["vnodes", "SyntaxError", "SyntaxError", "vnodes", "SyntaxError"];
    let new = ["tablets", "vnodes", "tablets", "ConfigError", "vnodes"];
    // With what becomes of the cases, and of CDC and LWTs on tablets.
    for (release, version, expected, on_tablets) in [
        (Release::V5_4, "5.4.6", old, None),
        (Release::V6_2, "6.2.3", usual, Some("Invalid")),
        (Release::V2025_1, "2025.1.0", usual, Some("Invalid")),
        (Release::V2025_4, "2025.4.0", usual, Some("done")),
        (Release::V2026_2, "2026.2.0", new, Some("done")),
    ] {
        let stand = Stand::start(KEYSPACE, |config| config.engine.release = release).await;
        let said = stand.rows("SELECT version FROM system.versions").await;
        assert!(format!("{said:?}").contains(version), "{said:?}");
        for (number, ((replication, clause), expected)) in cases.iter().zip(expected).enumerate() {
            let create =
                format!("CREATE KEYSPACE k{number} WITH replication = {replication} {clause}");
            let mut became = answer(&stand, &create).await;
            if became == "done" {
                let shown = initial_tablets(&stand, &format!("k{number}")).await;
                became = if shown.is_some() { "tablets" } else { "vnodes" }.to_owned();
            }
            assert_eq!(became, expected, "{release:?}: {create}");
        }
        let Some(expected) = on_tablets else { continue };
        // `ks` is on tablets, because nothing else was asked for.
        stand.run("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
        for cql in [
            "CREATE TABLE u (p int PRIMARY KEY) WITH cdc = {'enabled': true}",
            "ALTER TABLE t WITH cdc = {'enabled': true}",
            "INSERT INTO t (p, v) VALUES (1, 1) IF NOT EXISTS",
            "BEGIN BATCH UPDATE t SET v = 2 WHERE p = 1 IF v = 1 APPLY BATCH",
        ] {
            assert_eq!(answer(&stand, cql).await, expected, "{release:?}: {cql}");
        }
        stand.run("CREATE TABLE k1.t (p int PRIMARY KEY) WITH cdc = {'enabled': true}").await;
        stand.run("INSERT INTO k1.t (p) VALUES (1) IF NOT EXISTS").await;
    }
}
