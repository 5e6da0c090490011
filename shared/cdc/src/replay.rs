//! One aggregate in one consumer, outside of a group: for whoever retries its dead letter.
//!
//! It works from the event store and the stored cursor alone, in the same order as the sequencer:
//! effect, then cursor. Two that work on one aggregate at the same time repeat each other's effects,
//! as after a crash.

use crate::consumer::{Change, ChangeConsumer, ErrorClass, HandleError, handle};
use crate::database::{Cursors, Ledger};
use crate::error::EventName;
use crate::source::{Cursor, CursorStore, EventSource};
use event_store::EventReader;
use kernel::RecordedEvent;
use runtime::test_hooks::{crash_point, defect};
use scylla::client::session::Session;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A seeded defect: what waits behind the head is handled before it.
const OUT_OF_ORDER: &str = "letter-released-out-of-order";

/// Whether the next event may be handed to its consumer.
pub type MayBegin = dyn Fn() -> bool + Send + Sync;

/// Reads events and cursors of single aggregates, and hands events to consumers.
pub struct Replay {
    events: Arc<dyn EventSource>,
    cursors: Arc<dyn CursorStore>,
    batch: u32,
}

/// Why not everything was handled.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Nothing more may begin; what was begun is finished.
    #[error("stopped")]
    Stopped,
    /// The cursor cannot be read or stored, or the event store does not answer. Nothing is said of
    /// the event.
    #[error("replay aggregate {aggregate_id} for {consumer}")]
    Surroundings {
        /// The consumer.
        consumer: String,
        /// The aggregate.
        aggregate_id: Uuid,
        /// Why.
        #[source]
        source: HandleError,
    },
    /// The event cannot be read, or the consumer cannot handle it. All before it are handled and
    /// their cursor is stored.
    #[error("handle {event}")]
    Event {
        /// The event, as far as it can be read.
        event: Box<EventName>,
        /// Why.
        #[source]
        source: HandleError,
    },
}

impl Replay {
    /// Prepares the statements; the tables must be there. `batch` events are read at once, each time
    /// within `timeout`.
    pub async fn open(
        session: Arc<Session>,
        timeout: Duration,
        batch: u32,
    ) -> Result<Self, HandleError> {
        let reader = EventReader::open(session.clone(), timeout).await;
        let reader = reader.map_err(|error| HandleError {
            class: ErrorClass::Transport,
            what: "open the event store".to_owned(),
            source: Some(Box::new(error)),
        })?;
        let events = Ledger::open(session.clone(), reader, batch).await?;
        let cursors = Cursors::open(session).await?;
        Ok(Self::over(Arc::new(events), Arc::new(cursors), batch))
    }

    pub(crate) fn over(
        events: Arc<dyn EventSource>,
        cursors: Arc<dyn CursorStore>,
        batch: u32,
    ) -> Self {
        Self { events, cursors, batch: batch.max(1) }
    }

    /// The last version that the consumer handled; 0 before the first.
    pub async fn cursor(&self, consumer: &str, aggregate_id: Uuid) -> Result<u64, HandleError> {
        Ok(self.cursors.read(aggregate_id, consumer).await?.version)
    }

    /// Hands everything behind the stored cursor to the consumer, up to the aggregate's tail at the
    /// last look. Asks `may_begin` before each event. Gives the version reached.
    pub async fn to_tail(
        &self,
        consumer: &dyn ChangeConsumer,
        aggregate_id: Uuid,
        may_begin: &MayBegin,
    ) -> Result<u64, ReplayError> {
        let surroundings = |source| ReplayError::Surroundings {
            consumer: consumer.name().to_owned(),
            aggregate_id,
            source,
        };
        let read = self.cursors.read(aggregate_id, consumer.name()).await;
        let mut cursor = read.map_err(surroundings)?;
        let mut batch = self.batch;
        loop {
            let events = match self.events.after(aggregate_id, cursor.version, batch).await {
                Ok(events) => events,
                // One of them cannot be read: the ones before it can.
                Err(error) if error.class == ErrorClass::Poison && batch > 1 => {
                    batch = 1;
                    continue;
                }
                Err(source) if source.class == ErrorClass::Poison => {
                    let version = cursor.version + 1;
                    let event = EventName::unread(aggregate_id, version);
                    return Err(ReplayError::Event { event: Box::new(event), source });
                }
                Err(source) => return Err(surroundings(source)),
            };
            if events.is_empty() {
                return Ok(cursor.version);
            }
            for event in in_order(events) {
                if !may_begin() {
                    return Err(ReplayError::Stopped);
                }
                if event.version.0 != cursor.version + 1 && !defect(OUT_OF_ORDER) {
                    let what = format!("a hole in front of version {}", event.version);
                    let class = ErrorClass::Transport;
                    return Err(surroundings(HandleError { class, what, source: None }));
                }
                let change = Change { event, topic: None };
                cursor = self.handle(consumer, &change, cursor).await?;
            }
        }
    }

    async fn handle(
        &self,
        consumer: &dyn ChangeConsumer,
        change: &Change,
        before: Cursor,
    ) -> Result<Cursor, ReplayError> {
        let (aggregate_id, version) = (change.event.aggregate_id, change.event.version.0);
        if !consumer.wants(&change.event.aggregate_type) {
            return Ok(Cursor { version, ..before });
        }
        let handled = handle(consumer, change, before.view.as_deref()).await;
        let view = handled.map_err(|source| ReplayError::Event {
            event: Box::new(EventName::of(&change.event)),
            source,
        })?;
        crash_point("dlq.handled");
        let cursor = Cursor { version, view: view.map(Into::into) };
        let stored = self.cursors.write(aggregate_id, consumer.name(), &cursor).await;
        stored.map_err(|source| ReplayError::Surroundings {
            consumer: consumer.name().to_owned(),
            aggregate_id,
            source,
        })?;
        Ok(cursor)
    }

    /// Moves the cursor past one event without handling it: for an event that a person gives up.
    /// What the consumer remembers of the aggregate stays as it was. A cursor at or behind the
    /// version stays. False when an earlier event is not handled yet; then nothing is done.
    pub async fn skip(
        &self,
        consumer: &str,
        aggregate_id: Uuid,
        version: u64,
    ) -> Result<bool, HandleError> {
        let cursor = self.cursors.read(aggregate_id, consumer).await?;
        if cursor.version + 1 == version {
            let after = Cursor { version, view: cursor.view };
            self.cursors.write(aggregate_id, consumer, &after).await?;
        }
        Ok(cursor.version + 1 >= version)
    }
}

/// The events as they are to be handled: as they were read, but for a seeded defect.
fn in_order(mut events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    if defect(OUT_OF_ORDER) {
        events.reverse();
    }
    events
}
