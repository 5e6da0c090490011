//! The official CDC reader works on our tables and sees exactly what the outbox holds.

use async_trait::async_trait;
use futures::future::try_join_all;
use harness::{Dump, Plan, World};
use scylla_cdc::consumer::{CDCRow, Consumer, ConsumerFactory, OperationType};
use scylla_cdc::log_reader::CDCLogReaderBuilder;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

type Seen = Arc<Mutex<Vec<(Uuid, i64, Uuid)>>>;

struct Recorder(Seen);

#[async_trait]
impl Consumer for Recorder {
    async fn consume_cdc(&mut self, mut row: CDCRow<'_>) -> anyhow::Result<()> {
        anyhow::ensure!(row.operation == OperationType::RowInsert, "{:?}", row.operation);
        let mut take = |name: &str| {
            row.take_value(name).ok_or_else(|| anyhow::anyhow!("{name} of a log row is null"))
        };
        let uuid = |value: scylla::value::CqlValue| {
            value.as_uuid().ok_or_else(|| anyhow::anyhow!("not a uuid: {value:?}"))
        };
        let aggregate_id = uuid(take("aggregate_id")?)?;
        let version = take("sequence_number")?.as_bigint().unwrap_or_default();
        let event_id = uuid(take("event_id")?)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((
            aggregate_id,
            version,
            event_id,
        ));
        Ok(())
    }
}

struct Factory(Seen);

#[async_trait]
impl ConsumerFactory for Factory {
    async fn new_consumer(&self) -> Box<dyn Consumer> {
        Box::new(Recorder(Arc::clone(&self.0)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_reader_sees_exactly_the_outbox_rows() -> anyhow::Result<()> {
    let started = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let world = World::start(Plan::default()).await?;
    let client = world.client(0);
    let orders = try_join_all((0..50).map(|_| client.create())).await?;
    try_join_all(orders.iter().map(|order| {
        let (client, key) = (client.clone(), Uuid::now_v7().to_string());
        async move {
            let path = format!("/v1/orders/{order}/confirm");
            let told =
                client.settle(hyper::Method::POST, &path, &key, &serde_json::json!({})).await;
            anyhow::ensure!(matches!(told, harness::Outcome::Accepted(_)), "{told:?}");
            Ok(())
        }
    }))
    .await?;

    let seen: Seen = Arc::default();
    let (mut reader, handle) = CDCLogReaderBuilder::new()
        .session(Arc::new(world.session().await?))
        .keyspace(&world.stack.options().keyspace)
        .table_name("outbox_messages")
        .start_timestamp(started - Duration::from_secs(5))
        .window_size(Duration::from_secs(60))
        .safety_interval(Duration::from_millis(100))
        .sleep_interval(Duration::from_millis(100))
        .consumer_factory(Arc::new(Factory(Arc::clone(&seen))))
        .build()
        .await?;
    let session = world.session().await?;
    let broker = &world.stack.addresses().broker;
    local_stack::wait_for("both to agree", Duration::from_secs(60), || async {
        let dump = Dump::take(&session, broker, Duration::from_secs(30)).await;
        let dump = dump.map_err(|error| format!("{error:#}"))?;
        let mut announced: Vec<_> = dump
            .outbox
            .iter()
            .flat_map(|(id, events)| {
                events.iter().map(|(version, event)| (*id, version.cast_signed(), event.event_id))
            })
            .collect();
        announced.sort_unstable();
        let mut read = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        read.sort_unstable();
        if announced.len() == 100 && announced == read {
            Ok(())
        } else {
            Err(format!("{} announced, {} read", announced.len(), read.len()))
        }
    })
    .await?;
    // Per aggregate the reader gives them in the order in which they were announced.
    let read = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for order in orders {
        let versions: Vec<i64> =
            read.iter().filter(|(id, ..)| *id == order).map(|(_, version, _)| *version).collect();
        assert_eq!(versions, [1, 2], "{order}");
    }
    reader.stop();
    handle.await?;
    world.finish().await
}
