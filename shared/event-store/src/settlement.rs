//! One dead writer, from the death certificate to the removal of its row.
//!
//! Every commit that the writer could still have on its way carries a fence that it read before the
//! certificate, and its intent was durable before that too. So for each intent: the fence is moved,
//! after which nothing of this writer can land; then everything behind the intent's version is read at
//! SERIAL and announced, again if it was before. The row goes last: whoever dies half-way leaves it in
//! state dead, and the next one does all of this again from the start, which changes nothing.

use crate::config::EventStoreConfig;
use crate::error::ReadError;
use crate::ids::{AttemptId, Bucket, Fence, Spread};
use crate::ledger::{
    Certificate, Ledger, LedgerError, ReadFailure, StoredIntent, StoredWriter, Strength,
    WriterState,
};
use crate::metrics::METRICS;
use crate::reannounce::{ReannounceError, Reannouncer};
use futures::{StreamExt, TryStreamExt, stream};
use kernel::Version;
use runtime::test_hooks::crash_point;
use runtime::{Backoff, chain};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::time::{Instant, sleep};
use tracing::error;
use uuid::Uuid;

/// How the settlement of a writer ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All it left is announced and its row is gone.
    Settled { aggregates: u64, events: u64 },
    /// Its heartbeat came first.
    Lives,
    /// Another process wrote the certificate, or removed the row.
    Others,
}

impl Ended {
    /// The label of `settle_writers_total`.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Settled { .. } => "settled",
            Self::Lives => "lives",
            Self::Others => "others",
        }
    }
}

/// Why a writer is not settled. What was done for it stays done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    #[error("{doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: LedgerError,
    },
    #[error("announce what is stored")]
    Announce(#[source] ReannounceError),
    #[error("the events of {aggregates} aggregates cannot be read")]
    Corrupt { aggregates: u64 },
}

impl SettleError {
    /// Whether the database is in doubt.
    pub(crate) fn is_doubt(&self) -> bool {
        !matches!(self, Self::Corrupt { .. })
    }
}

/// The settlement of one writer.
pub(crate) struct Settlement<'a> {
    ledger: &'a dyn Ledger,
    reannouncer: &'a Reannouncer,
    config: &'a EventStoreConfig,
    row: StoredWriter,
    /// The version that each aggregate is announced from, as far as settled here.
    announced_after: Mutex<HashMap<Uuid, Version>>,
    events: AtomicU64,
    corrupt: AtomicU64,
}

impl<'a> Settlement<'a> {
    pub(crate) fn new(
        ledger: &'a dyn Ledger,
        reannouncer: &'a Reannouncer,
        config: &'a EventStoreConfig,
        row: StoredWriter,
    ) -> Self {
        Self {
            ledger,
            reannouncer,
            config,
            row,
            announced_after: Mutex::default(),
            events: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
        }
    }

    /// Settles the writer, whose row was seen to stand still.
    pub(crate) async fn run(mut self) -> Result<Ended, SettleError> {
        if self.row.state == WriterState::Alive {
            match self.certify().await? {
                Certified::Ours(row) => self.row = row,
                Certified::Lives => return Ok(Ended::Lives),
                Certified::Others => return Ok(Ended::Others),
            }
            crash_point("settle.certified");
        }
        let began = Instant::now();
        for bucket in self.row.oldest_bucket.up_to(self.row.newest_bucket) {
            self.finish_bucket(bucket).await?;
        }
        let corrupt = self.corrupt.load(Ordering::Relaxed);
        if corrupt > 0 {
            return Err(SettleError::Corrupt { aggregates: corrupt });
        }
        crash_point("settle.before-removal");
        self.remove().await?;
        METRICS.settle_duration.observe(began.elapsed().as_secs_f64());
        let aggregates = self.settled_aggregates();
        Ok(Ended::Settled { aggregates, events: self.events.load(Ordering::Relaxed) })
    }

    fn settled_aggregates(&self) -> u64 {
        let announced = self.announced_after.lock().unwrap_or_else(PoisonError::into_inner);
        announced.len() as u64
    }

    /// Writes the death certificate; nothing of the writer is touched without it.
    async fn certify(&self) -> Result<Certified, SettleError> {
        let StoredWriter { writer, counter, attempt: previous, .. } = self.row;
        let certificate = Certificate { writer, counter, previous, attempt: AttemptId::fresh() };
        let answer = self
            .persist("write the death certificate", || self.ledger.certify(&certificate))
            .await?;
        // An earlier sending of ours may have landed.
        let ours = answer.applied || answer.attempt == Some(certificate.attempt);
        let row = StoredWriter {
            state: WriterState::Dead,
            counter: counter.next(),
            attempt: certificate.attempt,
            ..self.row
        };
        Ok(match answer.state {
            _ if ours => Certified::Ours(row),
            Some(WriterState::Alive) => Certified::Lives,
            Some(WriterState::Dead) | None => Certified::Others,
        })
    }

    /// Finishes the appends that the intents of one bucket speak of.
    async fn finish_bucket(&self, bucket: Bucket) -> Result<(), SettleError> {
        let parallel = self.config.settle.aggregates_in_parallel_max;
        let spreads = (0..self.row.intent_spread).map(Spread);
        let reads: Vec<_> = spreads.map(|spread| self.intents(bucket, spread)).collect();
        let intents: Vec<Vec<StoredIntent>> =
            stream::iter(reads).buffer_unordered(parallel).try_collect().await?;
        let finish: Vec<_> =
            intents.into_iter().flatten().map(|intent| self.finish(intent)).collect();
        stream::iter(finish).buffer_unordered(parallel).try_collect().await
    }

    /// The intents of one partition; a bucket bounds their number.
    async fn intents(
        &self,
        bucket: Bucket,
        spread: Spread,
    ) -> Result<Vec<StoredIntent>, SettleError> {
        let (mut intents, mut next) = (Vec::new(), None);
        loop {
            let page = self
                .persist("read the intents", || {
                    self.ledger.intents(self.row.writer, bucket, spread, next.clone())
                })
                .await?;
            intents.extend(page.rows);
            next = page.next;
            if next.is_none() {
                return Ok(intents);
            }
        }
    }

    /// Finishes the appends to one aggregate that may be half done.
    async fn finish(&self, intent: StoredIntent) -> Result<(), SettleError> {
        let known = {
            let announced = self.announced_after.lock().unwrap_or_else(PoisonError::into_inner);
            announced.get(&intent.aggregate_id).copied()
        };
        if known.is_some_and(|after| after <= intent.after) {
            return Ok(());
        }
        match self.fence_and_announce(&intent, known.is_some()).await {
            Ok(()) => {}
            Err(Stuck::Settle(error)) => return Err(error),
            Err(Stuck::Corrupt(cause)) => {
                let aggregate_id = intent.aggregate_id;
                error!(%aggregate_id, error = %chain(&cause), "events of a dead writer unreadable");
                self.corrupt.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
        METRICS.settle_aggregates.inc();
        let mut announced = self.announced_after.lock().unwrap_or_else(PoisonError::into_inner);
        announced.insert(intent.aggregate_id, intent.after);
        Ok(())
    }

    async fn fence_and_announce(
        &self,
        intent: &StoredIntent,
        is_fenced: bool,
    ) -> Result<(), Stuck> {
        // One move after the certificate is enough: no commit of this writer knows a later fence.
        if !is_fenced {
            self.move_fence(intent.aggregate_id).await?;
            crash_point("settle.fenced");
        }
        let StoredIntent { aggregate_id, after, topic, .. } = intent;
        let events = self.reannouncer.after(*aggregate_id, *after, topic).await?;
        METRICS.settle_events.inc_by(events);
        self.events.fetch_add(events, Ordering::Relaxed);
        crash_point("settle.announced");
        Ok(())
    }

    /// Moves an aggregate's fence from the value read, or sees that somebody else did since.
    async fn move_fence(&self, aggregate_id: Uuid) -> Result<(), Stuck> {
        let mut backoff = Backoff::new(self.config.backoff());
        let to = Fence::fresh();
        let mut first_read = None;
        loop {
            let moved = match self.ledger.newest(aggregate_id, 1, Strength::Serial).await {
                Ok(tail) => {
                    let from = *first_read.get_or_insert(tail.fence);
                    if tail.fence != from {
                        return Ok(());
                    }
                    self.ledger.move_fence(aggregate_id, from, to).await
                }
                Err(ReadFailure::Ledger(error)) => Err(error),
                Err(ReadFailure::Corrupt(cause)) => {
                    return Err(Stuck::Corrupt(ReadError::unusable(cause)));
                }
            };
            match moved {
                // Not applied: another one moved it after it was read, which does as well.
                Ok(_) => {
                    METRICS.fence_moves.inc();
                    return Ok(());
                }
                Err(source) if backoff.attempts() >= self.config.settle.attempts_max => {
                    let doing = "move a fence";
                    return Err(Stuck::Settle(SettleError::Database { doing, source }));
                }
                Err(_) => sleep(backoff.next_pause()).await,
            }
        }
    }

    async fn remove(&self) -> Result<(), SettleError> {
        let StoredWriter { writer, state, counter, attempt, .. } = self.row;
        let gone = self
            .persist("remove the writer's row", || {
                self.ledger.remove_writer(writer, state, counter, attempt)
            })
            .await?;
        if !gone {
            // Nobody changes a dead writer's row but to remove it.
            error!(%writer, "a dead writer's row was changed");
        }
        Ok(())
    }

    /// Sends a request until it is answered, a bounded number of times. Each may be sent again: what
    /// an earlier sending did shows in the answer, or makes no difference.
    async fn persist<T, F: Future<Output = Result<T, LedgerError>>>(
        &self,
        doing: &'static str,
        request: impl Fn() -> F,
    ) -> Result<T, SettleError> {
        let mut backoff = Backoff::new(self.config.backoff());
        loop {
            match request().await {
                Ok(answer) => return Ok(answer),
                Err(source) if backoff.attempts() >= self.config.settle.attempts_max => {
                    return Err(SettleError::Database { doing, source });
                }
                Err(_) => sleep(backoff.next_pause()).await,
            }
        }
    }
}

/// What the attempt to write a certificate led to.
enum Certified {
    /// Ours; the row as it is now.
    Ours(StoredWriter),
    Lives,
    Others,
}

/// Why an aggregate cannot be finished.
enum Stuck {
    /// The settlement is given up with it.
    Settle(SettleError),
    /// Its events cannot be used; the other aggregates can be finished.
    Corrupt(ReadError),
}

impl From<ReannounceError> for Stuck {
    fn from(error: ReannounceError) -> Self {
        match error {
            ReannounceError::Read(error @ (ReadError::Gap(_) | ReadError::Corrupt(_))) => {
                Self::Corrupt(error)
            }
            error => Self::Settle(SettleError::Announce(error)),
        }
    }
}
