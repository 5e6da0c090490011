//! Reading stored events, for whoever does not append: the gap healing of consumers, history.
//!
//! Everything is read at QUORUM: each acknowledged commit is seen.

use crate::error::{CorruptError, OpenError, ReadError};
use crate::ledger::{Ledger, ReadFailure, Strength};
use crate::scylla_ledger::ScyllaLedger;
use crate::statements::RequestBounds;
use kernel::{RecordedEvent, Version};
use scylla::client::session::Session;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Reads events of aggregates. Cheap to clone.
#[derive(Clone)]
pub struct EventReader {
    ledger: Arc<dyn Ledger>,
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReader").finish_non_exhaustive()
    }
}

impl EventReader {
    /// Prepares the statements; the schema must be there. The session's keyspace is used.
    pub async fn open(session: Arc<Session>, request_timeout: Duration) -> Result<Self, OpenError> {
        let bounds = RequestBounds {
            timeout: request_timeout,
            announce_timeout: request_timeout,
            // No statement of a reader is paged by the driver.
            page_rows: 1,
        };
        let ledger = ScyllaLedger::prepare(session, bounds).await?;
        Ok(Self { ledger: Arc::new(ledger) })
    }

    pub(crate) fn over(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger }
    }

    /// The events after `version`, at most `limit` (at least 1), ascending and contiguous: the
    /// first is `version + 1`. Empty when there is none.
    pub async fn after(
        &self,
        aggregate_id: Uuid,
        version: Version,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let limit = i32::try_from(limit.max(1)).unwrap_or(i32::MAX);
        let read = self.ledger.from(aggregate_id, version.next(), limit, Strength::Quorum).await;
        let events = read.map_err(|failure| failed(aggregate_id, failure))?.events;
        contiguous(aggregate_id, version, &events).map_err(ReadError::Gap)?;
        Ok(events)
    }

    /// The newest events, at most `limit` (at least 1), ascending and contiguous. Empty when the
    /// aggregate does not exist.
    pub async fn tail(
        &self,
        aggregate_id: Uuid,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let limit = i32::try_from(limit.max(1)).unwrap_or(i32::MAX);
        let read = self.ledger.newest(aggregate_id, limit, Strength::Quorum).await;
        let events = read.map_err(|failure| failed(aggregate_id, failure))?.events;
        if let Some(first) = events.first() {
            let before = Version(first.version.0.saturating_sub(1));
            contiguous(aggregate_id, before, &events).map_err(ReadError::Gap)?;
        }
        Ok(events)
    }
}

fn failed(aggregate_id: Uuid, failure: ReadFailure) -> ReadError {
    match failure {
        ReadFailure::Ledger(source) => ReadError::Database { aggregate_id, source },
        ReadFailure::Corrupt(source) => ReadError::unusable(source),
    }
}

/// Checks that the events' versions are `after + 1`, `after + 2`, ….
pub(crate) fn contiguous(
    aggregate_id: Uuid,
    after: Version,
    events: &[RecordedEvent],
) -> Result<(), CorruptError> {
    let mut expected = after.next();
    for event in events {
        if event.version != expected {
            return Err(CorruptError::Gap { aggregate_id, expected, found: event.version });
        }
        expected = expected.next();
    }
    Ok(())
}
