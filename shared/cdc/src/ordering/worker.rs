//! Works lanes: does what each needs next, under the bounds and circuit breakers that all share.

use super::{Done, Handling, LaneKey, Step, lanes::Lanes, lonely::Lonely, suspects::Suspects};
use crate::consumer::{ChangeConsumer, ErrorClass, HandleError};
use crate::error::{EventError, EventName, GroupError};
use crate::letters::{LetterKey, Refusal};
use crate::reading::generation::slot_of;
use crate::source::Announcement;
use crate::surroundings::Surroundings;
use crate::{lock, metrics};
use futures::FutureExt;
use kernel::Version;
use runtime::test_hooks::crash_point;
use runtime::{Backoff, Pass, RetryBudget, chain};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// What all lanes share.
pub(super) struct Worker {
    pub(super) around: Arc<Surroundings>,
    lanes: Mutex<Lanes>,
    pub(super) in_flight: Arc<Semaphore>,
    parallel: Semaphore,
    retries: RetryBudget,
    /// By consumer.
    lonely: Vec<Mutex<Lonely>>,
    pub(super) suspects: Mutex<Suspects>,
    /// Held by the suspect that is being handled.
    one_suspect: tokio::sync::Mutex<()>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) failed: CancellationToken,
    pub(super) failure: Mutex<Option<GroupError>>,
}

impl Worker {
    pub(super) fn new(around: Arc<Surroundings>) -> Self {
        let config = &around.config;
        let lanes = Lanes::new(
            config.cursors_cached_max,
            config.blocked_aggregates_max,
            config.events_per_aggregate_max,
        );
        let several = config.breaker.failing_keys_min;
        let lonely = around.consumers.iter().map(|_| Mutex::new(Lonely::new(several))).collect();
        Self {
            lanes: Mutex::new(lanes),
            in_flight: Arc::new(Semaphore::new(config.events_in_flight_max)),
            parallel: Semaphore::new(config.aggregates_in_parallel_max),
            retries: RetryBudget::new(config.retries_per_second_max),
            lonely,
            suspects: Mutex::default(),
            one_suspect: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            failed: CancellationToken::new(),
            failure: Mutex::new(None),
            around,
        }
    }

    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        lock(&self.lanes)
    }

    /// The lanes that an event goes to.
    pub(super) fn keys(&self, announced: &Announcement) -> impl Iterator<Item = LaneKey> {
        let Announcement { aggregate_id, ref aggregate_type, .. } = *announced;
        let slot = slot_of(aggregate_id, self.around.slots);
        let consumers = self.around.consumers.iter().enumerate();
        let wanting = consumers.filter(move |(_, consumer)| {
            aggregate_type.as_deref().is_none_or(|of_type| consumer.wants(of_type))
        });
        wanting.map(move |(consumer, _)| LaneKey { slot, aggregate_id, consumer })
    }

    /// Works a lane that was opened. A failure ends everything.
    pub(super) async fn run(&self, key: LaneKey) {
        let failure = match AssertUnwindSafe(self.work(key)).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => {
                let (consumer, event) = self.name(key);
                GroupError::Panicked { consumer, event }
            }
        };
        self.lanes().abandon(key);
        // The first failure is the cause; others may follow from it.
        lock(&self.failure).get_or_insert(failure);
        self.stop.cancel();
        self.failed.cancel();
    }

    /// Works a lane until it ends, the sequencer stops, or an event cannot be handled.
    async fn work(&self, key: LaneKey) -> Result<(), GroupError> {
        let mut backoff = Backoff::new(self.around.config.backoff);
        let stop = self.lanes().stop_of(key.slot);
        let mut place = self.place(&stop).await;
        loop {
            let step = self.lanes().next(key);
            if matches!(step, Step::End) {
                return Ok(());
            }
            let pass = self.pass(key, &step, &mut place, &stop).await;
            let alone = self.turn(key, &step).await;
            let may_begin = !stop.is_cancelled() && (self.around.may_begin)(key.slot);
            // What was done is written down, nothing else begins.
            if !may_begin && !matches!(step, Step::Flush(_)) {
                self.lanes().abandon(key);
                return Ok(());
            }
            let performed = self.perform(key, &step, alone.is_some()).await;
            drop(alone);
            if let Some(pass) = pass {
                tell(pass, key, &performed);
            }
            let failure = match performed.or_else(|failure| self.refusal(key, &step, failure)) {
                Ok(done) => {
                    self.lanes().report(key, &step, done);
                    backoff.reset();
                    continue;
                }
                Err(failure) => failure,
            };
            if failure.class() != ErrorClass::Transport {
                let (consumer, event) = self.name(key);
                return Err(GroupError::Event { consumer, event, source: failure });
            }
            self.note_retry(key, &step, backoff.attempts(), &failure);
            self.lanes().shed(key);
            drop(place);
            let pause = async {
                tokio::time::sleep(backoff.next_pause()).await;
                // The process's budget of repeated attempts.
                self.retries.take().await;
            };
            if stop.run_until_cancelled(pause).await.is_none() {
                self.lanes().abandon(key);
                return Ok(());
            }
            place = self.place(&stop).await;
        }
    }

    /// Deals with a failure by writing the event into a letter, where that is how to go on.
    fn refusal(&self, key: LaneKey, step: &Step, failure: EventError) -> Result<Done, EventError> {
        let is_refused = match (step, failure.class()) {
            (Step::Handle { .. }, ErrorClass::Transport) => self.is_lonely(key),
            (Step::Handle { .. } | Step::Heal { .. } | Step::Tail { .. }, ErrorClass::Poison) => {
                true
            }
            _ => false,
        };
        if !is_refused {
            return Err(failure);
        }
        let (_, event) = self.name(key);
        let (class, error) = (failure.class(), chain(&failure).to_string());
        Ok(Done::Refused(Refusal { event: *event, class, error }))
    }

    /// Whether the target refuses only a few, and has refused this aggregate often enough.
    fn is_lonely(&self, key: LaneKey) -> bool {
        let alone = lock(&self.lonely[key.consumer]).failed(key.aggregate_id);
        alone >= self.around.config.lonely_failures_max
    }

    /// A place among the aggregates that run in parallel; `None` when `stop` came first.
    async fn place(&self, stop: &CancellationToken) -> Option<SemaphorePermit<'_>> {
        // Errs when the semaphore is closed, which never happens.
        stop.run_until_cancelled(self.parallel.acquire()).await?.ok()
    }

    /// Waits while the circuit breaker of the step's target is open; without a place, so that lanes
    /// with another target go on. `None` when nobody is to be asked, or `stop` came first.
    async fn pass<'a>(
        &'a self,
        key: LaneKey,
        step: &Step,
        place: &mut Option<SemaphorePermit<'a>>,
        stop: &CancellationToken,
    ) -> Option<Pass> {
        let target = match step {
            Step::Handle { .. } if !self.is_wanted(key, step) => return None,
            Step::Handle { .. } => self.consumer(key).target(),
            _ => database::TARGET,
        };
        let breaker = self.around.breakers.of(target);
        if stop.is_cancelled() {
            return None;
        }
        if let Ok(pass) = breaker.try_pass() {
            return Some(pass);
        }
        *place = None;
        let pass = stop.run_until_cancelled(breaker.pass()).await?;
        *place = self.place(stop).await;
        Some(pass)
    }

    /// Waits until no other suspect is handled, when the step is to handle one.
    async fn turn(&self, key: LaneKey, step: &Step) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let is_suspect = || lock(&self.suspects).any_in(key.slot);
        if !self.is_wanted(key, step) || !is_suspect() {
            return None;
        }
        let alone = self.one_suspect.lock().await;
        // Those before it may have been the last.
        is_suspect().then_some(alone)
    }

    /// Whether the step is to handle an event that the consumer wants.
    fn is_wanted(&self, key: LaneKey, step: &Step) -> bool {
        let Step::Handle { change, .. } = step else { return false };
        self.consumer(key).wants(&change.event.aggregate_type)
    }

    async fn perform(
        &self,
        key: LaneKey,
        step: &Step,
        is_suspect: bool,
    ) -> Result<Done, EventError> {
        let letters = &self.around.letters;
        let handling = Handling {
            consumer: self.consumer(key),
            aggregate_id: key.aggregate_id,
            events: &*self.around.events,
            cursors: &*self.around.cursors,
            batch: self.around.config.heal_events,
        };
        let done = match step {
            Step::Handle { change, .. } if self.is_wanted(key, step) => {
                self.handle(key, change.event.version, handling.perform(step), is_suspect).await?
            }
            Step::Block(refusal) => {
                self.block(key, refusal).await?;
                Done::Blocked
            }
            Step::Ask => Done::Asked(letters.read(self.letter_key(key)).await?),
            Step::Finish(change) => {
                letters.finish(self.letter_key(key), *change).await?;
                Done::Finished
            }
            _ => {
                count(key, step);
                handling.perform(step).await?
            }
        };
        match (step, &done) {
            (Step::Heal { is_gap: true, .. }, Done::Read(_)) => metrics::GAPS_HEALED.inc(),
            (Step::Flush(_), _) => crash_point("cdc.cursor-stored"),
            _ => {}
        }
        Ok(done)
    }

    async fn handle(
        &self,
        key: LaneKey,
        version: Version,
        handling: impl Future<Output = Result<Done, EventError>>,
        is_suspect: bool,
    ) -> Result<Done, EventError> {
        if is_suspect {
            self.begin_attempt(key, version).await?;
        }
        let handled = handling.await;
        let is_over = !matches!(&handled, Err(error) if error.class() == ErrorClass::Transport);
        if is_suspect && is_over {
            lock(&self.suspects).clear(key.slot, key, version);
        }
        let done = handled?;
        lock(&self.lonely[key.consumer]).handled(key.aggregate_id);
        metrics::HANDLED.with_label_values(&[self.consumer(key).name()]).inc();
        crash_point("cdc.handled");
        Ok(done)
    }

    /// Records an attempt of which the process may die. Errs when too many died of the event.
    async fn begin_attempt(&self, key: LaneKey, version: Version) -> Result<(), EventError> {
        if !lock(&self.suspects).is_new(key, version) {
            return Ok(());
        }
        let before = self.around.letters.begin_attempt(self.letter_key(key), version).await?;
        if before >= self.around.config.crash_attempts_max {
            let what = format!("the process ended {before} times while it handled the event");
            return Err(HandleError { class: ErrorClass::Poison, what, source: None }.into());
        }
        lock(&self.suspects).record(key, version);
        Ok(())
    }

    /// Writes the refused event down; only then is its aggregate blocked.
    async fn block(&self, key: LaneKey, refusal: &Refusal) -> Result<(), EventError> {
        self.around.letters.block(self.letter_key(key), refusal).await?;
        let Refusal { event, class, error } = refusal;
        let (consumer, class) = (self.consumer(key).name(), class.name());
        event.about().in_scope(|| {
            warn!(consumer, %event, class, error, "dead letter: the aggregate waits");
        });
        metrics::LETTERS.with_label_values(&[consumer, class]).inc();
        lock(&self.lonely[key.consumer]).forget(key.aggregate_id);
        Ok(())
    }

    fn consumer(&self, key: LaneKey) -> &dyn ChangeConsumer {
        &*self.around.consumers[key.consumer]
    }

    fn letter_key(&self, key: LaneKey) -> LetterKey<'_> {
        let LaneKey { slot, aggregate_id, .. } = key;
        LetterKey { consumer: self.consumer(key).name(), slot, aggregate_id }
    }

    /// Says once that something is out of reach, then less and less often.
    fn note_retry(&self, key: LaneKey, step: &Step, attempts: u32, error: &EventError) {
        let what = step.name();
        metrics::RETRIES.with_label_values(&[what]).inc();
        if attempts.is_power_of_two() {
            let (consumer, event) = self.name(key);
            let error = chain(error).to_string();
            event.about().in_scope(|| {
                warn!(consumer, %event, what, attempts, error, "trying again until it succeeds");
            });
        }
    }

    /// The consumer and the event that a lane has in hand.
    fn name(&self, key: LaneKey) -> (String, Box<EventName>) {
        (self.consumer(key).name().to_owned(), self.lanes().in_hand(key))
    }
}

/// Counts what is asked for.
fn count(key: LaneKey, step: &Step) {
    match step {
        Step::Load => metrics::CURSORS.with_label_values(&["read"]).inc(),
        Step::Flush(_) => metrics::CURSORS.with_label_values(&["write"]).inc(),
        Step::Heal { after, wanted, is_gap: true, .. } => {
            let (aggregate_id, after, announced) = (key.aggregate_id, after.0, wanted.0);
            debug!(%aggregate_id, after, announced, "gap in front of a version");
            metrics::GAPS_DETECTED.inc();
        }
        _ => {}
    }
}

/// Tells a circuit breaker what came of a step.
fn tell(pass: Pass, key: LaneKey, performed: &Result<Done, EventError>) {
    match performed {
        Err(failure) if failure.class() == ErrorClass::Transport => pass.failed(key.aggregate_id),
        // A target that refuses an event is there.
        Ok(_) | Err(_) => pass.succeeded(),
    }
}
