//! Lightweight transactions.

use crate::support::{Stand, wait_for};
use scylla::errors::{DbError, ExecutionError, RequestAttemptError, WriteType};
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Faulty {
    stand: Stand,
    claim: PreparedStatement,
    read: PreparedStatement,
}

impl Faulty {
    async fn new() -> Self {
        let stand = Stand::new().await;
        stand.run("CREATE TABLE t (p int PRIMARY KEY, owner int)").await;
        stand.run("CREATE TABLE u (p int PRIMARY KEY, owner int)").await;
        let text = "INSERT INTO t (p, owner) VALUES (?, ?) IF NOT EXISTS";
        let mut claim = stand.session.prepare(text).await.expect("sound");
        claim.set_serial_consistency(Some(SerialConsistency::Serial));
        claim.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        claim.set_request_timeout(Some(Duration::from_secs(2)));
        let mut read = stand.session.prepare("SELECT owner FROM t WHERE p = ?").await;
        read.as_mut().expect("sound").set_consistency(Consistency::Serial);
        Self { claim, read: read.expect("sound"), stand }
    }

    async fn port(&self, method: &str, body: &str) -> serde_json::Value {
        self.stand.port(method, "/faults", body).await
    }

    /// The owner before, as the LWT tells it: `Ok(None)` is a claim that succeeded.
    async fn claim(&self, p: i32, owner: i32) -> Result<Option<i32>, ExecutionError> {
        let result = self.stand.session.execute_unpaged(&self.claim, (p, owner)).await?;
        let rows = result.into_rows_result().expect("rows");
        let (applied, _, owner) =
            rows.single_row::<(bool, Option<i32>, Option<i32>)>().expect("one row");
        assert_eq!(applied, owner.is_none());
        Ok(owner)
    }

    async fn owner(&self, p: i32) -> Option<i32> {
        let result = self.stand.session.execute_unpaged(&self.read, (p,)).await;
        let rows = result.expect("answered").into_rows_result().expect("rows");
        rows.maybe_first_row::<(i32,)>().expect("an int").map(|row| row.0)
    }

    async fn plain_owner(&self, p: i32) -> bool {
        !self.stand.rows(&format!("SELECT owner FROM t WHERE p = {p}")).await.is_empty()
    }
}

fn assert_cas_timeout(outcome: Result<Option<i32>, ExecutionError>) {
    match outcome {
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::WriteTimeout {
                consistency: Consistency::Serial,
                write_type: WriteType::Cas,
                ..
            },
            _,
        ))) => {}
        other => panic!("no CAS timeout: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applied_but_answered_with_a_timeout() {
    let faulty = Faulty::new().await;
    faulty.port("POST", r#"{"kind":"lwt_applied_timeout","table":"t"}"#).await;
    assert_cas_timeout(faulty.claim(1, 10).await);
    assert_eq!(faulty.owner(1).await, Some(10));
    assert_eq!(faulty.claim(1, 11).await.expect("healthy again"), Some(10));
    let rule = r#"{"kind":"lwt_applied_timeout","answer":"cas_unknown"}"#;
    faulty.port("POST", rule).await;
    match faulty.claim(2, 20).await {
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Other(0x1700),
            _,
        ))) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(faulty.owner(2).await, Some(20));
    let report = faulty.port("GET", "").await;
    assert_eq!(report["fired"]["lwt_applied_timeout"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applied_but_answered_late_or_never() {
    let faulty = Faulty::new().await;
    faulty.port("POST", r#"{"kind":"lwt_applied_late","delay_ms":300}"#).await;
    let begun = Instant::now();
    assert_eq!(faulty.claim(1, 10).await.expect("the true answer"), None);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    faulty.port("POST", r#"{"kind":"lwt_applied_timeout","answer":"silence"}"#).await;
    match faulty.claim(2, 20).await {
        Err(ExecutionError::RequestTimeout(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(faulty.owner(2).await, Some(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_applied_and_answered_with_a_timeout() {
    let faulty = Faulty::new().await;
    let rule = r#"{"kind":"lwt_not_applied_timeout","table":"ks.t","count":2}"#;
    faulty.port("POST", rule).await;
    let other = "INSERT INTO u (p, owner) VALUES (1, 1) IF NOT EXISTS";
    faulty.stand.rows(other).await;
    assert_cas_timeout(faulty.claim(1, 10).await);
    assert_eq!(faulty.owner(1).await, None);
    let report = faulty.port("DELETE", "").await;
    assert_eq!(report["pending"], serde_json::json!([]));
    assert_eq!(faulty.claim(1, 11).await.expect("healthy again"), None);
    assert_eq!(faulty.owner(1).await, Some(11));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applied_at_the_next_touch_of_the_partition() {
    let faulty = Faulty::new().await;
    faulty.port("POST", r#"{"kind":"lwt_applied_later","count":2}"#).await;
    assert_cas_timeout(faulty.claim(1, 10).await);
    assert_cas_timeout(faulty.claim(2, 20).await);
    // Neither a plain read nor a touch of another partition finishes it.
    assert!(!faulty.plain_owner(1).await);
    assert_eq!(faulty.owner(3).await, None);
    assert!(!faulty.plain_owner(1).await);
    assert_eq!(faulty.owner(1).await, Some(10));
    assert_eq!(faulty.claim(2, 21).await.expect("healthy again"), Some(20));
    let report = faulty.port("GET", "").await;
    assert_eq!(report["later"], serde_json::json!({"waiting": 0, "applied": 2, "refused": 0}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applied_after_a_delay_against_the_state_of_then() {
    let faulty = Faulty::new().await;
    faulty.port("POST", r#"{"kind":"lwt_applied_later","delay_ms":400,"count":2}"#).await;
    assert_cas_timeout(faulty.claim(1, 10).await);
    assert_cas_timeout(faulty.claim(2, 20).await);
    // Somebody else is quicker: the late one then finds its condition false.
    assert_eq!(faulty.claim(2, 21).await.expect("healthy again"), None);
    assert_eq!(faulty.owner(1).await, None);
    wait_for("both late LWTs have run", async || {
        faulty.port("GET", "").await["later"]["waiting"] == 0
    })
    .await;
    assert_eq!((faulty.owner(1).await, faulty.owner(2).await), (Some(10), Some(21)));
    let report = faulty.port("GET", "").await;
    assert_eq!(report["later"], serde_json::json!({"waiting": 0, "applied": 1, "refused": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senseless_rules_are_refused() {
    let faulty = Faulty::new().await;
    for body in [r#"{"kind":"x"}"#, r#"{"kind":"lwt_applied_late","count":0}"#, "{", "[]"] {
        let (status, answer) = faulty.stand.try_port("POST", "/faults", body).await;
        assert_eq!(status, 422, "{body}: {answer}");
        assert!(!answer.is_empty(), "{body} is refused without a reason");
    }
}
