//! A clock that is off.

use crate::support::Stand;
use std::time::{SystemTime, UNIX_EPOCH};

const HOUR_MS: i64 = 3_600_000;

async fn skew(stand: &Stand, skew_ms: i64) {
    let answer = stand.port("POST", "/clock", &format!(r#"{{"skew_ms":{skew_ms}}}"#)).await;
    assert_eq!(answer["skew_ms"], skew_ms);
}

/// How far the server's `now()` is off this process's clock.
async fn now_off_ms(stand: &Stand) -> i64 {
    let cql = "SELECT toTimestamp(now()) FROM system.local WHERE key = 'local'";
    let rows = stand.rows(cql).await;
    let now = rows[0].columns[0].as_ref().expect("not null").as_cql_timestamp();
    let here = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    now.expect("a timestamp").0 - i64::try_from(here).expect("small")
}

/// Writes one row and gives its write timestamp in ms.
async fn stamp(stand: &Stand, cql: &str) -> i64 {
    stand.run(cql).await;
    let rows = stand.rows("SELECT writetime(v) FROM t WHERE p = 1").await;
    let micros = rows[0].columns[0].as_ref().expect("not null").as_bigint().expect("a bigint");
    micros / 1000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stamps_follow_the_clock_forward_and_never_go_back() {
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (p int PRIMARY KEY, v int) WITH cdc = {'enabled': true}").await;
    let plain = "INSERT INTO t (p, v) VALUES (1, 1)";
    let lwt = "UPDATE t SET v = 2 WHERE p = 1 IF v = 1";
    let first = stamp(&stand, plain).await;
    skew(&stand, HOUR_MS).await;
    assert!((now_off_ms(&stand).await - HOUR_MS).abs() < HOUR_MS / 2);
    let ahead = stamp(&stand, lwt).await;
    assert!(ahead >= first + HOUR_MS, "{first} {ahead}");
    skew(&stand, -HOUR_MS).await;
    assert!((now_off_ms(&stand).await + HOUR_MS).abs() < HOUR_MS / 2);
    let mut last = ahead;
    for cql in [plain, lwt, plain, lwt] {
        let next = stamp(&stand, cql).await;
        assert!((last..last + HOUR_MS / 2).contains(&next), "{last} {next}");
        last = next;
    }
    skew(&stand, 0).await;
    assert!(now_off_ms(&stand).await.abs() < HOUR_MS / 2);
    // The log is in the order of the writes.
    let log = stand.rows("SELECT v FROM t_scylla_cdc_log").await;
    let values: Vec<_> =
        log.iter().map(|row| row.columns[0].as_ref().and_then(|v| v.as_int())).collect();
    assert_eq!(values, [1, 2, 1, 2, 1, 2].map(Some));
    let (status, reason) = stand.try_port("POST", "/clock", r#"{"skew":1}"#).await;
    assert_eq!(status, 422, "{reason}");
    let (status, reason) = stand.try_port("POST", "/clock", r#"{"skew_ms":864000001}"#).await;
    assert_eq!(status, 422, "{reason}");
}
