//! The slow scanner: certainty for what no reader of the log can find.
//!
//! Intents make recovery fast, and the confirm pass finds what was announced late; but an event that was
//! never announced at all, or whose log row never came, rings for nobody. The scanner looks at the
//! newest version of each aggregate, in the outbox often and in the ledger seldom, and compares it with
//! the cursors. What stays unhandled although the checkpoint has passed it ([`suspects`]) is announced,
//! again if it was before: a second announcement is a valid ring. Each is counted as an anomaly, with a
//! line in the log.
//!
//! It leaves alone what is younger than the grace period, aggregates that wait behind a dead letter,
//! consumers that are catching up or are not there, and slots that it does not own. All its requests come out of one budget.

mod config;
pub(crate) mod source;
mod suspects;

pub use config::ScannerConfig;

use crate::consumer::{ChangeConsumer, ErrorClass, HandleError};
use crate::database::ScanTables;
use crate::error::GroupError;
use crate::group::persist;
use crate::letters::{LetterKey, Letters};
use crate::log_time::LogTime;
use crate::metrics;
use crate::reader::database;
use crate::source::Ring;
use database::Settings;
use futures::StreamExt;
use futures::future::BoxFuture;
use kernel::Aggregates;
use moka::future::Cache;
use runtime::{Backoff, CancellationToken, chain};
use scylla::client::session::Session;
use source::{Progress, ScanSource, Scanned};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use suspects::{Suspect, Suspects};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};
use uuid::Uuid;

/// The slots that this process owns at the moment.
pub type OwnedSlots = Arc<dyn Fn() -> BTreeSet<u32> + Send + Sync>;

/// What a scanner needs. A clone is for another start of it.
#[derive(Clone)]
pub struct ScannerDeps {
    /// A connection that uses the keyspace; the schema must be complete.
    pub session: Arc<Session>,
    /// The keyspace of all tables.
    pub keyspace: String,
    /// The group of this process: its stored name and its consumers.
    pub group: &'static str,
    /// Its consumers.
    pub consumers: Vec<Arc<dyn ChangeConsumer>>,
    /// Asked before each look.
    pub owned: OwnedSlots,
    /// Know the topic of what has to be announced.
    pub aggregates: Aggregates,
    /// Who waits behind a letter is left alone.
    pub letters: Arc<dyn Letters>,
    /// What all processes agree on.
    pub settings: Settings,
    /// Paces and bounds.
    pub config: ScannerConfig,
}

/// Scans until `shutdown`. Waits for a database that is out of reach. Errs when the schema or the
/// configuration does not fit.
pub async fn run_scanner(deps: ScannerDeps, shutdown: CancellationToken) -> Result<(), GroupError> {
    metrics::show_scanner();
    deps.config.validate().map_err(GroupError::Config)?;
    let pauses = deps.config.backoff;
    let open = || -> BoxFuture<'_, _> { Box::pin(ScanTables::open(&deps)) };
    let opened = persist("open the scanner's tables", pauses, &shutdown, open).await?;
    let Some(tables) = opened else { return Ok(()) };
    let own = deps.consumers.into_iter().map(|consumer| Watched {
        group: deps.group.to_owned(),
        name: consumer.name().to_owned(),
        consumer: Some(consumer),
    });
    let other = deps.config.other_groups.iter();
    let other =
        other.map(|group| Watched { group: group.clone(), name: group.clone(), consumer: None });
    let watched = own.chain(other).collect();
    let source = Arc::new(tables);
    let Settings { slots, .. } = deps.settings;
    Scanner::new(source, watched, deps.aggregates, deps.owned, slots, deps.config)
        .run(&shutdown)
        .await
}

/// A consumer whose cursors are compared.
pub(crate) struct Watched {
    pub(crate) group: String,
    pub(crate) name: String,
    /// `None`: it wants every event.
    pub(crate) consumer: Option<Arc<dyn ChangeConsumer>>,
}

impl Watched {
    fn wants(&self, aggregate_type: &str) -> bool {
        self.consumer.as_ref().is_none_or(|consumer| consumer.wants(aggregate_type))
    }
}

/// One scanner.
pub(crate) struct Scanner {
    source: Arc<dyn ScanSource>,
    watched: Vec<Watched>,
    aggregates: Aggregates,
    owned: OwnedSlots,
    slots: u32,
    config: ScannerConfig,
    /// Aggregates and the versions up to which every consumer has handled them.
    settled: Cache<Uuid, u64>,
    suspects: Mutex<Suspects>,
    /// When the next request may be sent.
    next_request: Mutex<Instant>,
}

/// What is true during one round.
struct Round {
    owned: BTreeSet<u32>,
    progress: Progress,
    /// The database's clock, and when it was read.
    clock: (LogTime, Instant),
}

impl Round {
    /// The database's time at most, a moment later.
    fn time_at(&self, now: Instant) -> LogTime {
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

    fn suspects(&self) -> MutexGuard<'_, Suspects> {
        // Nothing below can panic half-way through a change.
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks until `shutdown`; what fails is looked at again in the next round.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) -> Result<(), GroupError> {
        let mut backoff = Backoff::new(self.config.backoff);
        let mut ledger_due = Instant::now() + self.config.ledger_interval();
        loop {
            let round = async {
                let round = self.begin().await?;
                self.judge(&round).await?;
                self.scan(Scanned::Outbox, &round).await?;
                let is_due = Instant::now() >= ledger_due;
                if is_due {
                    self.scan(Scanned::Ledger, &round).await?;
                }
                Ok::<_, HandleError>(is_due)
            };
            let ended = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                ended = round => ended,
            };
            metrics::SCAN_SUSPECTS.set(self.suspects().len() as f64);
            let pause = match ended {
                Ok(ledger_scanned) => {
                    backoff.reset();
                    if ledger_scanned {
                        ledger_due = Instant::now() + self.config.ledger_interval();
                    }
                    self.config.outbox_interval()
                }
                Err(error) if error.class == ErrorClass::Fatal => {
                    return Err(database("scan for what was never handled", error));
                }
                Err(error) => {
                    metrics::RETRIES.with_label_values(&["scan"]).inc();
                    if (backoff.attempts() + 1).is_power_of_two() {
                        warn!(error = chain(&error).to_string(), "scan interrupted, trying again");
                    }
                    backoff.next_pause()
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = sleep(pause) => {}
            }
        }
    }

    async fn begin(&self) -> Result<Round, HandleError> {
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
    async fn pace(&self) {
        let gap = Duration::from_secs(1) / self.config.requests_per_second.max(1);
        let at = {
            let mut next = self.next_request.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(Instant::now());
            *next = at + gap;
            at
        };
        sleep_until(at).await;
    }

    /// Looks at the newest version of every aggregate of the slots that are owned.
    async fn scan(&self, of: Scanned, round: &Round) -> Result<(), HandleError> {
        let began = Instant::now();
        let mut looked_at = 0;
        for slot in &round.owned {
            let tokens = leases::slot_range(*slot, self.slots);
            let mut next = None;
            loop {
                self.pace().await;
                let page = self.source.tails(of, tokens.clone(), next).await?;
                looked_at += page.tails.len() as u64;
                let looks: Vec<_> =
                    page.tails.into_iter().map(|(_, ring)| self.look(*slot, ring, round)).collect();
                let mut looks = futures::stream::iter(looks)
                    .buffer_unordered(self.config.aggregates_in_parallel_max);
                while let Some(looked) = looks.next().await {
                    looked?;
                }
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
    async fn look(&self, slot: u32, ring: Ring, round: &Round) -> Result<(), HandleError> {
        let Ring { aggregate_id, aggregate_type, version } = ring;
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
            Suspect { aggregate_id, aggregate_type, version, slot, seen, seen_at, rings: 0 };
        self.suspects().note(suspect);
        Ok(())
    }

    /// Looks at the suspects that are old enough once more.
    async fn judge(&self, round: &Round) -> Result<(), HandleError> {
        let age = self.config.age_min();
        let due = self.suspects().due(Instant::now(), age, |slot| round.owned.contains(&slot));
        for suspect in due {
            self.judge_one(&suspect, round).await?;
        }
        Ok(())
    }

    async fn judge_one(&self, suspect: &Suspect, round: &Round) -> Result<(), HandleError> {
        let Suspect { aggregate_id, version, slot, .. } = *suspect;
        self.pace().await;
        let cursors = self.source.cursors(aggregate_id).await?;
        let behind: Vec<(&Watched, u64)> = self
            .watched
            .iter()
            .filter(|watched| watched.wants(&suspect.aggregate_type))
            .filter(|watched| watched.is_there(slot, &round.progress))
            .map(|watched| (watched, cursors.get(&watched.name).copied().unwrap_or(0)))
            .filter(|(_, handled)| *handled < version)
            .collect();
        if behind.is_empty() {
            self.suspects().clear(aggregate_id);
            return Ok(());
        }
        // Those whose checkpoint is not there yet are merely late.
        let settled_from = suspect.settled_from(self.config.age_min());
        let missed: Vec<_> = behind
            .into_iter()
            .filter(|(watched, _)| {
                let key = (watched.group.clone(), slot);
                round.progress.checkpoints.get(&key).is_some_and(|at| *at >= settled_from)
            })
            .collect();
        let missed = self.without_letters(suspect, missed).await?;
        let Some(handled) = missed.iter().map(|(_, handled)| *handled).min() else {
            return Ok(());
        };
        self.ring(suspect, handled, &missed, round).await
    }

    /// Leaves out those whose letter has the aggregate: whoever retries it handles what is behind it.
    async fn without_letters<'a>(
        &self,
        suspect: &Suspect,
        missed: Vec<(&'a Watched, u64)>,
    ) -> Result<Vec<(&'a Watched, u64)>, HandleError> {
        let mut left = Vec::new();
        for (watched, handled) in missed {
            self.pace().await;
            let Suspect { slot, aggregate_id, .. } = *suspect;
            let consumer = watched.name.as_str();
            let key = LetterKey { consumer, slot, aggregate_id };
            if !self.source.has_letter(key).await? {
                left.push((watched, handled));
            }
        }
        Ok(left)
    }

    /// Announces what consumers have missed, from the first version that one of them lacks.
    async fn ring(
        &self,
        suspect: &Suspect,
        handled: u64,
        missed: &[(&Watched, u64)],
        round: &Round,
    ) -> Result<(), HandleError> {
        let Suspect { aggregate_id, version, .. } = *suspect;
        let consumers: Vec<_> = missed.iter().map(|(watched, _)| watched.name.as_str()).collect();
        let consumers = consumers.join(", ");
        let Some(topic) = self.aggregates.topic_of(&suspect.aggregate_type) else {
            let aggregate_type = &suspect.aggregate_type;
            warn!(%aggregate_id, version, aggregate_type, consumers, "unhandled, of unknown type");
            self.suspects().clear(aggregate_id);
            return Ok(());
        };
        self.pace().await;
        let was_announced = self.source.is_announced(aggregate_id, version).await?;
        let kind = if was_announced { "unheard" } else { "unannounced" };
        warn!(%aggregate_id, version, handled, consumers, kind, "an event was missed, announcing it");
        metrics::SCAN_ANOMALIES.with_label_values(&[kind]).inc();
        self.pace().await;
        match self.source.announce_after(aggregate_id, handled, topic).await {
            Ok(events) => info!(%aggregate_id, events, "announced what was missed"),
            Err(error) if error.class == ErrorClass::Fatal => return Err(error),
            // The others must not wait for this one; it comes again, more seldom each time.
            Err(error) => {
                let error = chain(&error).to_string();
                warn!(%aggregate_id, version, error, "what was missed could not be announced");
            }
        }
        let now = Instant::now();
        self.suspects().rung(aggregate_id, now, round.time_at(now));
        Ok(())
    }
}

impl Watched {
    /// Whether the consumer is there and not catching up, so that it should have every event.
    fn is_there(&self, slot: u32, progress: &Progress) -> bool {
        progress.caught_up.contains(&(self.name.clone(), slot))
            && progress.checkpoints.contains_key(&(self.group.clone(), slot))
    }
}
