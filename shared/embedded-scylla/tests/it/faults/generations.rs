//! New CDC generations while clients write and read.

use crate::support::{Stand, wait_for};
use scylla::value::{CqlTimestamp, CqlValue};
use scylla_cdc::consumer::{CDCRow, Consumer, ConsumerFactory};
use scylla_cdc::log_reader::CDCLogReaderBuilder;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// A stream and the upper end of the tokens that go to it, by time of the generation.
type Described = BTreeMap<i64, Vec<(i64, Vec<u8>)>>;

async fn table(stand: &Stand) {
    stand.run("CREATE TABLE t (p int PRIMARY KEY, v int) WITH cdc = {'enabled': true}").await;
}

/// All generations as the system tables tell them.
async fn described(stand: &Stand) -> Described {
    let cql = "SELECT time, expired FROM system_distributed.cdc_generation_timestamps \
               WHERE key = 'timestamps'";
    let mut described = Described::new();
    let mut next = None;
    for row in stand.rows(cql).await {
        let [time, expired] = &row.columns[..] else { panic!("{row:?}") };
        let millis = |value: &Option<CqlValue>| {
            value.as_ref().map(|value| value.as_cql_timestamp().expect("a timestamp").0)
        };
        let time = millis(time).expect("a key");
        assert_eq!(millis(expired), next, "a generation expires when the next one begins");
        next = Some(time);
        let cql = "SELECT range_end, streams FROM system_distributed.cdc_streams_descriptions_v2 \
                   WHERE time = ?";
        let result = stand.session.query_unpaged(cql, (CqlTimestamp(time),)).await;
        let rows = result.expect("answered").into_rows_result().expect("rows");
        let ranges = rows.rows::<(i64, Vec<Vec<u8>>)>().expect("sound").map(|row| {
            let (end, mut streams) = row.expect("sound");
            assert_eq!(streams.len(), 1, "one shard");
            (end, streams.remove(0))
        });
        described.insert(time, ranges.collect());
    }
    described
}

/// Stream, time in µs and value of each row in the log.
async fn log(stand: &Stand) -> Vec<(Vec<u8>, i64, i32)> {
    let rows = stand.rows(r#"SELECT "cdc$stream_id", "cdc$time", v FROM t_scylla_cdc_log"#).await;
    let row = |mut columns: Vec<Option<CqlValue>>| {
        let v = columns.pop().flatten().expect("not null").as_int().expect("an int");
        let time = columns.pop().flatten().expect("not null").as_timeuuid().expect("a time");
        let stream = columns.pop().flatten().expect("not null").into_blob().expect("a blob");
        let (seconds, nanos) = Uuid::from(time).get_timestamp().expect("version 1").to_unix();
        let micros = i64::try_from(seconds).expect("small") * 1_000_000 + i64::from(nanos) / 1000;
        (stream, micros, v)
    };
    rows.into_iter().map(|found| row(found.columns)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_to_the_streams_of_their_time() {
    let stand = Stand::new().await;
    table(&stand).await;
    let mut opened = Vec::new();
    for body in [r#"{"streams":3,"starts_in_ms":700}"#, r#"{"streams":5,"starts_in_ms":0}"#, ""] {
        let answer = stand.port("POST", "/generations", body).await;
        opened.push(answer["timestamp"].as_i64().expect("a timestamp"));
    }
    assert!(opened.is_sorted_by(|a, b| a < b), "{opened:?}");
    let generations = described(&stand).await;
    assert_eq!(generations.len(), 4);
    assert_eq!(opened, generations.keys().skip(1).copied().collect::<Vec<_>>());
    let sizes: Vec<_> = generations.values().map(Vec::len).collect();
    assert_eq!(sizes, [16, 3, 5, 5]);
    let newest = opened[2] * 1000;
    let mut v = 0;
    wait_for("rows of the first and the last generation", async || {
        for p in 0..8 {
            v += 1;
            stand.run(&format!("INSERT INTO t (p, v) VALUES ({p}, {v})")).await;
        }
        log(&stand).await.iter().any(|(_, micros, _)| *micros >= newest)
    })
    .await;
    let log = log(&stand).await;
    assert_eq!(log.len(), v as usize);
    for (stream, micros, v) in &log {
        let (time, streams) =
            generations.iter().rev().find(|(time, _)| **time * 1000 <= *micros).expect("begun");
        assert!(
            streams.iter().any(|(_, known)| known == stream),
            "row {v} of {micros} is not in a stream of {time}"
        );
    }
    let before = log.iter().filter(|(_, micros, _)| *micros < opened[0] * 1000).count();
    println!("{before} of {} rows before the first change", log.len());
    // A write with an older timestamp still finds the streams of its time.
    let cql = format!("INSERT INTO t (p, v) VALUES (1, -1) USING TIMESTAMP {}", newest - 1);
    stand.run(&cql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senseless_generations_are_refused() {
    let stand = Stand::new().await;
    for body in [r#"{"streams":0}"#, r#"{"streams":5000}"#, r#"{"starts":1}"#, "[]", "x"] {
        let (status, reason) = stand.try_port("POST", "/generations", body).await;
        assert_eq!(status, 422, "{body}: {reason}");
    }
    assert_eq!(described(&stand).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_outlive_the_server() {
    use embedded_scylla::server::{Server, ServerConfig};
    let stand = Stand::new().await;
    table(&stand).await;
    stand.port("POST", "/generations", r#"{"starts_in_ms":0}"#).await;
    stand.port("POST", "/generations", r#"{"streams":2,"starts_in_ms":0}"#).await;
    let before = described(&stand).await;
    let Stand { session, server, _dir } = stand;
    drop(session);
    server.shutdown().await;
    let server = Server::start(ServerConfig::ephemeral(_dir.path())).await.expect("starts");
    let session = crate::support::connect(server.address()).await;
    session.use_keyspace("ks", false).await.expect("the keyspace is there");
    let stand = Stand { session, server, _dir };
    assert_eq!(described(&stand).await, before);
    let newest = *before.keys().last().expect("there are some");
    wait_for("a row in the newest streams", async || {
        stand.run("INSERT INTO t (p, v) VALUES (1, 1)").await;
        log(&stand).await.iter().any(|row| before[&newest].iter().any(|(_, id)| *id == row.0))
    })
    .await;
}

#[derive(Clone, Default)]
struct Values(Arc<Mutex<Vec<i32>>>);

#[async_trait::async_trait]
impl Consumer for Values {
    async fn consume_cdc(&mut self, mut row: CDCRow<'_>) -> anyhow::Result<()> {
        let v = row.take_value("v").and_then(|value| value.as_int());
        self.0.lock().expect("nobody panics with it").push(v.expect("an int"));
        Ok(())
    }
}

#[async_trait::async_trait]
impl ConsumerFactory for Values {
    async fn new_consumer(&self) -> Box<dyn Consumer> {
        Box::new(self.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_reader_follows_from_one_generation_to_the_next() {
    follows_from_one_generation_to_the_next(Stand::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_reader_follows_tablets_that_are_split() {
    follows_from_one_generation_to_the_next(Stand::on_tablets().await).await;
}

async fn follows_from_one_generation_to_the_next(stand: Stand) {
    table(&stand).await;
    let session = Arc::new(crate::support::connect(stand.server.address()).await);
    let values = Values::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let (mut reader, handle) = CDCLogReaderBuilder::new()
        .session(session)
        .keyspace("ks")
        .table_name("t")
        .start_timestamp(now.saturating_sub(Duration::from_secs(1)))
        .window_size(Duration::from_secs(60))
        .safety_interval(Duration::from_millis(50))
        .sleep_interval(Duration::from_millis(50))
        .consumer_factory(Arc::new(values.clone()))
        .build()
        .await
        .expect("the reader starts");
    let mut written = 0;
    for round in 0..3 {
        let body = format!(r#"{{"streams":{},"starts_in_ms":200}}"#, 4 + round);
        let answer = stand.port("POST", "/generations", &body).await;
        // A table on tablets has a time of its own.
        let begin = answer["tables"].get("ks.t").unwrap_or(&answer["timestamp"]);
        let begin = begin.as_i64().expect("a timestamp") * 1000;
        wait_for("a row after the change", async || {
            for p in 0..4 {
                stand.run(&format!("INSERT INTO t (p, v) VALUES ({p}, {written})")).await;
                written += 1;
            }
            log(&stand).await.iter().any(|(_, micros, _)| *micros >= begin)
        })
        .await;
    }
    wait_for("all rows", async || {
        values.0.lock().expect("nobody panics with it").len() >= written as usize
    })
    .await;
    reader.stop();
    handle.await.expect("the reader ends without an error");
    let seen = std::mem::take(&mut *values.0.lock().expect("nobody panics with it"));
    assert_eq!(seen.len(), written as usize, "rows doubled");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), (0..written).collect());
}
