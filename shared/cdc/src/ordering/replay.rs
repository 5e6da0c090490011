//! One aggregate in one consumer, outside of a group: for the retries of its dead letter.
//!
//! It works a lane of its own from the event store and the stored cursor alone, in the same order as
//! the sequencer: effect, then cursor. Two that work on one aggregate at the same time repeat each
//! other's effects, as after a crash.

use super::{Done, Handling, Lane, Step};
use crate::consumer::{ChangeConsumer, ErrorClass};
use crate::database::{Cursors, Ledger};
use crate::error::{EventError, EventName, StoreError};
use crate::source::{Cursor, CursorStore, EventSource};
use kernel::Version;
use runtime::test_hooks::crash_point;
use scylla::client::session::Session;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

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
        source: StoreError,
    },
    /// The event cannot be read, or the consumer cannot handle it. All before it are handled and
    /// their cursor is stored.
    #[error("handle {event}")]
    Event {
        /// The event, as far as it can be read.
        event: Box<EventName>,
        /// Why.
        #[source]
        source: EventError,
    },
}

impl Replay {
    /// Prepares the statements; the tables must be there. `batch` events are read at once, each time
    /// within `timeout`.
    pub async fn open(
        session: Arc<Session>,
        timeout: Duration,
        batch: u32,
    ) -> Result<Self, StoreError> {
        let events = Ledger::open(session.clone(), timeout, batch).await?;
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
    pub async fn cursor(&self, consumer: &str, aggregate_id: Uuid) -> Result<Version, StoreError> {
        Ok(self.cursors.read(aggregate_id, consumer).await?.version)
    }

    /// Hands everything behind the stored cursor to the consumer, up to the aggregate's tail at the
    /// last look. Asks `may_begin` before each event. Gives the version reached.
    pub async fn to_tail(
        &self,
        consumer: &dyn ChangeConsumer,
        aggregate_id: Uuid,
        may_begin: &MayBegin,
    ) -> Result<Version, ReplayError> {
        let (events, cursors, batch) = (&*self.events, &*self.cursors, self.batch);
        let handling = Handling { consumer, aggregate_id, events, cursors, batch };
        let mut lane = Lane::to_tail(None);
        loop {
            let step = lane.next();
            match step {
                Step::End => return Ok(lane.version().unwrap_or_default()),
                Step::Handle { .. } if !may_begin() => return Err(ReplayError::Stopped),
                _ => {}
            }
            let done = handling.perform(&step).await.map_err(|error| match error {
                EventError::Store(source) if source.class != ErrorClass::Poison => {
                    let consumer = consumer.name().to_owned();
                    ReplayError::Surroundings { consumer, aggregate_id, source }
                }
                source => ReplayError::Event { event: lane.in_hand(aggregate_id), source },
            })?;
            if let Done::Handled(_) = done {
                crash_point("dlq.handled");
            }
            lane.report(&step, done);
        }
    }

    /// Moves the cursor past one event without handling it: for an event that a person gives up.
    /// What the consumer remembers of the aggregate stays as it was. A cursor at or behind the
    /// version stays. False when an earlier event is not handled yet; then nothing is done.
    pub async fn skip(
        &self,
        consumer: &str,
        aggregate_id: Uuid,
        version: Version,
    ) -> Result<bool, StoreError> {
        let cursor = self.cursors.read(aggregate_id, consumer).await?;
        let next = cursor.version.next();
        if next == version {
            let after = Cursor { version, view: cursor.view };
            self.cursors.write(aggregate_id, consumer, &after).await?;
        }
        Ok(next >= version)
    }
}
