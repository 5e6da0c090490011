//! Looks for letters, and tries those that are due, until told to stop.

use crate::config::RetryConfig;
use crate::error::LetterError;
use crate::letter::{Key, now_ms};
use crate::metrics;
use crate::retry::{Attempt, AttemptError};
use crate::schedule::{Ended, Schedule};
use crate::slots::{Hold, Slots};
use crate::store::{LetterStore, Listing};
use crate::table::Table;
use crate::target::{ReplayTarget, Target};
use cdc::{Breakers, ChangeConsumer, ErrorClass, HandleError, LetterState, Replay};
use database::Settings;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use leases::{LeaseConfig, Leases, SlotError};
use runtime::config::BadValue;
use runtime::{Backoff, Breaker, Pass, Readiness, chain};
use scylla::client::session::Session;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

/// The group of processes that share the slots.
const GROUP: &str = "dead-letters";

/// Why the retrier had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RetrierError {
    /// A value of the configuration makes no sense.
    #[error("configuration")]
    Config(#[source] BadValue),
    /// A term or pace of the leases makes no sense.
    #[error("configuration")]
    Leases(#[source] BadValue),
    /// The slots' statements cannot be prepared.
    #[error("open the slots")]
    Slots(#[source] SlotError),
    /// The statements for cursors and events cannot be prepared.
    #[error("open cursors and events")]
    Open(#[source] HandleError),
    /// A letter's event cannot be tried, for a reason that lies elsewhere.
    #[error("try the letter of {consumer} for aggregate {aggregate_id}")]
    Attempt {
        /// The consumer.
        consumer: String,
        /// The aggregate.
        aggregate_id: Uuid,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The letters cannot be opened or listed, and trying again will not help.
    #[error("look for letters")]
    Letters(#[source] LetterError),
}

/// What a retrier needs.
#[derive(Clone)]
pub struct RetrierDeps {
    /// A connection that uses the keyspace; the schema must be complete.
    pub session: Arc<Session>,
    /// The consumers whose letters are tried.
    pub consumers: Vec<Arc<dyn ChangeConsumer>>,
    /// What all processes agree on.
    pub settings: Settings,
    /// Paces and bounds.
    pub config: RetryConfig,
    /// Terms of the leases.
    pub leases: LeaseConfig,
    /// Learns under `leases` whether this process can take part in the group.
    pub readiness: Readiness,
}

/// Takes part in the group `dead-letters` and tries the letters in its share of the slots until
/// `shutdown`; then finishes the events in hand and gives the slots up. Waits for a database that is
/// out of reach, once the statements are prepared.
pub async fn run_retrier(
    deps: RetrierDeps,
    shutdown: CancellationToken,
) -> Result<(), RetrierError> {
    let RetrierDeps { session, consumers, settings, config, leases: terms, readiness } = deps;
    config.validate().map_err(RetrierError::Config)?;
    terms.validate().map_err(RetrierError::Leases)?;
    let timeout = Duration::from_millis(terms.request_timeout_ms);
    let store = leases::Table::open(session.clone(), GROUP, settings.slots, timeout);
    let store = Arc::new(store.await.map_err(RetrierError::Slots)?);
    let owned = watch::Sender::default();
    let leases = Leases::new(store, GROUP, settings.slots, terms, owned, readiness.clone());
    let replay = Replay::open(session.clone(), config.read_timeout(), config.batch_events).await;
    let replay = Arc::new(replay.map_err(RetrierError::Open)?);
    // Shown from the start on.
    for consumer in &consumers {
        for class in [ErrorClass::Poison.name(), ErrorClass::Transport.name(), "none"] {
            metrics::ATTEMPTS.with_label_values(&[consumer.name(), class]);
        }
    }
    let breakers = Breakers::new(&consumers, config.breaker, Some(&readiness));
    let target =
        |consumer| -> Arc<dyn Target> { Arc::new(ReplayTarget::new(consumer, replay.clone())) };
    let targets = consumers.into_iter().map(target).collect();
    let retrier = Retrier::open(session, targets, &breakers, config).await;
    let retrier = retrier.map_err(RetrierError::Letters)?;
    let (slots, stop): (Arc<dyn Slots>, _) = (Arc::new(leases.clone()), shutdown.child_token());
    let work = async {
        let result = retrier.run(&slots, &stop).await;
        stop.cancel();
        leases.release_all().await;
        leases.end();
        result
    };
    let ((), result) = tokio::join!(leases.run(&stop), work);
    result
}

/// Tries the letters of some consumers in the slots that the process holds.
pub(crate) struct Retrier {
    store: Arc<dyn LetterStore>,
    targets: Vec<Arc<dyn Target>>,
    /// By target: the breaker of what it needs.
    breakers: Vec<Breaker>,
    config: RetryConfig,
}

/// An attempt under way: which target, which letter, and how it ended.
type Running = BoxFuture<'static, (usize, Key, Result<Ended, AttemptError>)>;

/// What the loop keeps.
struct Work {
    schedules: Vec<Schedule>,
    running: FuturesUnordered<Running>,
    /// Whether the one that runs is a suspect, beside which nothing runs.
    is_alone: bool,
    /// By target: its letters wait until then, because its breaker is open.
    wait_until: Vec<Option<Instant>>,
    /// Letters in hand, by slot: of those that are worked on, and of those that end.
    in_hand: HashMap<u32, usize>,
    /// Slots that are being given up.
    ends: HashSet<u32>,
    ending: FuturesUnordered<BoxFuture<'static, u32>>,
    /// Letters that cannot be read and were reported.
    reported: HashSet<Key>,
}

impl Retrier {
    /// Prepares the statements; the tables must be there.
    pub(crate) async fn open(
        session: Arc<Session>,
        targets: Vec<Arc<dyn Target>>,
        breakers: &Breakers,
        config: RetryConfig,
    ) -> Result<Self, LetterError> {
        Ok(Self::over(Arc::new(Table::open(session).await?), targets, breakers, config))
    }

    pub(crate) fn over(
        store: Arc<dyn LetterStore>,
        targets: Vec<Arc<dyn Target>>,
        breakers: &Breakers,
        config: RetryConfig,
    ) -> Self {
        let breakers = targets.iter().map(|target| breakers.of(target.needs()).clone()).collect();
        Self { store, targets, breakers, config }
    }

    /// Tries letters in the slots that are held, until `stop`; then finishes the events in hand. In a
    /// slot that is given up no further event is begun. Waits for a database that is out of reach.
    pub(crate) async fn run(
        &self,
        slots: &Arc<dyn Slots>,
        stop: &CancellationToken,
    ) -> Result<(), RetrierError> {
        self.config.validate().map_err(RetrierError::Config)?;
        let mut work = Work {
            schedules: self.targets.iter().map(|_| Schedule::new(self.config.backoff)).collect(),
            running: FuturesUnordered::new(),
            is_alone: false,
            wait_until: vec![None; self.targets.len()],
            in_hand: HashMap::new(),
            ending: FuturesUnordered::new(),
            ends: HashSet::new(),
            reported: HashSet::new(),
        };
        let ended = self.work(&mut work, slots, stop).await;
        stop.cancel();
        while let Some(done) = work.running.next().await {
            let done = work.ended(done);
            if ended.is_ok() {
                done?;
            }
        }
        while work.ending.next().await.is_some() {}
        ended
    }

    async fn work(
        &self,
        work: &mut Work,
        slots: &Arc<dyn Slots>,
        stop: &CancellationToken,
    ) -> Result<(), RetrierError> {
        let mut changes = slots.changes();
        let mut pauses = Backoff::new(self.config.backoff);
        let mut scan_at = Instant::now();
        loop {
            changes.mark_unchanged();
            if work.compare(slots) {
                scan_at = Instant::now();
            }
            if scan_at <= Instant::now() {
                let scanned = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    scanned = self.scan(work) => scanned,
                };
                scan_at = Instant::now() + self.config.scan_interval();
                match scanned {
                    Ok(()) => {
                        pauses.reset();
                        work.slots().for_each(|slot| slots.progressed(slot));
                    }
                    Err(error @ LetterError::Refused { .. }) => {
                        return Err(RetrierError::Letters(error));
                    }
                    Err(error) => {
                        if pauses.attempts().is_power_of_two() {
                            let error = chain(&error).to_string();
                            warn!(error, "letters cannot be listed, trying again");
                        }
                        scan_at += pauses.next_pause();
                    }
                }
            }
            self.start_due(work, slots, stop);
            let wake_at = work.next_due(&self.config).map_or(scan_at, |due| due.min(scan_at));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = changes.changed() => {
                    if changed.is_err() {
                        // Whoever held the slots is gone, and with it the right to work on them.
                        return Ok(());
                    }
                }
                Some(done) = work.running.next() => {
                    work.ended(done)?;
                    scan_at = scan_at.min(Instant::now() + self.config.scan_interval() / 4);
                }
                Some(slot) = work.ending.next() => {
                    work.ends.remove(&slot);
                }
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    /// Looks for letters in the slots that are held.
    async fn scan(&self, work: &mut Work) -> Result<(), LetterError> {
        let slots: Vec<u32> = work.slots().collect();
        let mut unreadable = HashSet::new();
        for (target, schedule) in self.targets.iter().zip(&mut work.schedules) {
            let listing = self.store.list(target.name(), &slots, self.config.letters_max).await?;
            let Listing { letters, unreadable: rows } = listing;
            schedule.update(&letters, Instant::now());
            report(target.name(), schedule, rows.len());
            for row in rows {
                if !work.reported.contains(&row.key) {
                    let Key { consumer, slot, aggregate_id } = &row.key;
                    let reason = row.reason;
                    error!(consumer, slot, %aggregate_id, reason, "a dead letter cannot be read");
                }
                unreadable.insert(row.key);
            }
        }
        work.reported = unreadable;
        let blocked = |schedule: &Schedule| {
            schedule.count(LetterState::Blocked) + schedule.count(LetterState::Parked)
        };
        let blocked: usize = work.schedules.iter().map(blocked).sum();
        metrics::BLOCKED.set(i64::try_from(blocked).unwrap_or(i64::MAX));
        let oldest = work.schedules.iter().filter_map(Schedule::oldest_ms).min();
        let age_ms = oldest.map_or(0, |oldest| now_ms().saturating_sub(oldest).max(0));
        metrics::OLDEST.set(age_ms as f64 / 1000.0);
        Ok(())
    }

    /// Starts what is due. A letter of which a process may have died is tried alone, so that nobody
    /// else's attempt counts as one that did not end.
    fn start_due(&self, work: &mut Work, slots: &Arc<dyn Slots>, stop: &CancellationToken) {
        if work.is_alone {
            return;
        }
        let now = Instant::now();
        if work.has_suspect(now) {
            if work.running.is_empty() {
                work.is_alone = self.start_suspect(work, slots, stop);
            }
            return;
        }
        for target in 0..self.targets.len() {
            while work.running.len() < self.config.letters_in_parallel_max {
                let Some(pass) = self.pass(work, target) else { break };
                let Some(key) = work.schedules[target].start(now, 1).pop() else { break };
                self.start(work, target, key, pass, slots, stop);
            }
        }
    }

    /// Starts a suspect, if its target is to be asked.
    fn start_suspect(
        &self,
        work: &mut Work,
        slots: &Arc<dyn Slots>,
        stop: &CancellationToken,
    ) -> bool {
        for target in 0..self.targets.len() {
            let Some(pass) = self.pass(work, target) else { continue };
            if let Some(key) = work.schedules[target].start_suspect(Instant::now()) {
                return self.start(work, target, key, pass, slots, stop);
            }
        }
        false
    }

    /// A pass of the target's circuit breaker; without one its letters wait.
    fn pass(&self, work: &mut Work, target: usize) -> Option<Pass> {
        match self.breakers[target].try_pass() {
            Ok(pass) => {
                work.wait_until[target] = None;
                Some(pass)
            }
            Err(open) => {
                let wait = open.retry_after.max(self.config.breaker_look());
                work.wait_until[target] = Some(Instant::now() + wait);
                None
            }
        }
    }

    /// Starts an attempt; false when its slot was given up since the scan.
    fn start(
        &self,
        work: &mut Work,
        target: usize,
        key: Key,
        pass: Pass,
        slots: &Arc<dyn Slots>,
        stop: &CancellationToken,
    ) -> bool {
        match work.in_hand.get_mut(&key.slot) {
            Some(in_hand) if !work.ends.contains(&key.slot) => {
                *in_hand += 1;
                let attempt = self.attempt(target, key, pass, slots.clone(), stop.clone());
                work.running.push(attempt);
                true
            }
            _ => {
                work.schedules[target].ended(&key, Ended::NotMade, Instant::now());
                false
            }
        }
    }

    fn attempt(
        &self,
        target: usize,
        key: Key,
        pass: Pass,
        slots: Arc<dyn Slots>,
        stop: CancellationToken,
    ) -> Running {
        let (store, by) = (self.store.clone(), self.targets[target].clone());
        let RetryConfig { attempts_max, crash_attempts_max, backoff, .. } = self.config;
        Box::pin(async move {
            let longest_ms = i64::try_from(backoff.max_ms).unwrap_or(i64::MAX);
            let slot = key.slot;
            let attempt = Attempt {
                store: &*store,
                target: &*by,
                attempts_max,
                crashes_max: crash_attempts_max,
                next_attempt_ms: now_ms().saturating_add(longest_ms),
                may_begin: &move || !stop.is_cancelled() && slots.may_begin(slot),
            };
            let result = attempt.make(&key).await;
            match &result {
                Ok(Ended::Failed(ErrorClass::Transport)) => pass.failed(key.aggregate_id),
                Ok(Ended::Settled | Ended::Failed(_)) => pass.succeeded(),
                // The letters or the ledger are out of reach, which says nothing of a broker.
                Ok(Ended::NotMade) | Err(_) if by.needs() == database::TARGET => {
                    pass.failed(key.aggregate_id);
                }
                Ok(Ended::NotMade) | Err(_) => drop(pass),
            }
            (target, key, result)
        })
    }
}

impl Work {
    /// Takes in which slots are held now; ends those of which nothing is in hand. True when a slot
    /// was gained.
    fn compare(&mut self, slots: &Arc<dyn Slots>) -> bool {
        let mut is_larger = false;
        let held = slots.held();
        for (slot, hold) in &held {
            match hold {
                Hold::Work if !self.ends.contains(slot) => {
                    self.in_hand.entry(*slot).or_insert_with(|| {
                        is_larger = true;
                        0
                    });
                }
                Hold::End if self.in_hand.get(slot).copied().unwrap_or(0) == 0 => {
                    self.in_hand.remove(slot);
                    if self.ends.insert(*slot) {
                        let (slots, slot) = (slots.clone(), *slot);
                        self.ending.push(Box::pin(async move {
                            slots.end(slot).await;
                            slot
                        }));
                    }
                }
                Hold::Work | Hold::End => {}
            }
        }
        is_larger
    }

    /// The slots whose letters are tried.
    fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.in_hand.keys().copied().filter(|slot| !self.ends.contains(slot))
    }

    /// Whether a letter is due of which a process may have died, and whose target is to be asked.
    fn has_suspect(&self, now: Instant) -> bool {
        let asked = self.schedules.iter().zip(&self.wait_until);
        asked
            .filter(|(_, wait)| wait.is_none_or(|until| until <= now))
            .any(|(s, _)| s.has_suspect(now))
    }

    /// When the next letter is due, while there is room for it.
    fn next_due(&self, config: &RetryConfig) -> Option<Instant> {
        let waits_for_others = !self.running.is_empty() && self.has_suspect(Instant::now());
        let has_room = self.running.len() < config.letters_in_parallel_max;
        if self.is_alone || waits_for_others || !has_room {
            return None;
        }
        let due = self.schedules.iter().zip(&self.wait_until).filter_map(|(schedule, wait)| {
            let due = schedule.next_due()?;
            Some(wait.map_or(due, |until| due.max(until)))
        });
        due.min()
    }

    fn ended(
        &mut self,
        (target, key, result): (usize, Key, Result<Ended, AttemptError>),
    ) -> Result<(), RetrierError> {
        if let Some(in_hand) = self.in_hand.get_mut(&key.slot) {
            *in_hand -= 1;
        }
        self.is_alone &= !self.running.is_empty();
        let ended = match result {
            Ok(ended) => ended,
            Err(error) if error.is_fatal() => {
                let Key { consumer, aggregate_id, .. } = key;
                let source = Box::new(error);
                return Err(RetrierError::Attempt { consumer, aggregate_id, source });
            }
            Err(error) => {
                let Key { consumer, aggregate_id, .. } = &key;
                let error = chain(&error).to_string();
                warn!(consumer, %aggregate_id, error, "attempt at a dead letter not made");
                Ended::NotMade
            }
        };
        self.schedules[target].ended(&key, ended, Instant::now());
        Ok(())
    }
}

fn report(consumer: &str, schedule: &Schedule, unreadable: usize) {
    for (state, name) in [
        (LetterState::Blocked, "blocked"),
        (LetterState::Parked, "parked"),
        (LetterState::Released, "released"),
    ] {
        let entries = metrics::ENTRIES.with_label_values(&[consumer, name]);
        entries.set(schedule.count(state) as f64);
    }
    metrics::ENTRIES.with_label_values(&[consumer, "unreadable"]).set(unreadable as f64);
}
