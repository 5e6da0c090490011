//! Looks for letters, and tries those that are due, until told to stop.

use crate::config::{ConfigError, RetryConfig};
use crate::error::LetterError;
use crate::letter::{Key, now_ms};
use crate::metrics;
use crate::retry::{Attempt, AttemptError};
use crate::schedule::{Ended, Schedule};
use crate::store::{LetterStore, Listing};
use crate::table::Table;
use crate::target::Target;
use cdc::LetterState;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use runtime::{Backoff, chain};
use scylla::client::session::Session;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

/// Why the retrier had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RetrierError {
    /// A value of the configuration makes no sense.
    #[error("configuration")]
    Config(#[source] ConfigError),
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
    /// The letters cannot be listed, and trying again will not help.
    #[error("look for letters")]
    Letters(#[source] LetterError),
}

/// Tries the letters of some consumers in the slots that the process holds.
pub struct Retrier {
    store: Arc<dyn LetterStore>,
    targets: Vec<Arc<dyn Target>>,
    config: RetryConfig,
}

/// An attempt under way: which target, which letter, and how it ended.
type Running = BoxFuture<'static, (usize, Key, Result<Ended, AttemptError>)>;

/// What the loop keeps.
struct Work {
    schedules: Vec<Schedule>,
    running: FuturesUnordered<Running>,
    /// Cancelled when the slot is given up.
    slots: HashMap<u32, CancellationToken>,
    /// Letters that cannot be read and were reported.
    reported: HashSet<Key>,
}

impl Retrier {
    /// Prepares the statements; the tables must be there.
    pub async fn open(
        session: Arc<Session>,
        targets: Vec<Arc<dyn Target>>,
        config: RetryConfig,
    ) -> Result<Self, LetterError> {
        Ok(Self::over(Arc::new(Table::open(session).await?), targets, config))
    }

    pub(crate) fn over(
        store: Arc<dyn LetterStore>,
        targets: Vec<Arc<dyn Target>>,
        config: RetryConfig,
    ) -> Self {
        Self { store, targets, config }
    }

    /// Works in the slots that `held` names, until `stop`; then finishes the events in hand. In a
    /// slot that is given up no further event is begun. Waits for a database that is out of reach.
    pub async fn run(
        &self,
        mut held: watch::Receiver<BTreeSet<u32>>,
        stop: CancellationToken,
    ) -> Result<(), RetrierError> {
        self.config.validate().map_err(RetrierError::Config)?;
        let mut work = Work {
            schedules: self.targets.iter().map(|_| Schedule::new(self.config.backoff)).collect(),
            running: FuturesUnordered::new(),
            slots: HashMap::new(),
            reported: HashSet::new(),
        };
        let mut pauses = Backoff::new(self.config.backoff);
        let mut scan_at = Instant::now();
        let ended = loop {
            let slots = held.borrow_and_update().clone();
            work.hold(&slots, &stop);
            if scan_at <= Instant::now() {
                let scanned = tokio::select! {
                    () = stop.cancelled() => break Ok(()),
                    scanned = self.scan(&mut work, &slots) => scanned,
                };
                scan_at = Instant::now() + self.config.scan_interval();
                match scanned {
                    Ok(()) => pauses.reset(),
                    Err(error @ LetterError::Refused { .. }) => {
                        break Err(RetrierError::Letters(error));
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
            self.start_due(&mut work);
            let wake_at = work.next_due(&self.config).map_or(scan_at, |due| due.min(scan_at));
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                changed = held.changed() => {
                    if changed.is_err() {
                        // Whoever held the slots is gone, and with it the right to work on them.
                        break Ok(());
                    }
                    scan_at = Instant::now();
                }
                Some(ended) = work.running.next() => {
                    if let Err(error) = work.ended(ended) {
                        break Err(error);
                    }
                    scan_at = scan_at.min(Instant::now() + self.config.scan_interval() / 4);
                }
                () = tokio::time::sleep_until(wake_at) => {}
            }
        };
        work.hold(&BTreeSet::new(), &stop);
        while let Some((target, key, result)) = work.running.next().await {
            if let Err(error) = work.ended((target, key, result))
                && ended.is_ok()
            {
                return Err(error);
            }
        }
        ended
    }

    /// Looks for letters in the slots that are held.
    async fn scan(&self, work: &mut Work, slots: &BTreeSet<u32>) -> Result<(), LetterError> {
        let slots: Vec<u32> = slots.iter().copied().collect();
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

    fn start_due(&self, work: &mut Work) {
        for target in 0..self.targets.len() {
            let room = self.config.letters_in_parallel_max.saturating_sub(work.running.len());
            for key in work.schedules[target].start(Instant::now(), room) {
                match work.slots.get(&key.slot) {
                    Some(stop) => {
                        let attempt = self.attempt(target, key, stop.clone());
                        work.running.push(attempt);
                    }
                    // Given up since the scan.
                    None => work.schedules[target].ended(&key, Ended::NotMade, Instant::now()),
                }
            }
        }
    }

    fn attempt(&self, target: usize, key: Key, stop: CancellationToken) -> Running {
        let (store, by) = (self.store.clone(), self.targets[target].clone());
        let (attempts_max, longest_ms) = (self.config.attempts_max, self.config.backoff.max_ms);
        Box::pin(async move {
            let longest_ms = i64::try_from(longest_ms).unwrap_or(i64::MAX);
            let attempt = Attempt {
                store: &*store,
                target: &*by,
                attempts_max,
                next_attempt_ms: now_ms().saturating_add(longest_ms),
                stop: &stop,
            };
            let result = attempt.make(&key).await;
            (target, key, result)
        })
    }
}

impl Work {
    /// Takes in which slots are held now: attempts in the others stop after the event in hand.
    fn hold(&mut self, slots: &BTreeSet<u32>, stop: &CancellationToken) {
        self.slots.retain(|slot, token| {
            let is_held = slots.contains(slot);
            if !is_held {
                token.cancel();
            }
            is_held
        });
        for slot in slots {
            self.slots.entry(*slot).or_insert_with(|| stop.child_token());
        }
    }

    /// When the next letter is due, while there is room for it.
    fn next_due(&self, config: &RetryConfig) -> Option<Instant> {
        let has_room = self.running.len() < config.letters_in_parallel_max;
        let due = self.schedules.iter().filter_map(Schedule::next_due).min();
        due.filter(|_| has_room)
    }

    fn ended(
        &mut self,
        (target, key, result): (usize, Key, Result<Ended, AttemptError>),
    ) -> Result<(), RetrierError> {
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
