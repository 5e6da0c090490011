//! Rows of CDC logs that come late, twice, in another order or not at all.

use crate::support::{Stand, wait_for};
use scylla::value::CqlValue;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A row of the log: stream, time, the value written.
type LogRow = (Vec<u8>, Uuid, i32);

struct Logged(Stand);

impl Logged {
    async fn new() -> Self {
        let stand = Stand::new().await;
        let options = "WITH cdc = {'enabled': true}";
        stand.run(&format!("CREATE TABLE t (p int PRIMARY KEY, v int) {options}")).await;
        stand.run(&format!("CREATE TABLE u (p int PRIMARY KEY, v int) {options}")).await;
        Self(stand)
    }

    async fn write(&self, p: i32, v: i32) {
        self.0.run(&format!("INSERT INTO t (p, v) VALUES ({p}, {v})")).await;
    }

    /// The whole log by a scan.
    async fn log(&self) -> Vec<LogRow> {
        let rows =
            self.0.rows(r#"SELECT "cdc$stream_id", "cdc$time", v FROM t_scylla_cdc_log"#).await;
        let row = |mut columns: Vec<Option<CqlValue>>| {
            let v = columns.pop().flatten().expect("not null").as_int().expect("an int");
            let time = columns.pop().flatten().expect("not null").as_timeuuid().expect("a time");
            let stream = columns.pop().flatten().expect("not null").into_blob().expect("a blob");
            (stream, Uuid::from(time), v)
        };
        rows.into_iter().map(|found| row(found.columns)).collect()
    }

    async fn values(&self) -> BTreeSet<i32> {
        self.log().await.into_iter().map(|(.., v)| v).collect()
    }

    /// The log of one stream up to a time, as readers of the log ask for it.
    async fn slice(&self, stream: &[u8], last: Uuid) -> Vec<i32> {
        let cql =
            r#"SELECT v FROM t_scylla_cdc_log WHERE "cdc$stream_id" IN ? AND "cdc$time" <= ?"#;
        let last = scylla::value::CqlTimeuuid::from(last);
        let result = self.0.session.query_unpaged(cql, (vec![stream.to_vec()], last)).await;
        let rows = result.expect("answered").into_rows_result().expect("rows");
        rows.rows::<(i32,)>().expect("ints").map(|row| row.expect("an int").0).collect()
    }
}

fn micros(time: Uuid) -> i64 {
    let (seconds, nanos) = time.get_timestamp().expect("version 1").to_unix();
    i64::try_from(seconds).expect("small") * 1_000_000 + i64::from(nanos / 1000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_rows_appear_by_themselves_with_their_own_time() {
    let logged = Logged::new().await;
    logged.0.rule(r#"{"kind":"log_rows_delayed","table":"t","delay_ms":600000}"#).await;
    logged.0.rule(r#"{"kind":"log_rows_delayed","table":"t","delay_ms":700}"#).await;
    logged.0.run("INSERT INTO u (p, v) VALUES (1, 1)").await;
    logged.write(1, 10).await;
    let begun = Instant::now();
    for v in [11, 12] {
        logged.write(1, v).await;
    }
    assert_eq!(
        logged.0.rows("SELECT v FROM t WHERE p = 1").await.len(),
        1,
        "the base row is there"
    );
    // What was taken stays on its schedule.
    logged.0.port("DELETE", "/faults", "").await;
    wait_for("the late row", async || logged.log().await.len() == 2).await;
    assert!(begun.elapsed() >= Duration::from_millis(700));
    let log = logged.log().await;
    assert_eq!(log.iter().map(|row| row.2).collect::<Vec<_>>(), [11, 12], "in its own place");
    let (stream, last, _) = &log[1];
    assert_eq!(logged.slice(stream, *last).await, [11, 12]);
    assert_eq!(logged.0.port("GET", "/faults", "").await["log_groups_hidden"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_rows_never_appear() {
    let logged = Logged::new().await;
    logged.0.rule(r#"{"kind":"log_rows_dropped","table":"ks.t","count":2}"#).await;
    logged.0.run("INSERT INTO t (p, v) VALUES (1, 10) IF NOT EXISTS").await;
    for v in 11..=13 {
        logged.write(1, v).await;
    }
    assert_eq!(logged.values().await, BTreeSet::from([12, 13]));
    assert_eq!(logged.0.fired("log_rows_dropped").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubled_rows_appear_again_at_a_later_time() {
    let logged = Logged::new().await;
    logged.0.rule(r#"{"kind":"log_rows_doubled","table":"t","delay_ms":500}"#).await;
    logged.write(1, 10).await;
    wait_for("the second one", async || logged.log().await.len() == 2).await;
    logged.0.rule(r#"{"kind":"log_rows_doubled","table":"t"}"#).await;
    logged.write(1, 11).await;
    let log = logged.log().await;
    let values: Vec<_> = log.iter().map(|row| row.2).collect();
    assert_eq!((values.len(), logged.values().await), (4, BTreeSet::from([10, 11])), "{log:?}");
    let times = |v| log.iter().filter(move |row| row.2 == v).map(|row| row.1);
    let [first, second] = times(10).collect::<Vec<_>>()[..] else { panic!("{log:?}") };
    assert_eq!(micros(second) - micros(first), 500_000);
    let [first, second] = times(11).collect::<Vec<_>>()[..] else { panic!("{log:?}") };
    assert!(first != second && micros(first) <= micros(second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permuted_rows_come_out_in_another_order() {
    let logged = Logged::new().await;
    logged.0.rule(r#"{"kind":"log_rows_permuted","table":"t","count":40,"delay_ms":1500}"#).await;
    for v in 0..40 {
        logged.write(v % 8, v).await;
    }
    // When each row was first seen.
    let mut seen = BTreeMap::new();
    let mut look = 0;
    wait_for("all rows", async || {
        look += 1;
        for v in logged.values().await {
            seen.entry(v).or_insert(look);
        }
        seen.len() == 40
    })
    .await;
    let inversions = (0..40)
        .flat_map(|a| (a + 1..40).map(move |b| (a, b)))
        .filter(|(a, b)| seen[a] > seen[b])
        .count();
    println!("{inversions} of 780 pairs came out the other way round");
    assert!(inversions > 0, "{seen:?}");
}
