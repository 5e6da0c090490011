//! What would cost too much is refused before it costs anything.

use super::*;

async fn fixture() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.ok("CREATE TABLE t (p text, c text, v int, PRIMARY KEY (p, c))").await;
    fixture
}

fn list(count: usize) -> String {
    let items: Vec<String> = (0..count).map(|item| format!("'{item}'")).collect();
    items.join(", ")
}

fn texts(values: impl IntoIterator<Item = String>) -> Value {
    let values: Vec<String> = values.into_iter().collect();
    Value::Bytes(crate::types::collection::encode_list(&values))
}

#[tokio::test]
async fn in_lists_make_at_most_a_hundred_keys() {
    let fixture = fixture().await;
    fixture.ok(&format!("SELECT * FROM t WHERE p IN ({})", list(100))).await;
    fixture.ok(&format!("DELETE FROM t WHERE p IN ({}) AND c = 'x'", list(100))).await;
    for (text, what) in [
        (format!("SELECT * FROM t WHERE p IN ({})", list(101)), "partition"),
        (format!("SELECT * FROM t WHERE p = 'x' AND c IN ({})", list(101)), "clustering"),
        (format!("DELETE FROM t WHERE p IN ({}) AND c = 'x'", list(101)), "partition"),
        (format!("UPDATE t SET v = 1 WHERE p = 'x' AND c IN ({})", list(101)), "clustering"),
    ] {
        let message = fixture.refused(&text).await;
        assert_eq!(
            message,
            format!("{what} key cartesian product size 101 is greater than maximum 100")
        );
    }
    // The same value again does not count.
    let one = texts(std::iter::repeat_n("x".to_owned(), 1000));
    fixture.prepared("SELECT * FROM t WHERE p IN ?", vec![one]).await;
}

#[tokio::test]
async fn keys_have_a_length_that_storage_can_take() {
    let fixture = fixture().await;
    let insert = "INSERT INTO t (p, c, v) VALUES (?, ?, 1)";
    let text = |length: usize| Value::Bytes("x".repeat(length).into());
    fixture.prepared(insert, vec![text(30_000), text(30_000)]).await;
    let prepared = fixture.engine.prepare(Some("ks"), insert).expect("the statement is sound");
    for (values, message) in [
        (vec![text(65_536), text(1)], "Key length of 65536 is longer than maximum of 65535"),
        (vec![text(1), text(65_536)], "Key length of 65536 is longer than maximum of 65535"),
        (vec![text(0), text(1)], "Key may not be empty"),
        (vec![Value::Null, text(1)], "Invalid null value in condition for column p"),
        (vec![text(1), Value::Null], "Invalid null value in condition for column c"),
        (vec![text(1), Value::Unset], "Unexpected unset value for bind variable 1"),
    ] {
        let answer =
            fixture.engine.execute(&fixture.connection, &prepared.id, params(values)).await;
        assert_eq!(answer.expect_err("the key is refused").message, message);
    }
    fixture.prepared(insert, vec![text(1), text(0)]).await;
}

#[tokio::test]
async fn a_batch_over_partitions_is_bounded_but_not_one_partition() {
    let fixture = Fixture::with(|config| config.batch_bytes_max = 10_000).await;
    fixture.ok("CREATE TABLE t (p int, c int, v text, PRIMARY KEY (p, c))").await;
    let long = "x".repeat(1000);
    let batch = |partitions: i32| {
        let inserts: Vec<String> = (0..20)
            .map(|c| {
                let p = c % partitions;
                format!("INSERT INTO t (p, c, v) VALUES ({p}, {c}, '{long}');")
            })
            .collect();
        format!("BEGIN BATCH {} APPLY BATCH", inserts.join(" "))
    };
    fixture.ok(&batch(1)).await;
    assert_eq!(fixture.refused(&batch(2)).await, "Batch too large");
    assert_eq!(fixture.ok("SELECT COUNT(*) FROM t").await, "count\n20");
}

#[tokio::test]
async fn a_batch_of_as_many_statements_as_a_frame_can_name_is_quick() {
    let fixture = Fixture::new().await;
    fixture
        .ok("CREATE TABLE t (p int, c int, v int, PRIMARY KEY (p, c)) \
             WITH CLUSTERING ORDER BY (c DESC)")
        .await;
    let insert = "INSERT INTO t (p, c, v) VALUES (1, ?, ?)";
    let prepared = fixture.engine.prepare(Some("ks"), insert).expect("the statement is sound");
    let statement = crate::protocol::BatchStatement::Prepared(prepared.id.clone());
    let request = BatchRequest {
        kind: crate::protocol::BatchKind::Unlogged,
        statements: (0..65_535).map(|c| (statement.clone(), vec![int(c), int(c)])).collect(),
        consistency: consistency::QUORUM,
        serial_consistency: None,
        timestamp: None,
    };
    let work = fixture.engine.batch(&fixture.connection, request);
    tokio::time::timeout(Duration::from_secs(30), work)
        .await
        .expect("no more than linear time")
        .expect("the batch is sound");
    let answer = fixture.ok("SELECT COUNT(*), MIN(c), MAX(c) FROM t").await;
    assert_eq!(answer, "count system.min(c) system.max(c)\n65535 0 65534");
}

#[tokio::test]
async fn prepared_statements_are_forgotten_oldest_first() {
    let fixture = Fixture::with(|config| config.prepared_max = 3).await;
    fixture.ok("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let prepare = |at: usize| {
        let text = format!("SELECT v FROM t WHERE p = {at}");
        fixture.engine.prepare(Some("ks"), &text).expect("the statement is sound")
    };
    let first = prepare(0);
    let others: Vec<_> = (1..4).map(prepare).collect();
    let known = async |id: &Bytes| {
        fixture.engine.execute(&fixture.connection, id, params(Vec::new())).await.is_ok()
    };
    assert!(!known(&first.id).await);
    for other in &others {
        assert!(known(&other.id).await);
    }
    assert_eq!(prepare(0).id, first.id, "the id is that of the text");
}
