//! Looks at the newest version of each aggregate, round after round.

use super::source::{Progress, ScanSource, Scanned};
use super::suspects::{Suspect, Suspects};
use super::{OwnedSlots, ScannerConfig, Watched};
use crate::config::millis;
use crate::consumer::ErrorClass;
use crate::error::{GroupError, StoreError};
use crate::log_time::LogTime;
use crate::reading::reader::database;
use crate::retries::Retries;
use crate::source::Announcement;
use crate::{lock, metrics};
use futures::{StreamExt, TryStreamExt};
use kernel::{Aggregates, Version};
use leases::Slot;
use moka::future::Cache;
use runtime::CancellationToken;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

/// One scanner.
pub(crate) struct Scanner {
    pub(super) source: Arc<dyn ScanSource>,
    pub(super) watched: Vec<Watched>,
    pub(super) aggregates: Aggregates,
    owned: OwnedSlots,
    slots: u32,
    pub(super) config: ScannerConfig,
    /// Aggregates and the versions up to which every consumer has handled them.
    settled: Cache<Uuid, Version>,
    suspects: Mutex<Suspects>,
    /// When the next request may be sent.
    next_request: Mutex<Instant>,
}

/// What is true during one round.
pub(super) struct Round {
    pub(super) owned: BTreeSet<Slot>,
    pub(super) progress: Progress,
    /// The database's clock, and when it was read.
    clock: (LogTime, Instant),
}

impl Round {
    /// The database's time at most, a moment later.
    pub(super) fn time_at(&self, now: Instant) -> LogTime {
        let (value, read) = self.clock;
        value.plus(now.saturating_duration_since(read))
    }
}

impl Scanner {
    pub(crate) fn new(
        source: Arc<dyn ScanSource>,
        watched: Vec<Watched>,
        aggregates: Aggregates,
        owned: OwnedSlots,
        slots: u32,
        config: ScannerConfig,
    ) -> Self {
        let settled = Cache::new(config.settled_cached_max);
        let suspects = Mutex::new(Suspects::new(config.suspects_max));
        let next_request = Mutex::new(Instant::now());
        Self { source, watched, aggregates, owned, slots, config, settled, suspects, next_request }
    }

    pub(super) fn suspects(&self) -> MutexGuard<'_, Suspects> {
        lock(&self.suspects)
    }

    /// Looks until `shutdown`; what fails is looked at again in the next round.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) -> Result<(), GroupError> {
        shutdown.run_until_cancelled(self.rounds()).await.unwrap_or(Ok(()))
    }

    async fn rounds(&self) -> Result<(), GroupError> {
        let doing = "scan for what was never handled";
        let mut retries = Retries::new(Some("scan"), doing, self.config.backoff);
        let mut ledger_due = Instant::now() + millis(self.config.ledger_interval_ms);
        loop {
            let ended = self.round(Instant::now() >= ledger_due).await;
            metrics::SCAN_SUSPECTS.set(self.suspects().len() as f64);
            let pause = match ended {
                Ok(ledger_scanned) => {
                    retries.reset();
                    if ledger_scanned {
                        ledger_due = Instant::now() + millis(self.config.ledger_interval_ms);
                    }
                    millis(self.config.outbox_interval_ms)
                }
                Err(error) if error.class == ErrorClass::Fatal => {
                    return Err(database(doing, error));
                }
                Err(error) => retries.failed(&error),
            };
            sleep(pause).await;
        }
    }

    /// Gives whether the ledger was scanned too.
    async fn round(&self, is_ledger_due: bool) -> Result<bool, StoreError> {
        let round = self.begin().await?;
        self.judge(&round).await?;
        self.scan(Scanned::Outbox, &round).await?;
        if is_ledger_due {
            self.scan(Scanned::Ledger, &round).await?;
        }
        Ok(is_ledger_due)
    }

    async fn begin(&self) -> Result<Round, StoreError> {
        let owned = (self.owned)();
        self.pace().await;
        let read = Instant::now();
        let clock = (self.source.now().await?, read);
        let names: Vec<_> = self.watched.iter().map(|watched| watched.name.clone()).collect();
        self.pace().await;
        let progress = self.source.progress(&names).await?;
        Ok(Round { owned, progress, clock })
    }

    /// Waits for the budget to allow one more request.
    pub(super) async fn pace(&self) {
        let gap = Duration::from_secs(1) / self.config.requests_per_second.max(1);
        let at = {
            let mut next = lock(&self.next_request);
            let at = (*next).max(Instant::now());
            *next = at + gap;
            at
        };
        sleep_until(at).await;
    }

    /// Looks at the newest version of every aggregate of the slots that are owned.
    async fn scan(&self, of: Scanned, round: &Round) -> Result<(), StoreError> {
        let began = Instant::now();
        let mut looked_at = 0;
        for slot in &round.owned {
            let tokens = leases::slot_range(*slot, self.slots);
            let mut next = None;
            loop {
                self.pace().await;
                let page = self.source.tails(of, tokens.clone(), next).await?;
                looked_at += page.tails.len() as u64;
                let looks: Vec<_> = page
                    .tails
                    .into_iter()
                    .map(|(_, announcement)| self.look(*slot, announcement, round))
                    .collect();
                futures::stream::iter(looks)
                    .buffer_unordered(self.config.aggregates_in_parallel_max)
                    .try_collect::<()>()
                    .await?;
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        metrics::SCAN_TAILS.with_label_values(&[of.label()]).inc_by(looked_at);
        metrics::SCAN_SECONDS
            .with_label_values(&[of.label()])
            .observe(began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Whether a newest version is handled by everyone; a suspect when not.
    async fn look(
        &self,
        slot: Slot,
        announcement: Announcement,
        round: &Round,
    ) -> Result<(), StoreError> {
        let Announcement { aggregate_id, aggregate_type, version } = announcement;
        // A row without a type cannot be announced; the ledger has it with one.
        let Some(aggregate_type) = aggregate_type else { return Ok(()) };
        if self.settled.get(&aggregate_id).await >= Some(version) {
            return Ok(());
        }
        self.pace().await;
        let cursors = self.source.cursors(aggregate_id).await?;
        let of_it = |watched: &&Watched| watched.wants(&aggregate_type);
        let mut all_there = true;
        let mut is_handled = true;
        for watched in self.watched.iter().filter(of_it) {
            let is_there = watched.is_there(slot, &round.progress);
            all_there &= is_there;
            is_handled &= !is_there || cursors.get(&watched.name) >= Some(&version);
        }
        if is_handled {
            if all_there {
                self.settled.insert(aggregate_id, version).await;
            }
            return Ok(());
        }
        let seen = Instant::now();
        let seen_at = round.time_at(seen);
        let suspect =
            Suspect { aggregate_id, aggregate_type, version, slot, seen, seen_at, announced: 0 };
        self.suspects().note(suspect);
        Ok(())
    }
}
