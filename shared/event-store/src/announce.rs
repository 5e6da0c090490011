//! Announcing committed events: into the outbox until one attempt counts.
//!
//! An attempt counts when it was sent and acknowledged within half the safety interval: only then
//! does every reader of the CDC log see its row before the reader's confirmed time passes it. What
//! was sent before may have landed too; the same announcement twice is harmless.

use crate::ledger::Ledger;
use crate::metrics::METRICS;
use kernel::RecordedEvent;
use runtime::{Backoff, BackoffConfig, chain};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;
use uuid::Uuid;

/// Announces, and knows what waits for announcement.
pub(crate) struct Announcer {
    ledger: Arc<dyn Ledger>,
    pauses: BackoffConfig,
    within: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next_ticket: u64,
    /// Aggregate and time of commit, in the order of the commits.
    entries: BTreeMap<u64, (Uuid, Instant)>,
}

/// An entry among what waits for announcement.
pub(crate) struct Ticket {
    number: u64,
    committed: Instant,
}

impl Announcer {
    /// `within` is half the safety interval.
    pub(crate) fn new(ledger: Arc<dyn Ledger>, pauses: BackoffConfig, within: Duration) -> Self {
        Self { ledger, pauses, within, waiting: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing below can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a commit that is to be announced. An entry that is never announced stays.
    pub(crate) fn committed(&self, aggregate_id: Uuid) -> Ticket {
        let committed = Instant::now();
        let mut waiting = self.lock();
        let number = waiting.next_ticket;
        waiting.next_ticket += 1;
        waiting.entries.insert(number, (aggregate_id, committed));
        METRICS.announcements_waiting.inc();
        Ticket { number, committed }
    }

    /// The commit that has waited longest.
    pub(crate) fn oldest_waiting(&self) -> Option<(Uuid, Instant)> {
        self.lock().entries.values().next().copied()
    }

    /// Announces until one attempt counts.
    pub(crate) async fn announce(&self, ticket: Ticket, events: &[RecordedEvent], topic: &str) {
        let mut backoff = Backoff::new(self.pauses);
        while !self.attempt(events, topic, backoff.attempts()).await {
            METRICS.announce_retries.inc();
            sleep(backoff.next_pause()).await;
        }
        self.lock().entries.remove(&ticket.number);
        METRICS.announcements_waiting.dec();
        METRICS.announce_lag.observe(ticket.committed.elapsed().as_secs_f64());
    }

    /// One attempt, the one after `attempts` others: `true` when it counts.
    pub(crate) async fn attempt(
        &self,
        events: &[RecordedEvent],
        topic: &str,
        attempts: u32,
    ) -> bool {
        let Some(first) = events.first() else { return true };
        let (aggregate_id, version) = (first.aggregate_id, first.version.0);
        let sent = Instant::now();
        match timeout(self.within, self.ledger.announce(events, topic)).await {
            Ok(Ok(())) if sent.elapsed() <= self.within => return true,
            Ok(Ok(())) => {
                let elapsed_ms = millis(sent.elapsed());
                warn!(%aggregate_id, version, attempts, elapsed_ms, "announcement was slow");
            }
            Ok(Err(error)) => {
                let error = chain(&error).to_string();
                warn!(%aggregate_id, version, attempts, error, "announcement failed");
            }
            Err(_) => {
                let elapsed_ms = millis(self.within);
                warn!(%aggregate_id, version, attempts, elapsed_ms, "announcement timed out");
            }
        }
        false
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
