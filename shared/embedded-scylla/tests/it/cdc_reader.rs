//! The official CDC reader against the log of an outbox.

use crate::support::{Stand, wait_for};
use scylla::statement::batch::{Batch, BatchType};
use scylla_cdc::consumer::{CDCRow, Consumer, ConsumerFactory, OperationType};
use scylla_cdc::log_reader::CDCLogReaderBuilder;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// What one row of the log said.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    aggregate: Uuid,
    sequence: i64,
    payload: String,
    operation: OperationType,
    time: Uuid,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

#[async_trait::async_trait]
impl Consumer for Collector {
    async fn consume_cdc(&mut self, mut row: CDCRow<'_>) -> anyhow::Result<()> {
        let take = |row: &mut CDCRow<'_>, column: &str| {
            row.take_value(column).ok_or_else(|| anyhow::anyhow!("{column} is null"))
        };
        let seen = Seen {
            aggregate: take(&mut row, "aggregate_id")?.as_uuid().expect("a uuid"),
            sequence: take(&mut row, "sequence_number")?.as_bigint().expect("a bigint"),
            payload: take(&mut row, "payload")?.into_string().expect("a text"),
            operation: row.operation.clone(),
            time: row.time,
        };
        self.0.lock().expect("nobody panics with it").push(seen);
        Ok(())
    }
}

#[async_trait::async_trait]
impl ConsumerFactory for Collector {
    async fn new_consumer(&self) -> Box<dyn Consumer> {
        Box::new(self.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_reader_sees_exactly_the_outbox_rows() {
    sees_exactly_the_outbox_rows(Stand::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_reader_sees_exactly_the_outbox_rows_on_tablets() {
    sees_exactly_the_outbox_rows(Stand::on_tablets().await).await;
}

async fn sees_exactly_the_outbox_rows(stand: Stand) {
    stand
        .run(
            "CREATE TABLE outbox (aggregate_id uuid, sequence_number bigint, payload text, \
             PRIMARY KEY (aggregate_id, sequence_number)) \
             WITH cdc = {'enabled': true, 'ttl': 86400} AND default_time_to_live = 86400",
        )
        .await;
    stand.run("CREATE TABLE other (p int PRIMARY KEY, v int)").await;
    let Stand { session, server, _dir } = stand;
    let session = Arc::new(session);
    let collector = Collector::default();
    let (mut reader, handle) = CDCLogReaderBuilder::new()
        .session(Arc::clone(&session))
        .keyspace("ks")
        .table_name("outbox")
        .start_timestamp(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970"))
        .window_size(Duration::from_secs(2))
        .safety_interval(Duration::from_millis(20))
        .sleep_interval(Duration::from_millis(50))
        .consumer_factory(Arc::new(collector.clone()))
        .build()
        .await
        .expect("the reader finds the generation");

    let insert = "INSERT INTO outbox (aggregate_id, sequence_number, payload) VALUES (?, ?, ?)";
    let insert = session.prepare(insert).await.expect("sound");
    let aggregates = (0..12).map(|id| Uuid::from_u128(0xa000 + id)).collect::<Vec<_>>();
    for sequence in 1..=10i64 {
        for aggregate in &aggregates {
            let payload = format!("{aggregate}/{sequence}");
            session.execute_unpaged(&insert, (aggregate, sequence, payload)).await.expect("stored");
        }
        session.query_unpaged("INSERT INTO other (p, v) VALUES (1, 1)", ()).await.expect("stored");
    }
    let mut batch = Batch::new(BatchType::Unlogged);
    batch.append_statement(insert.clone());
    batch.append_statement(insert.clone());
    for aggregate in &aggregates {
        let values = |sequence: i64| (*aggregate, sequence, format!("{aggregate}/{sequence}"));
        session.batch(&batch, (values(11), values(12))).await.expect("stored");
    }

    let expected = aggregates.len() * 12;
    wait_for("all rows in the log", async || {
        collector.0.lock().expect("nobody panics with it").len() >= expected
    })
    .await;
    reader.stop();
    handle.await.expect("the reader ends without an error");
    let seen = std::mem::take(&mut *collector.0.lock().expect("nobody panics with it"));
    assert_eq!(seen.len(), expected, "rows doubled");
    let mut by_aggregate = BTreeMap::<Uuid, Vec<Seen>>::new();
    for row in seen {
        by_aggregate.entry(row.aggregate).or_default().push(row);
    }
    for aggregate in aggregates {
        let rows = &by_aggregate[&aggregate];
        let sequences = rows.iter().map(|row| row.sequence).collect::<Vec<_>>();
        assert_eq!(sequences, (1..=12).collect::<Vec<_>>(), "{aggregate}");
        for row in rows {
            assert_eq!(row.payload, format!("{aggregate}/{}", row.sequence));
            assert_eq!(row.operation, OperationType::RowInsert);
        }
        assert_eq!(rows[10].time, rows[11].time, "one batch, one time");
    }
    drop(session);
    server.shutdown().await;
}
