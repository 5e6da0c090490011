//! What becomes of plans and rows when tables change.

use super::*;

async fn execute(fixture: &Fixture, id: &Bytes) -> Result<String> {
    let answer = fixture.engine.execute(&fixture.connection, id, params(Vec::new())).await;
    answer.map(|response| show(&response))
}

#[tokio::test]
async fn a_change_of_its_table_unprepares_a_statement_and_no_other() {
    let fixture = Fixture::new().await;
    fixture.ok("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    fixture.ok("CREATE TABLE u (p int PRIMARY KEY, v int)").await;
    let prepare =
        |text: &str| fixture.engine.prepare(Some("ks"), text).expect("it is sound").id.clone();
    let (of_t, of_u) = (prepare("SELECT * FROM t"), prepare("SELECT * FROM u"));
    fixture.ok("ALTER TABLE t ADD w int").await;
    assert_eq!(execute(&fixture, &of_u).await.as_deref(), Ok("p v"));
    let error = execute(&fixture, &of_t).await.expect_err("the table has changed");
    assert_eq!(error.kind, ErrorKind::Unprepared { id: of_t.clone() });
    assert_eq!(prepare("SELECT * FROM t"), of_t, "the id stays");
    assert_eq!(execute(&fixture, &of_t).await.as_deref(), Ok("p v w"));
    fixture.ok("DROP TABLE t").await;
    let error = execute(&fixture, &of_t).await.expect_err("the table is gone");
    assert_eq!(error.kind, ErrorKind::Unprepared { id: of_t });
}

#[tokio::test]
async fn truncate_leaves_statements_prepared_and_rows_gone() {
    let fixture = Fixture::new().await;
    fixture.ok("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let select = fixture.engine.prepare(Some("ks"), "SELECT * FROM t").expect("it is sound");
    fixture.ok("INSERT INTO t (p, v) VALUES (1, 1)").await;
    assert_eq!(execute(&fixture, &select.id).await.as_deref(), Ok("p v\n1 1"));
    fixture.ok("TRUNCATE t").await;
    assert_eq!(execute(&fixture, &select.id).await.as_deref(), Ok("p v"));
    fixture.ok("INSERT INTO t (p, v) VALUES (2, 2)").await;
    let fixture = fixture.reopened().await;
    assert_eq!(fixture.ok("SELECT * FROM t").await, "p v\n2 2");
}

#[tokio::test]
async fn what_was_dropped_does_not_come_back() {
    let fixture = Fixture::new().await;
    fixture.ok("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    fixture.ok("INSERT INTO t (p, v) VALUES (1, 1)").await;
    fixture.ok("ALTER TABLE t DROP v").await;
    fixture.ok("ALTER TABLE t ADD v int").await;
    assert_eq!(fixture.ok("SELECT * FROM t").await, "p v\n1 null");
    fixture.ok("DROP TABLE t").await;
    fixture.ok("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    assert_eq!(fixture.ok("SELECT * FROM t").await, "p v");
}

#[tokio::test]
async fn changes_are_told_with_the_log_table_after_its_base() {
    let fixture = Fixture::new().await;
    let mut events = fixture.engine.schema_events();
    let create = "CREATE TABLE IF NOT EXISTS t (p int PRIMARY KEY) WITH cdc = {'enabled': true}";
    let answer = fixture.run(create).await.expect("the table is created");
    let change = |table: &str| SchemaChange {
        change: "CREATED",
        keyspace: "ks".to_owned(),
        table: Some(table.to_owned()),
    };
    assert!(matches!(answer, Response::SchemaChange(told) if told == change("t")));
    assert_eq!(events.try_recv(), Ok(change("t")));
    assert_eq!(events.try_recv(), Ok(change("t_scylla_cdc_log")));
    let version = "SELECT schema_version FROM system.local WHERE key = 'local'";
    let before = fixture.ok(version).await;
    let again = fixture.run(create).await.expect("it exists");
    assert!(matches!(again, Response::Void), "{again:?}");
    assert!(events.try_recv().is_err(), "nothing has changed");
    assert_eq!(fixture.ok(version).await, before);
}

#[tokio::test]
async fn system_keyspaces_are_not_for_clients_to_change() {
    let fixture = Fixture::new().await;
    for text in [
        "DROP KEYSPACE system",
        "CREATE TABLE system.t (p int PRIMARY KEY)",
        "ALTER TABLE system.local ADD v int",
        "TRUNCATE system_schema.tables",
        "DROP TABLE system.local",
    ] {
        let error = fixture.run(text).await.expect_err("it is refused");
        assert_eq!(error.kind, ErrorKind::Unauthorized, "{text}: {error}");
    }
    fixture.refused("INSERT INTO system.local (key) VALUES ('x')").await;
}
