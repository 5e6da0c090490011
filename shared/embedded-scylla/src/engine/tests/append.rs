//! The append of the event store, with prepared statements and bound values, as its writer sends
//! them.

use super::*;

const TABLE: &str = "CREATE TABLE event_store (aggregate_id uuid, sequence_number bigint, \
    fence uuid static, event_id uuid, command_id uuid, event_data text, \
    PRIMARY KEY (aggregate_id, sequence_number)) WITH CLUSTERING ORDER BY (sequence_number DESC)";

const COMMIT: &str = "UPDATE event_store SET event_id = ?, command_id = ?, event_data = '{}' \
    WHERE aggregate_id = ? AND sequence_number = ? \
    IF event_id = null AND command_id = null AND fence = ?";

const MOVE_FENCE: &str = "UPDATE event_store SET fence = ? WHERE aggregate_id = ? IF fence = ?";

async fn event_store() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.ok(TABLE).await;
    fixture
}

/// Event, command, version and the fence that is expected.
fn commit(event: u8, command: u8, version: i64, fence: Value) -> Vec<Value> {
    vec![uuid(event), uuid(command), uuid(0xa), bigint(version), fence]
}

fn id(low: u8) -> String {
    format!("00000000-0000-0000-0000-0000000000{low:02x}")
}

#[tokio::test]
async fn the_second_of_two_events_for_one_version_loses_and_sees_the_first() {
    let fixture = event_store().await;
    let won = fixture.prepared(COMMIT, commit(0xe1, 0xc1, 1, Value::Null)).await;
    assert_eq!(won, "[applied] fence command_id event_id\ntrue null null null");
    let lost = fixture.prepared(COMMIT, commit(0xe2, 0xc2, 1, Value::Null)).await;
    let winner = format!("false null {} {}", id(0xc1), id(0xe1));
    assert_eq!(lost, format!("[applied] fence command_id event_id\n{winner}"));
}

#[tokio::test]
async fn an_event_under_an_old_fence_loses_and_sees_the_new_one() {
    let fixture = event_store().await;
    fixture.prepared(COMMIT, commit(0xe1, 0xc1, 1, Value::Null)).await;
    let moved = fixture.prepared(MOVE_FENCE, vec![uuid(0xf1), uuid(0xa), Value::Null]).await;
    assert_eq!(moved, "[applied] fence\ntrue null");
    let again = fixture.prepared(MOVE_FENCE, vec![uuid(0xf2), uuid(0xa), Value::Null]).await;
    assert_eq!(again, format!("[applied] fence\nfalse {}", id(0xf1)));
    let lost = fixture.prepared(COMMIT, commit(0xe3, 0xc3, 2, Value::Null)).await;
    let fence = id(0xf1);
    assert_eq!(lost, format!("[applied] fence command_id event_id\nfalse {fence} null null"));
    let won = fixture.prepared(COMMIT, commit(0xe3, 0xc3, 2, uuid(0xf1))).await;
    assert_eq!(won, format!("[applied] fence command_id event_id\ntrue {fence} null null"));
}

#[tokio::test]
async fn several_events_land_together_or_not_at_all() {
    let fixture = event_store().await;
    fixture.prepared(MOVE_FENCE, vec![uuid(0xf1), uuid(0xa), Value::Null]).await;
    let first = fixture.engine.prepare(Some("ks"), COMMIT).expect("the statement is sound");
    let others = "INSERT INTO event_store (aggregate_id, sequence_number, event_id, command_id, \
        event_data) VALUES (?, ?, ?, ?, '{}')";
    let others = fixture.engine.prepare(Some("ks"), others).expect("the statement is sound");
    let batch = async |event: u8, command: u8| {
        let rest = vec![uuid(0xa), bigint(2), uuid(event + 1), uuid(command)];
        let request = BatchRequest {
            kind: crate::protocol::BatchKind::Unlogged,
            statements: vec![
                (
                    crate::protocol::BatchStatement::Prepared(first.id.clone()),
                    commit(event, command, 1, uuid(0xf1)),
                ),
                (crate::protocol::BatchStatement::Prepared(others.id.clone()), rest),
            ],
            consistency: consistency::QUORUM,
            serial_consistency: None,
            timestamp: None,
        };
        let answer = fixture.engine.batch(&fixture.connection, request).await;
        show(&answer.expect("the batch is sound"))
    };
    let (aggregate, fence) = (id(0xa), id(0xf1));
    let head = "[applied] aggregate_id sequence_number fence command_id event_id";
    let none = format!("true {aggregate} null {fence} null null");
    assert_eq!(batch(0xe4, 0xc4).await, format!("{head}\n{none}\n{none}"));
    let winner = format!("false {aggregate} 1 {fence} {} {}", id(0xc4), id(0xe4));
    let other = format!("false {aggregate} null {fence} null null");
    assert_eq!(batch(0xe6, 0xc5).await, format!("{head}\n{winner}\n{other}"));
    assert_eq!(
        fixture.ok("SELECT sequence_number, event_id FROM event_store").await,
        format!("sequence_number event_id\n2 {}\n1 {}", id(0xe5), id(0xe4)),
    );
}

#[tokio::test]
async fn the_tail_of_an_aggregate_shows_its_fence_even_without_events() {
    let fixture = event_store().await;
    let tail = "SELECT sequence_number, event_id, fence FROM event_store \
                WHERE aggregate_id = ? LIMIT 1";
    let head = "sequence_number event_id fence";
    assert_eq!(fixture.prepared(tail, vec![uuid(0xa)]).await, head);
    fixture.prepared(MOVE_FENCE, vec![uuid(0xf1), uuid(0xa), Value::Null]).await;
    let only_fence = format!("{head}\nnull null {}", id(0xf1));
    assert_eq!(fixture.prepared(tail, vec![uuid(0xa)]).await, only_fence);
    fixture.prepared(COMMIT, commit(0xe1, 0xc1, 1, uuid(0xf1))).await;
    fixture.prepared(COMMIT, commit(0xe2, 0xc2, 2, uuid(0xf1))).await;
    let newest = format!("{head}\n2 {} {}", id(0xe2), id(0xf1));
    assert_eq!(fixture.prepared(tail, vec![uuid(0xa)]).await, newest);
}

#[tokio::test]
async fn a_statement_of_a_commit_knows_its_partition_key() {
    let fixture = event_store().await;
    let prepared = fixture.engine.prepare(Some("ks"), COMMIT).expect("the statement is sound");
    assert!(prepared.metadata.is_lwt);
    assert_eq!(prepared.metadata.partition_key_indexes, [2]);
    let names: Vec<&str> =
        prepared.metadata.markers.iter().map(|marker| marker.name.as_str()).collect();
    assert_eq!(names, ["event_id", "command_id", "aggregate_id", "sequence_number", "fence"]);
}
