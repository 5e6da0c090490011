//! Lightweight transactions: the usual cases of each condition, and the corners between them.

use super::*;

const TABLE: &str = "CREATE TABLE t (p int, c int, s int static, v int, PRIMARY KEY (p, c))";

/// Runs `setup`, then checks what `statement` answers.
async fn check(setup: &[&str], statement: &str, expected: &str) {
    let fixture = Fixture::new().await;
    fixture.ok(TABLE).await;
    for text in setup {
        fixture.ok(text).await;
    }
    assert_eq!(fixture.ok(statement).await, expected, "{statement}");
}

#[tokio::test]
async fn an_insert_shows_the_row_that_was_there() {
    let insert = "INSERT INTO t (p, c, v) VALUES (1, 1, 5) IF NOT EXISTS";
    check(&[], insert, "[applied] p c s v\ntrue null null null null").await;
    check(&[insert], insert, "[applied] p c s v\nfalse 1 1 null 5").await;
}

#[tokio::test]
async fn an_update_shows_the_columns_of_its_condition() {
    let insert = "INSERT INTO t (p, c, v) VALUES (1, 1, 5)";
    let update = "UPDATE t SET v = 6 WHERE p = 1 AND c = 1 IF v = 5";
    check(&[insert], update, "[applied] v\ntrue 5").await;
    check(&[insert, update], update, "[applied] v\nfalse 6").await;
}

#[tokio::test]
async fn a_missing_row_is_all_null_even_beside_others() {
    check(
        &["INSERT INTO t (p, c, v) VALUES (1, 1, 6)"],
        "UPDATE t SET v = 7 WHERE p = 1 AND c = 2 IF EXISTS",
        "[applied] p c s v\nfalse null null null null",
    )
    .await;
}

#[tokio::test]
async fn a_static_condition_lets_a_row_appear() {
    let fixture = Fixture::new().await;
    fixture.ok(TABLE).await;
    fixture.ok("UPDATE t SET s = 1 WHERE p = 1").await;
    let update = "UPDATE t SET v = 1 WHERE p = 1 AND c = 9 IF s = 1";
    assert_eq!(fixture.ok(update).await, "[applied] s\ntrue 1");
    assert_eq!(fixture.ok("SELECT c, v FROM t").await, "c v\n9 1");
}

#[tokio::test]
async fn a_batch_answers_one_row_per_statement() {
    let batch = "BEGIN BATCH UPDATE {t} SET v = 7 WHERE p = 1 AND c = 1 IF v = 6; \
                 INSERT INTO {t} (p, c, v) VALUES (1, 2, 8); APPLY BATCH";
    check(
        &["INSERT INTO t (p, c, v) VALUES (1, 1, 6)"],
        &batch.replace("{t}", "t"),
        "[applied] p c v\ntrue 1 1 6\ntrue 1 null null",
    )
    .await;
    // Without static columns there is no static entry to show.
    check(
        &[
            "CREATE TABLE u (p int, c int, v int, PRIMARY KEY (p, c))",
            "INSERT INTO u (p, c, v) VALUES (1, 1, 6)",
        ],
        &batch.replace("{t}", "u"),
        "[applied] p c v\ntrue 1 1 6\ntrue null null null",
    )
    .await;
}

#[tokio::test]
async fn a_delete_shows_what_it_deletes() {
    check(
        &["INSERT INTO t (p, c, v) VALUES (1, 1, 7)"],
        "DELETE FROM t WHERE p = 1 AND c = 1 IF EXISTS",
        "[applied] p c s v\ntrue 1 1 null 7",
    )
    .await;
}

#[tokio::test]
async fn a_row_that_lost_all_its_cells_does_not_exist() {
    check(
        &[
            "UPDATE t SET v = 1 WHERE p = 1 AND c = 1",
            "UPDATE t SET v = null WHERE p = 1 AND c = 1",
        ],
        "UPDATE t SET v = 2 WHERE p = 1 AND c = 1 IF EXISTS",
        "[applied] p c s v\nfalse null null null null",
    )
    .await;
}

#[tokio::test]
async fn what_is_not_applied_leaves_no_trace() {
    let fixture = Fixture::new().await;
    fixture.ok("CREATE TABLE l (p int PRIMARY KEY, v int) WITH cdc = {'enabled': true}").await;
    let insert = "INSERT INTO l (p, v) VALUES (1, 1) IF NOT EXISTS";
    fixture.ok(insert).await;
    fixture.ok(insert).await;
    let answer = fixture.ok("SELECT COUNT(*) FROM l_scylla_cdc_log").await;
    assert_eq!(answer, "count\n1");
}

#[tokio::test]
async fn bound_conditions_take_lists_and_nulls() {
    let fixture = Fixture::new().await;
    fixture.ok(TABLE).await;
    fixture.ok("INSERT INTO t (p, c, v) VALUES (1, 1, 5)").await;
    let list = |values: &[i32]| {
        let values: Vec<[u8; 4]> = values.iter().map(|value| value.to_be_bytes()).collect();
        Value::Bytes(crate::types::collection::encode_list(&values))
    };
    let update = "UPDATE t SET v = ? WHERE p = 1 AND c = 1 IF v IN ?";
    let refused = fixture.prepared(update, vec![int(6), list(&[1, 2])]).await;
    assert_eq!(refused, "[applied] v\nfalse 5");
    let applied = fixture.prepared(update, vec![int(6), list(&[5])]).await;
    assert_eq!(applied, "[applied] v\ntrue 5");
    let null = "UPDATE t SET v = 7 WHERE p = 1 AND c = 1 IF s = ? AND v != ?";
    let applied = fixture.prepared(null, vec![Value::Null, Value::Null]).await;
    assert_eq!(applied, "[applied] s v\ntrue null 6");
}

#[tokio::test]
async fn conditional_batches_stay_in_one_partition() {
    let fixture = Fixture::new().await;
    fixture.ok(TABLE).await;
    let message = fixture
        .refused(
            "BEGIN BATCH INSERT INTO t (p, c) VALUES (1, 1) IF NOT EXISTS; \
             INSERT INTO t (p, c) VALUES (2, 1); APPLY BATCH",
        )
        .await;
    assert_eq!(message, "BATCH with conditions cannot span multiple partitions");
}
