//! Plain writes, batches and reads.

use crate::support::Stand;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError, WriteType};
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::unprepared::Statement;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CDC: &str = "WITH cdc = {'enabled': true}";

struct Table(Stand);

impl Table {
    async fn new(options: &str) -> Self {
        let stand = Stand::new().await;
        stand.run(&format!("CREATE TABLE t (p int PRIMARY KEY, v int) {options}")).await;
        stand.run("CREATE TABLE u (p int PRIMARY KEY, v int)").await;
        Self(stand)
    }

    async fn run(&self, cql: &str) -> Result<(), ExecutionError> {
        let mut statement = Statement::new(cql);
        statement.set_consistency(Consistency::Quorum);
        statement.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        statement.set_request_timeout(Some(Duration::from_secs(2)));
        self.0.session.query_unpaged(statement, ()).await.map(drop)
    }

    async fn batch(&self, kind: BatchType, p: i32) -> Result<(), ExecutionError> {
        let mut batch = Batch::new(kind);
        batch.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        batch.append_statement("INSERT INTO t (p, v) VALUES (?, 1)");
        batch.append_statement("INSERT INTO u (p, v) VALUES (?, 1)");
        self.0.session.batch(&batch, ((p,), (p,))).await.map(drop)
    }

    async fn has(&self, table: &str, p: i32) -> bool {
        !self.0.rows(&format!("SELECT v FROM {table} WHERE p = {p}")).await.is_empty()
    }
}

fn db_error(outcome: Result<(), ExecutionError>) -> DbError {
    match outcome {
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _))) => error,
        other => panic!("not an error of the database: {other:?}"),
    }
}

fn assert_write_timeout(outcome: Result<(), ExecutionError>, expected: WriteType) {
    match db_error(outcome) {
        DbError::WriteTimeout { write_type, received: 0, required: 1, .. }
            if write_type == expected => {}
        other => panic!("no {expected:?} timeout: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_applied_or_not_and_answered_with_a_timeout() {
    let table = Table::new("").await;
    table.0.rule(r#"{"kind":"write_applied_timeout","table":"t"}"#).await;
    table.run("INSERT INTO u (p, v) VALUES (1, 1)").await.expect("another table is healthy");
    table.run("INSERT INTO t (p, v) VALUES (9, 1) IF NOT EXISTS").await.expect("LWTs are healthy");
    let insert = "INSERT INTO t (p, v) VALUES (1, 1)";
    assert_write_timeout(table.run(insert).await, WriteType::Simple);
    assert!(table.has("t", 1).await);
    table.0.rule(r#"{"kind":"write_not_applied_timeout","statement":"write","count":2}"#).await;
    assert_write_timeout(table.run("DELETE FROM t WHERE p = 1").await, WriteType::Simple);
    assert_write_timeout(table.run("INSERT INTO t (p, v) VALUES (2, 1)").await, WriteType::Simple);
    assert!(table.has("t", 1).await && !table.has("t", 2).await);
    assert_eq!(table.0.fired("write_applied_timeout").await, 1);
    assert_eq!(table.0.fired("write_not_applied_timeout").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_applied_or_not_as_a_whole() {
    let table = Table::new("").await;
    // Both tables are in the batch; the rule names the second.
    table.0.rule(r#"{"kind":"write_applied_timeout","table":"u","statement":"batch"}"#).await;
    assert_write_timeout(table.batch(BatchType::Logged, 1).await, WriteType::Batch);
    assert!(table.has("t", 1).await && table.has("u", 1).await);
    table.0.rule(r#"{"kind":"write_not_applied_timeout","table":"ks.t"}"#).await;
    assert_write_timeout(table.batch(BatchType::Unlogged, 2).await, WriteType::UnloggedBatch);
    assert!(!table.has("t", 2).await && !table.has("u", 2).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_fails_in_the_log_or_is_never_answered() {
    let table = Table::new(CDC).await;
    let rule = r#"{"kind":"write_applied_timeout","answer":"cdc_write_failure"}"#;
    table.0.rule(rule).await;
    table.run("INSERT INTO u (p, v) VALUES (1, 1)").await.expect("no log, no failure");
    match db_error(table.run("INSERT INTO t (p, v) VALUES (1, 1)").await) {
        DbError::Other(0x1600) => {}
        other => panic!("{other:?}"),
    }
    assert!(table.has("t", 1).await);
    table.0.rule(r#"{"kind":"write_not_applied_timeout","answer":"silence"}"#).await;
    match table.run("INSERT INTO t (p, v) VALUES (2, 1)").await {
        Err(ExecutionError::RequestTimeout(_)) => {}
        other => panic!("{other:?}"),
    }
    assert!(!table.has("t", 2).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_time_out_also_those_of_the_log_if_it_is_named() {
    let table = Table::new(CDC).await;
    let base = "SELECT v FROM t WHERE p = 1";
    let log = "SELECT * FROM t_scylla_cdc_log LIMIT 1";
    table.0.rule(r#"{"kind":"read_timeout","table":"t"}"#).await;
    table.run(log).await.expect("the log was not named");
    match db_error(table.run(base).await) {
        DbError::ReadTimeout {
            consistency: Consistency::Quorum,
            received: 0,
            required: 1,
            data_present: false,
        } => {}
        other => panic!("{other:?}"),
    }
    table.0.rule(r#"{"kind":"read_timeout","table":"t_scylla_cdc_log"}"#).await;
    table.run(base).await.expect("the base table was not named");
    assert!(matches!(db_error(table.run(log).await), DbError::ReadTimeout { .. }));
    table.0.rule(r#"{"kind":"read_timeout","table":"cdc_generation_timestamps"}"#).await;
    let system = "SELECT time FROM system_distributed.cdc_generation_timestamps \
                  WHERE key = 'timestamps'";
    assert!(matches!(db_error(table.run(system).await), DbError::ReadTimeout { .. }));
    table.run(system).await.expect("healthy again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_statement_may_be_slow_or_refused() {
    let table = Table::new("").await;
    let statements = [
        ("lwt", "INSERT INTO t (p, v) VALUES (1, 1) IF NOT EXISTS"),
        ("write", "INSERT INTO t (p, v) VALUES (1, 1)"),
        ("batch", "BEGIN UNLOGGED BATCH INSERT INTO t (p, v) VALUES (1, 1) APPLY BATCH"),
        ("read", "SELECT v FROM t WHERE p = 1"),
    ];
    for (kind, cql) in statements {
        table.0.rule(&format!(r#"{{"kind":"overloaded","table":"t","statement":"{kind}"}}"#)).await;
        assert!(matches!(db_error(table.run(cql).await), DbError::Overloaded), "{cql}");
        table
            .0
            .rule(&format!(r#"{{"kind":"unavailable","table":"t","statement":"{kind}"}}"#))
            .await;
        let unavailable = db_error(table.run(cql).await);
        assert!(
            matches!(unavailable, DbError::Unavailable { required: 1, alive: 0, .. }),
            "{cql}: {unavailable:?}"
        );
        assert!(kind != "lwt" || !table.has("t", 1).await, "a refused statement was run");
        let rule = format!(r#"{{"kind":"slow","table":"t","statement":"{kind}","delay_ms":150}}"#);
        table.0.rule(&rule).await;
        let begun = Instant::now();
        table.run(cql).await.expect("the true answer");
        assert!(begun.elapsed() >= Duration::from_millis(150), "{cql}");
    }
    for kind in ["overloaded", "unavailable", "slow"] {
        assert_eq!(table.0.fired(kind).await, 4, "{kind}");
    }
}
