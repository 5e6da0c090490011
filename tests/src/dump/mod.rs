//! What the stores hold, read from the stores themselves.

mod letters;
mod progress;
mod rows;
mod topics;

pub use letters::{LetterRow, letters};
pub(crate) use progress::writers;
pub use progress::{Announced, Cursors, Progress, SlotRow, WriterRow, progress, slot_of};
pub use rows::{ReadModels, Row};
pub use topics::Topics;

use anyhow::Context;
use futures::TryStreamExt;
use kernel::EventMetadata;
use messaging::ReceivedMessage;
use scylla::client::session::Session;
use scylla::value::CqlTimestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// One row of `event_store` or `outbox_messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Event id.
    pub event_id: Uuid,
    /// For example `order`.
    pub aggregate_type: String,
    /// Event type.
    pub event_type: String,
    /// Its data, JSON text.
    pub data: String,
    /// Command, correlation, place in the commit.
    pub metadata: EventMetadata,
    /// Milliseconds since 1970.
    pub recorded_at_ms: i64,
}

/// Events by aggregate and version.
pub type Events = BTreeMap<Uuid, BTreeMap<u64, StoredEvent>>;

/// Everything, at one time, of a system at rest.
#[derive(Debug, Clone, Default)]
pub struct Dump {
    /// `event_store`.
    pub events: Events,
    /// `outbox_messages`.
    pub outbox: Events,
    /// The read models' tables.
    pub read_models: ReadModels,
    /// All records, in offset order per partition.
    pub topics: Vec<ReceivedMessage>,
    /// `consumer_cursors`.
    pub cursors: Cursors,
    /// `writers`.
    pub writers: Vec<WriterRow>,
    /// `dead_letter_queue`.
    pub letters: Vec<LetterRow>,
}

impl Dump {
    /// Reads everything. The topics are read until they hold all stored events; errs when nothing came
    /// from them for `patience` before they did.
    pub async fn take(session: &Session, broker: &str, patience: Duration) -> anyhow::Result<Self> {
        let mut topics = Topics::open(broker).await?;
        let dump = Self::take_what_is_there(session, &mut topics, patience).await?;
        let missing = dump.missing_on_topics();
        anyhow::ensure!(
            missing.is_empty(),
            "{} events did not reach the topics: {missing:?}",
            missing.len()
        );
        Ok(dump)
    }

    /// The same, but what has not reached the topics is just not there.
    pub async fn take_what_is_there(
        session: &Session,
        topics: &mut Topics,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let stored = events(session, "event_store").await?;
        let wanted = stored.values().flat_map(|events| events.values().map(|event| event.event_id));
        let topics = topics.read(wanted, patience).await?;
        Ok(Self {
            outbox: events(session, "outbox_messages").await?,
            read_models: ReadModels::read(session).await?,
            cursors: progress::cursors(session).await?,
            writers: progress::writers(session).await?,
            letters: letters(session).await?,
            events: stored,
            topics,
        })
    }

    /// The last version of an aggregate.
    pub fn version(&self, aggregate_id: Uuid) -> u64 {
        let events = self.events.get(&aggregate_id);
        events.and_then(|events| events.keys().last().copied()).unwrap_or_default()
    }

    /// Stored events that no topic holds.
    pub fn missing_on_topics(&self) -> BTreeSet<Uuid> {
        let published: BTreeSet<Uuid> = self.topics.iter().filter_map(topics::event_id).collect();
        let stored = self.events.values().flat_map(BTreeMap::values).map(|event| event.event_id);
        stored.filter(|event_id| !published.contains(event_id)).collect()
    }
}

async fn events(session: &Session, table: &str) -> anyhow::Result<Events> {
    let text = format!(
        "SELECT aggregate_id, sequence_number, event_id, aggregate_type, event_type, event_data, \
         metadata, recorded_at FROM {table}"
    );
    type Text = Option<String>;
    type Columns = (Uuid, Option<i64>, Option<Uuid>, Text, Text, Text, Text, Option<CqlTimestamp>);
    let mut found = Events::new();
    let mut rows = session.query_iter(text, ()).await?.rows_stream::<Columns>()?;
    while let Some(columns) = rows.try_next().await? {
        let (aggregate_id, version, event_id, kind, event_type, data, metadata, at) = columns;
        // A partition may hold nothing but its fence.
        let Some(version) = version else { continue };
        let what = || format!("{table} {aggregate_id}/{version} is not whole");
        let event = StoredEvent {
            event_id: event_id.with_context(what)?,
            aggregate_type: kind.with_context(what)?,
            event_type: event_type.with_context(what)?,
            data: data.with_context(what)?,
            metadata: serde_json::from_str(&metadata.with_context(what)?).with_context(what)?,
            recorded_at_ms: at.with_context(what)?.0,
        };
        found.entry(aggregate_id).or_default().insert(u64::try_from(version)?, event);
    }
    Ok(found)
}
