//! Finds dead writers, beside this process's own heartbeat, and has each settled.
//!
//! Every appending process does this for all others; there is no lease. Looks come at random times, so
//! that one process is usually first; two at once do no harm (see [`crate::settlement`]). A row in
//! state dead that stands still is taken over like a living one: whoever was at it died, or gave up.

use crate::announce::Announcer;
use crate::config::EventStoreConfig;
use crate::ids::WriterId;
use crate::ledger::{Ledger, LedgerError, StoredWriter};
use crate::metrics::METRICS;
use crate::reannounce::{ReannounceBounds, Reannouncer};
use crate::settlement::{Ended, Settlement};
use crate::standstill::{Look, Standstill};
use crate::writer::Writer;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use runtime::{Backoff, BackoffConfig, CancellationToken, chain};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Settles dead writers until the store is closed.
pub(crate) struct Settler {
    ledger: Arc<dyn Ledger>,
    reannouncer: Reannouncer,
    writer: Writer,
    config: EventStoreConfig,
    state: Mutex<State>,
}

struct State {
    standstill: Standstill,
    /// Handed to a settlement that has not ended.
    at_work: HashSet<WriterId>,
    /// When a transaction of a settlement failed last: then the database is in doubt.
    failed: Option<Instant>,
}

impl Settler {
    pub(crate) fn new(
        ledger: Arc<dyn Ledger>,
        announcer: Arc<Announcer>,
        writer: Writer,
        config: EventStoreConfig,
    ) -> Self {
        let retry_max = Duration::from_millis(config.settle.retry_ms_max);
        let watched_max = config.settle.writers_watched_max;
        let state = Mutex::new(State {
            standstill: Standstill::new(config.grace(), retry_max, watched_max),
            at_work: HashSet::new(),
            failed: None,
        });
        let bounds = ReannounceBounds {
            request_timeout: config.request_timeout(),
            page_events: config.load_page_events,
            attempts_max: config.settle.attempts_max,
            backoff: config.backoff(),
        };
        let reannouncer = Reannouncer::over(Arc::clone(&ledger), announcer, bounds);
        Self { ledger, reannouncer, writer, config, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks and settles until `closed`. A settlement that is cut off then is another process's.
    pub(crate) async fn run(self, closed: CancellationToken) {
        let parallel = self.config.settle.writers_in_parallel_max;
        let (to, mut dead) = mpsc::channel(parallel);
        let mut watch = std::pin::pin!(self.watch(to));
        let mut settling = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = closed.cancelled() => return,
                () = &mut watch => return,
                Some(row) = dead.recv(), if settling.len() < parallel => {
                    settling.push(self.settle(row));
                }
                Some(()) = settling.next() => {}
            }
        }
    }

    /// Looks at the writers' rows now and then, and hands on those that stand still.
    async fn watch(&self, dead: mpsc::Sender<StoredWriter>) {
        let half_ms = self.config.settle.interval_ms.div_ceil(2);
        let mut jitter = Backoff::new(BackoffConfig { initial_ms: half_ms, max_ms: half_ms });
        let mut failures = 0_u32;
        loop {
            sleep(Duration::from_millis(half_ms) + jitter.next_pause()).await;
            match self.look().await {
                Ok(still) => {
                    failures = 0;
                    self.hand_on(still, &dead);
                }
                Err(error) => {
                    METRICS.settle_looks_failed.inc();
                    failures += 1;
                    if failures.is_power_of_two() {
                        let error = chain(&error).to_string();
                        warn!(attempts = failures, error, "writers' rows cannot be read");
                    }
                }
            }
        }
    }

    /// The rows of other writers that stand still.
    async fn look(&self) -> Result<Vec<StoredWriter>, LedgerError> {
        let sent = Instant::now();
        let (mut rows, mut next) = (Vec::new(), None);
        loop {
            let page = self.ledger.writers(next).await?;
            rows.extend(page.rows);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let look = Look { sent, received: Instant::now() };
        let own = self.writer.id();
        rows.retain(|row| row.writer != own);
        let mut state = self.lock();
        let sound_since = self.writer.sound_since().map(|since| Some(since).max(state.failed));
        let still = state.standstill.look(look, sound_since.flatten(), &rows);
        let watched = i64::try_from(state.standstill.watched()).unwrap_or(i64::MAX);
        METRICS.settle_writers_watched.set(watched);
        Ok(still)
    }

    /// Hands rows to settlements, as far as there is room; the others stand still at the next look too.
    fn hand_on(&self, still: Vec<StoredWriter>, dead: &mpsc::Sender<StoredWriter>) {
        for row in still {
            let mut state = self.lock();
            if state.at_work.insert(row.writer) && dead.try_send(row).is_err() {
                state.at_work.remove(&row.writer);
            }
        }
    }

    async fn settle(&self, row: StoredWriter) {
        let writer = row.writer;
        info!(%writer, state = row.state.name(), "a writer stands still, settling it");
        let settlement = Settlement::new(&*self.ledger, &self.reannouncer, &self.config, row);
        let ended = settlement.run().await;
        let mut state = self.lock();
        state.at_work.remove(&writer);
        let outcome = match ended {
            Ok(ended) => {
                match &ended {
                    Ended::Settled { aggregates, events } => {
                        info!(%writer, aggregates, events, "dead writer settled");
                    }
                    Ended::Lives => info!(%writer, "the writer lives"),
                    Ended::Others => info!(%writer, "another process is settling the writer"),
                }
                ended.label()
            }
            Err(error) => {
                warn!(%writer, error = %chain(&error), "writer not settled, trying again later");
                let now = Instant::now();
                state.standstill.failed(writer, now);
                state.failed = if error.is_doubt() { Some(now) } else { state.failed };
                "failed"
            }
        };
        METRICS.settlements.with_label_values(&[outcome]).inc();
    }
}
