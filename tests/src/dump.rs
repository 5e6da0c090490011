//! What the stores hold, read from the stores themselves.

use anyhow::Context;
use dev_stack::demo::TOPICS;
use messaging::{ReceivedMessage, TopicReader};
use scylla::client::session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// One row of `event_store` or `outbox_messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Event id.
    pub event_id: Uuid,
    /// Event type.
    pub event_type: String,
    /// Its data, JSON text.
    pub data: String,
}

type Events = BTreeMap<Uuid, BTreeMap<u64, StoredEvent>>;

/// Everything, at one time, of a system at rest.
#[derive(Debug)]
pub struct Dump {
    /// `event_store`, by aggregate and version.
    pub events: Events,
    /// `outbox_messages`, by aggregate and version.
    pub outbox: Events,
    /// `order_read_model`: status and version.
    pub orders: BTreeMap<Uuid, (String, u64)>,
    /// `orders_by_customer`: how many rows an order has, and its version.
    pub by_customer: BTreeMap<Uuid, Vec<(String, u64)>>,
    /// `orders_by_status`: status and version of each row of an order.
    pub by_status: BTreeMap<Uuid, Vec<(String, u64)>>,
    /// All records, in offset order per partition.
    pub topics: Vec<ReceivedMessage>,
}

impl Dump {
    /// Reads everything. The topics are read until they hold all stored events, at most for
    /// `limit`.
    pub async fn take(session: &Session, broker: &str, limit: Duration) -> anyhow::Result<Self> {
        let stored = events(session, "event_store").await?;
        let outbox = events(session, "outbox_messages").await?;
        let wanted = stored.values().flat_map(|events| events.values().map(|event| event.event_id));
        Ok(Self {
            orders: orders(session).await?,
            by_customer: listed(session, "orders_by_customer").await?,
            by_status: listed(session, "orders_by_status").await?,
            topics: records(broker, wanted.collect(), limit).await?,
            events: stored,
            outbox,
        })
    }

    /// The last version of an aggregate.
    pub fn version(&self, aggregate_id: Uuid) -> u64 {
        let events = self.events.get(&aggregate_id);
        events.and_then(|events| events.keys().last().copied()).unwrap_or_default()
    }
}

async fn events(session: &Session, table: &str) -> anyhow::Result<Events> {
    let text = format!(
        "SELECT aggregate_id, sequence_number, event_id, event_type, event_data FROM {table}"
    );
    type Row = (Uuid, Option<i64>, Option<Uuid>, Option<String>, Option<String>);
    let mut found = Events::new();
    let mut rows = session.query_iter(text, ()).await?.rows_stream::<Row>()?;
    while let Some(row) = futures::TryStreamExt::try_next(&mut rows).await? {
        // A partition may hold nothing but its fence.
        let (aggregate_id, Some(version), event_id, event_type, data) = row else { continue };
        let event = StoredEvent {
            event_id: event_id.with_context(|| format!("{aggregate_id}/{version} has no id"))?,
            event_type: event_type.unwrap_or_default(),
            data: data.unwrap_or_default(),
        };
        found.entry(aggregate_id).or_default().insert(u64::try_from(version)?, event);
    }
    Ok(found)
}

async fn orders(session: &Session) -> anyhow::Result<BTreeMap<Uuid, (String, u64)>> {
    let text = "SELECT order_id, status, version FROM order_read_model";
    let mut found = BTreeMap::new();
    let mut rows = session.query_iter(text, ()).await?.rows_stream::<(Uuid, String, i64)>()?;
    while let Some((id, status, version)) = futures::TryStreamExt::try_next(&mut rows).await? {
        found.insert(id, (status, u64::try_from(version)?));
    }
    Ok(found)
}

async fn listed(
    session: &Session,
    table: &str,
) -> anyhow::Result<BTreeMap<Uuid, Vec<(String, u64)>>> {
    let text = format!("SELECT order_id, status, version FROM {table}");
    let mut found: BTreeMap<Uuid, Vec<(String, u64)>> = BTreeMap::new();
    let mut rows = session.query_iter(text, ()).await?.rows_stream::<(Uuid, String, i64)>()?;
    while let Some((id, status, version)) = futures::TryStreamExt::try_next(&mut rows).await? {
        found.entry(id).or_default().push((status, u64::try_from(version)?));
    }
    Ok(found)
}

async fn records(
    broker: &str,
    mut wanted: BTreeSet<Uuid>,
    limit: Duration,
) -> anyhow::Result<Vec<ReceivedMessage>> {
    let brokers = vec![broker.to_owned()];
    let reader = tokio::task::spawn_blocking(move || {
        TopicReader::from_beginning(&brokers, &TOPICS, Duration::from_secs(10))
    })
    .await??;
    let mut records = Vec::new();
    let deadline = tokio::time::Instant::now() + limit;
    while !wanted.is_empty() {
        let record =
            tokio::time::timeout_at(deadline, reader.next()).await.with_context(|| {
                format!("{} events did not reach the topics: {wanted:?}", wanted.len())
            })??;
        if let Some(id) = record.attribute("id").and_then(|id| id.parse().ok()) {
            wanted.remove(&id);
        }
        records.push(record);
    }
    Ok(records)
}
