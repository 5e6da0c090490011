//! Announcing stored events again, for whoever found that nobody did, or that nobody heard.
//!
//! The same announcement twice is harmless: same key, same content, one more row in the log. The
//! announcer's rule binds here too: an attempt counts only when acknowledged in time. What one command
//! led to is announced by one write.

use crate::announce::Announcer;
use crate::error::{OpenError, ReadError};
use crate::ledger::{Ledger, ReadFailure, Strength};
use crate::reader::contiguous;
use crate::scylla_ledger::ScyllaLedger;
use crate::statements::RequestBounds;
use database::Settings;
use kernel::{RecordedEvent, Version};
use runtime::{Backoff, BackoffConfig};
use scylla::client::session::Session;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReannounceBounds {
    /// How long one read may take.
    pub request_timeout: Duration,
    /// Events read per request; at least 1.
    pub page_events: i32,
    /// How often one step is tried again before it is given up.
    pub attempts_max: u32,
    /// Pauses in between.
    pub backoff: BackoffConfig,
}

/// Why events were not announced. What was announced before stays so.
#[derive(Debug, thiserror::Error)]
pub enum ReannounceError {
    /// They could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No attempt was acknowledged in time.
    #[error("the events of aggregate {aggregate_id} after version {after} are not announced")]
    NotAnnounced {
        /// The aggregate.
        aggregate_id: Uuid,
        /// Up to here they are.
        after: Version,
    },
}

impl ReannounceError {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read(error) => error.is_transient(),
            Self::NotAnnounced { .. } => true,
        }
    }
}

/// Announces stored events. Cheap to clone; no writer of its own, since it commits nothing.
#[derive(Clone)]
pub struct Reannouncer {
    ledger: Arc<dyn Ledger>,
    announcer: Arc<Announcer>,
    bounds: ReannounceBounds,
}

impl fmt::Debug for Reannouncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reannouncer").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl Reannouncer {
    /// Prepares the statements; the schema must be there. The session's keyspace is used.
    pub async fn open(
        session: Arc<Session>,
        bounds: ReannounceBounds,
        settings: &Settings,
    ) -> Result<Self, OpenError> {
        let within = settings.safety_interval / 2;
        let requests = RequestBounds {
            timeout: bounds.request_timeout,
            announce_timeout: within,
            page_rows: bounds.page_events,
        };
        let ledger: Arc<dyn Ledger> = Arc::new(ScyllaLedger::prepare(session, requests).await?);
        let announcer = Announcer::new(Arc::clone(&ledger), bounds.backoff, within);
        Ok(Self::over(ledger, Arc::new(announcer), bounds))
    }

    pub(crate) fn over(
        ledger: Arc<dyn Ledger>,
        announcer: Arc<Announcer>,
        bounds: ReannounceBounds,
    ) -> Self {
        Self { ledger, announcer, bounds }
    }

    /// Announces every event that is stored after a version; returns how many. Again it announces them
    /// again.
    pub async fn after(
        &self,
        aggregate_id: Uuid,
        after: Version,
        topic: &str,
    ) -> Result<u64, ReannounceError> {
        let page_max = usize::try_from(self.bounds.page_events).unwrap_or(usize::MAX);
        let (mut at, mut commit, mut announced) = (after, Vec::new(), 0);
        loop {
            let events = self.page(aggregate_id, at).await?;
            let is_last = events.len() < page_max;
            for event in events {
                at = event.version;
                let place = event.metadata.commit;
                commit.push(event);
                if place.index.saturating_add(1) >= place.count {
                    announced += self.announce(&std::mem::take(&mut commit), topic).await?;
                }
            }
            if is_last {
                return Ok(announced + self.announce(&commit, topic).await?);
            }
        }
    }

    /// The next events after a version, contiguous, by a read that sees every decided commit.
    async fn page(
        &self,
        aggregate_id: Uuid,
        after: Version,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let limit = self.bounds.page_events;
        let mut backoff = Backoff::new(self.bounds.backoff);
        loop {
            let read = self.ledger.from(aggregate_id, after.next(), limit, Strength::Serial).await;
            match read {
                Ok(tail) => {
                    contiguous(aggregate_id, after, &tail.events).map_err(ReadError::Gap)?;
                    return Ok(tail.events);
                }
                Err(ReadFailure::Corrupt(source)) => return Err(ReadError::unusable(source)),
                Err(ReadFailure::Ledger(source)) => {
                    if backoff.attempts() >= self.bounds.attempts_max {
                        return Err(ReadError::Database { aggregate_id, source });
                    }
                }
            }
            sleep(backoff.next_pause()).await;
        }
    }

    /// Announces the events of one commit until one attempt counts.
    async fn announce(
        &self,
        events: &[RecordedEvent],
        topic: &str,
    ) -> Result<u64, ReannounceError> {
        let Some(first) = events.first() else { return Ok(0) };
        let mut backoff = Backoff::new(self.bounds.backoff);
        while !self.announcer.attempt(events, topic, backoff.attempts()).await {
            if backoff.attempts() >= self.bounds.attempts_max {
                let after = Version(first.version.0.saturating_sub(1));
                let aggregate_id = first.aggregate_id;
                return Err(ReannounceError::NotAnnounced { aggregate_id, after });
            }
            sleep(backoff.next_pause()).await;
        }
        Ok(events.len() as u64)
    }
}
