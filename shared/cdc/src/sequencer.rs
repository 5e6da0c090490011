//! Rows in any order, doubled or missing, become events in order, once.
//!
//! The reader [`submit`](Sequencer::submit)s what it finds; each aggregate in each consumer has a
//! lane ([`crate::lanes`]) of its own, worked by one task at a time: load the cursor, drop what is
//! at or before it, read from the event store what is missing before an announced version, hand the
//! next event to the consumer, then store the cursor. Aggregates run in parallel under a bound.
//!
//! The confirm pass asks by [`settle`](Sequencer::settle) that a version be handled and waits for it.
//!
//! A failure that may pass is repeated for ever with growing pauses, and stops its own lane only; when
//! several aggregates meet one, the circuit breaker of their target has them all wait. An
//! event that a consumer cannot handle goes into a letter ([`crate::letters`]), and so does one whose
//! target alone keeps refusing; the aggregate is blocked for that consumer as soon as the letter is
//! stored, and settled from there on. Any other failure ends the sequencer:
//! [`failed`](Sequencer::failed) is cancelled and the cursor stays before the event. After
//! [`stop`](Sequencer::stop) the event in hand is finished and its cursor stored, nothing further
//! begins; [`close`](Sequencer::close) does the same for one slot. Before each step the [`Fence`] is asked
//! whether the slot is still this process's.

use crate::breakers::Breakers;
use crate::config::CdcConfig;
use crate::consumer::{self, Change, ChangeConsumer, ErrorClass, HandleError};
use crate::cursors::LaneKey;
use crate::error::{EventName, GroupError};
use crate::generation::slot_of;
use crate::lanes::{Lanes, Offered, Step};
use crate::letters::{LetterKey, Letters, Refusal, SlotLetter};
use crate::lonely::Lonely;
use crate::metrics;
use crate::source::{Cursor, CursorStore, EventSource, Fence, LogRow, Ring};
use crate::suspects::Suspects;
use futures::FutureExt;
use kernel::RecordedEvent;
use runtime::test_hooks::{crash_point, defect};
use runtime::{Backoff, Pass, RetryBudget, chain};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// The sequencer stopped, or the slot is closed; whatever was asked is not going to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// What a sequencer works for and with.
pub(crate) struct Parts {
    pub(crate) consumers: Vec<Arc<dyn ChangeConsumer>>,
    pub(crate) events: Arc<dyn EventSource>,
    pub(crate) cursors: Arc<dyn CursorStore>,
    pub(crate) fence: Arc<dyn Fence>,
    pub(crate) letters: Arc<dyn Letters>,
    pub(crate) breakers: Breakers,
    /// How many slots there are.
    pub(crate) slots: u32,
}

/// Cheap to clone; all clones are one sequencer.
#[derive(Clone)]
pub(crate) struct Sequencer {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    config: CdcConfig,
    lanes: Mutex<Lanes>,
    in_flight: Arc<Semaphore>,
    parallel: Semaphore,
    retries: RetryBudget,
    /// By consumer.
    lonely: Vec<Mutex<Lonely>>,
    suspects: Mutex<Suspects>,
    /// Held by the suspect that is being handled.
    one_suspect: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
    failed: CancellationToken,
    failure: Mutex<Option<GroupError>>,
}

impl Sequencer {
    pub(crate) fn new(parts: Parts, config: &CdcConfig) -> Self {
        let lanes = Lanes::new(
            config.cursors_cached_max,
            config.blocked_aggregates_max,
            config.events_per_aggregate_max,
        );
        let several = config.breaker.failing_keys_min;
        let lonely = parts.consumers.iter().map(|_| Mutex::new(Lonely::new(several))).collect();
        Self {
            shared: Arc::new(Shared {
                parts,
                config: config.clone(),
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
            }),
        }
    }

    /// Opens a slot: its events are taken from now on.
    pub(crate) fn open_slot(&self, slot: u32) {
        let stop = self.shared.stop.child_token();
        self.shared.lanes().open_slot(slot, stop);
    }

    /// Closes a slot and returns when nothing of it is in hand any more.
    pub(crate) async fn close(&self, slot: u32) {
        lock(&self.shared.suspects).forget(slot);
        let draining = self.shared.lanes().close_slot(slot);
        if let Some(draining) = draining {
            // Errs when the sequencer is dropped, and with it whatever was in hand.
            let _ = draining.await;
        }
    }

    /// Begins with a slot that was just opened and whose owners before died so often in a row, with
    /// the letters that it has: the released ones are finished. To be called before a row of the slot
    /// is submitted.
    pub(crate) fn take_over(&self, slot: u32, crashes: u32, letters: &[SlotLetter]) {
        let parallel = self.shared.config.aggregates_in_parallel_max;
        lock(&self.shared.suspects).take(slot, crashes, parallel);
        for SlotLetter { consumer, aggregate_id, letter } in letters {
            let (consumer, aggregate_id) = (*consumer, *aggregate_id);
            let key = LaneKey { slot, aggregate_id, consumer };
            let is_opened = self.shared.lanes().found(key, letter);
            if is_opened {
                self.open(key);
            }
        }
    }

    /// Takes a row of the log; waits while too many events are in flight. True when it was news to
    /// at least one consumer.
    pub(crate) async fn submit(&self, row: LogRow) -> Result<bool, Stopped> {
        let LogRow { ring, change, .. } = row;
        let shared = &self.shared;
        if shared.stop.is_cancelled() {
            return Err(Stopped);
        }
        if !self.is_news(&ring) {
            return Ok(false);
        }
        let permit = tokio::select! {
            () = shared.stop.cancelled() => return Err(Stopped),
            permit = shared.in_flight.clone().acquire_owned() => permit.map_err(|_| Stopped)?,
        };
        let (change, share) = (change.map(Arc::new), Arc::new(permit));
        for key in shared.keys(&ring) {
            let (change, share) = (change.clone(), Some(share.clone()));
            let offered = shared.lanes().offer(key, ring.version, change, share);
            if offered == Offered::Opened {
                self.open(key);
            }
        }
        Ok(true)
    }

    /// Whether a consumer has neither handled the event nor is about to.
    fn is_news(&self, ring: &Ring) -> bool {
        let mut lanes = self.shared.lanes();
        let is_news = |key: LaneKey| lanes.is_open(key.slot) && !lanes.knows(key, ring.version);
        self.shared.keys(ring).any(is_news)
    }

    /// Returns when every consumer has handled the version and stored its cursor.
    pub(crate) async fn settle(&self, ring: &Ring) -> Result<(), Stopped> {
        let waiting: Vec<_> = self
            .shared
            .keys(ring)
            .map(|key| {
                let (settled, waiter) = oneshot::channel();
                let mut lanes = self.shared.lanes();
                let offered = lanes.offer(key, ring.version, None, None);
                if offered != Offered::Refused {
                    lanes.wait(key, ring.version, settled);
                }
                drop(lanes);
                match offered {
                    Offered::Opened => self.open(key),
                    Offered::Refused => return Err(Stopped),
                    Offered::Known | Offered::Joined => {}
                }
                Ok(waiter)
            })
            .collect::<Result<_, _>>()?;
        for waiter in waiting {
            tokio::select! {
                () = self.shared.stop.cancelled() => return Err(Stopped),
                settled = waiter => settled.map_err(|_| Stopped)?,
            }
        }
        let mut lanes = self.shared.lanes();
        self.shared.keys(ring).for_each(|key| lanes.confirm(key, ring.version));
        Ok(())
    }

    /// Cancelled when an event cannot be handled.
    pub(crate) fn failed(&self) -> &CancellationToken {
        &self.shared.failed
    }

    /// Finishes what is in hand and begins nothing further. Returns what went wrong, if anything did.
    pub(crate) async fn stop(&self) -> Option<GroupError> {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn open(&self, key: LaneKey) {
        let shared = self.shared.clone();
        self.shared.tasks.spawn(async move {
            let worked = AssertUnwindSafe(shared.work(key)).catch_unwind().await;
            let failure = match worked {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure,
                Err(_) => {
                    let (consumer, event) = shared.name(key);
                    GroupError::Panicked { consumer, event }
                }
            };
            shared.lanes().abandon(key);
            shared.fail(failure);
        });
    }
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        lock(&self.lanes)
    }

    /// The lanes that an event goes to.
    fn keys<'a>(&'a self, ring: &'a Ring) -> impl Iterator<Item = LaneKey> + 'a {
        let wants = move |consumer: &Arc<dyn ChangeConsumer>| {
            ring.aggregate_type.as_deref().is_none_or(|of_type| consumer.wants(of_type))
        };
        let aggregate_id = ring.aggregate_id;
        let slot = slot_of(aggregate_id, self.parts.slots);
        let consumers = self.parts.consumers.iter().enumerate();
        consumers.filter(move |(_, consumer)| wants(consumer)).map(move |(consumer, _)| LaneKey {
            slot,
            aggregate_id,
            consumer,
        })
    }

    /// Works a lane until it is done, the sequencer stops, or an event cannot be handled.
    async fn work(&self, key: LaneKey) -> Result<(), GroupError> {
        let mut backoff = Backoff::new(self.config.backoff);
        let stop = self.lanes().stop_of(key.slot);
        let mut place = self.place(&stop).await;
        loop {
            let step = self.lanes().next(key);
            let what = step.name();
            if matches!(step, Step::Done) {
                return Ok(());
            }
            let pass = self.pass(key, &step, &mut place, &stop).await;
            match &step {
                // What was done is written down, nothing else begins.
                Step::Flush(_) => {}
                _ if stop.is_cancelled() || !self.parts.fence.may_begin(key.slot) => {
                    self.lanes().abandon(key);
                    return Ok(());
                }
                _ => {}
            }
            let performed = self.perform(key, &step).await;
            if let Some(pass) = pass {
                tell(pass, key, &performed);
            }
            let failure = match performed {
                Ok(()) => {
                    backoff.reset();
                    continue;
                }
                Err(failure) => failure,
            };
            if self.refuse(key, &step, &failure) {
                backoff.reset();
                continue;
            }
            if failure.class != ErrorClass::Transport {
                let (consumer, event) = self.name(key);
                return Err(GroupError::Event { consumer, event, source: failure });
            }
            self.note_retry(key, what, backoff.attempts(), &failure);
            self.lanes().shed(key);
            drop(place);
            if !backoff.pause(&stop).await || !self.may_retry(&stop).await {
                self.lanes().abandon(key);
                return Ok(());
            }
            place = self.place(&stop).await;
        }
    }

    /// Whether the failure is dealt with by writing the event into a letter, or by reading events one
    /// at a time until the one that cannot be read is found.
    fn refuse(&self, key: LaneKey, step: &Step, failure: &HandleError) -> bool {
        match (step, failure.class) {
            (Step::Handle { .. }, ErrorClass::Poison) => {}
            (Step::Handle { .. }, ErrorClass::Transport)
                if self.is_lonely(key) || defect("outage-dead-lettered") => {}
            (Step::Heal { .. } | Step::Tail { .. }, ErrorClass::Poison) => {
                if !self.lanes().unreadable(key) {
                    return true;
                }
            }
            _ => return false,
        }
        let (_, event) = self.name(key);
        let (event, error) = (*event, chain(failure).to_string());
        self.lanes().refused(key, Refusal { event, class: failure.class, error });
        true
    }

    /// Whether the target refuses only a few, and has refused this aggregate often enough.
    fn is_lonely(&self, key: LaneKey) -> bool {
        let alone = lock(&self.lonely[key.consumer]).failed(key.aggregate_id);
        alone >= self.config.lonely_failures_max
    }

    /// A place among the aggregates that run in parallel; `None` when `stop` came first.
    async fn place(&self, stop: &CancellationToken) -> Option<SemaphorePermit<'_>> {
        tokio::select! {
            () = stop.cancelled() => None,
            // Errs when the semaphore is closed, which never happens.
            place = self.parallel.acquire() => place.ok(),
        }
    }

    /// Waits for the process's budget of repeated attempts. False when `stop` came first.
    async fn may_retry(&self, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = stop.cancelled() => false,
            () = self.retries.take() => true,
        }
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
        let consumer = &self.parts.consumers[key.consumer];
        let target = match step {
            Step::Handle { change, .. } if !consumer.wants(&change.event.aggregate_type) => {
                return None;
            }
            Step::Handle { .. } => consumer.target(),
            _ => database::TARGET,
        };
        let breaker = self.parts.breakers.of(target);
        if stop.is_cancelled() {
            return None;
        }
        if let Ok(pass) = breaker.try_pass() {
            return Some(pass);
        }
        *place = None;
        let pass = tokio::select! {
            () = stop.cancelled() => return None,
            pass = breaker.pass() => pass,
        };
        *place = self.place(stop).await;
        Some(pass)
    }

    async fn perform(&self, key: LaneKey, step: &Step) -> Result<(), HandleError> {
        let consumer = &self.parts.consumers[key.consumer];
        match step {
            Step::Load => {
                metrics::CURSORS.with_label_values(&["read"]).inc();
                let cursor = self.parts.cursors.read(key.aggregate_id, consumer.name()).await?;
                self.lanes().loaded(key, cursor);
            }
            Step::Handle { change, view } if consumer.wants(&change.event.aggregate_type) => {
                self.handle(key, change, view.as_deref()).await?;
            }
            Step::Handle { change, .. } => self.lanes().passed(key, change.event.version.0),
            Step::Flush(cursor) => {
                metrics::CURSORS.with_label_values(&["write"]).inc();
                let (id, name) = (key.aggregate_id, consumer.name());
                self.parts.cursors.write(id, name, cursor).await?;
                crash_point("cdc.cursor-stored");
                self.lanes().flushed(key);
            }
            Step::Heal { after, wanted, is_gap, singly } => {
                self.heal(key, *after, *wanted, *is_gap, *singly).await?;
            }
            Step::Block(refusal) => self.block(key, refusal).await?,
            Step::Ask => {
                let letter = self.parts.letters.read(self.letter_key(key)).await?;
                self.lanes().answered(key, letter);
            }
            Step::Tail { after, singly } => {
                let limit = self.heal_limit(*singly);
                let events = self.parts.events.after(key.aggregate_id, *after, limit).await?;
                self.lanes().looked_at_tail(key, events);
            }
            Step::Finish(change) => {
                self.parts.letters.finish(self.letter_key(key), *change).await?;
                self.lanes().finished(key);
            }
            Step::Done => {}
        }
        Ok(())
    }

    async fn handle(
        &self,
        key: LaneKey,
        change: &Change,
        view: Option<&str>,
    ) -> Result<(), HandleError> {
        let consumer = &self.parts.consumers[key.consumer];
        let version = change.event.version.0;
        let slot = key.slot;
        let is_suspect = || lock(&self.suspects).any_in(slot);
        let alone = if is_suspect() { Some(self.one_suspect.lock().await) } else { None };
        // Those before it may have been the last.
        let alone = alone.filter(|_| is_suspect());
        let is_suspect = alone.is_some();
        if is_suspect && !self.parts.fence.may_begin(slot) {
            // It took long until it was its turn. The next step is not made.
            return Ok(());
        }
        if is_suspect {
            self.begin_attempt(key, version).await?;
        }
        let handled = consumer::handle(&**consumer, change, view).await;
        drop(alone);
        let is_over = handled.as_ref().err().is_none_or(|e| e.class != ErrorClass::Transport);
        if is_suspect && is_over {
            lock(&self.suspects).clear(slot, key, version);
        }
        let view = handled?.map(Into::into);
        lock(&self.lonely[key.consumer]).handled(key.aggregate_id);
        metrics::HANDLED.with_label_values(&[consumer.name()]).inc();
        crash_point("cdc.handled");
        self.lanes().handled(key, Cursor { version, view });
        Ok(())
    }

    /// Records an attempt of which the process may die. Errs when too many died of the event.
    async fn begin_attempt(&self, key: LaneKey, version: u64) -> Result<(), HandleError> {
        if !lock(&self.suspects).is_new(key, version) {
            return Ok(());
        }
        let before = self.parts.letters.begin_attempt(self.letter_key(key), version).await?;
        if before >= self.config.crash_attempts_max {
            return Err(HandleError {
                class: ErrorClass::Poison,
                what: format!("the process ended {before} times while it handled the event"),
                source: None,
            });
        }
        lock(&self.suspects).record(key, version);
        Ok(())
    }

    /// Writes the refused event down; only then is its aggregate blocked.
    async fn block(&self, key: LaneKey, refusal: &Refusal) -> Result<(), HandleError> {
        let letter_key = self.letter_key(key);
        self.parts.letters.block(letter_key, refusal).await?;
        let Refusal { event, class, error } = refusal;
        let (consumer, class) = (letter_key.consumer, class.name());
        event.about().in_scope(|| {
            warn!(consumer, %event, class, error, "dead letter: the aggregate waits");
        });
        metrics::LETTERS.with_label_values(&[consumer, class]).inc();
        lock(&self.lonely[key.consumer]).forget(key.aggregate_id);
        self.lanes().suspended(key);
        Ok(())
    }

    fn letter_key(&self, key: LaneKey) -> LetterKey<'_> {
        let LaneKey { slot, aggregate_id, consumer } = key;
        LetterKey { consumer: self.parts.consumers[consumer].name(), slot, aggregate_id }
    }

    /// Events read at once; where one of them cannot be read, they are read one at a time.
    fn heal_limit(&self, singly: bool) -> u32 {
        if singly { 1 } else { self.config.heal_events }
    }

    async fn heal(
        &self,
        key: LaneKey,
        after: u64,
        wanted: u64,
        is_gap: bool,
        singly: bool,
    ) -> Result<(), HandleError> {
        let id = key.aggregate_id;
        if defect("gap-healing-off") {
            self.lanes().skip(key, wanted);
            return Ok(());
        }
        if is_gap {
            debug!(aggregate_id = %id, after, announced = wanted, "gap in front of a version");
            metrics::GAPS_DETECTED.inc();
        }
        let limit = self.heal_limit(singly);
        let events = self.parts.events.after(id, after, limit).await?;
        let reached = contiguous_until(after, &events).filter(|reached| {
            *reached >= wanted || events.len() >= usize::try_from(limit).unwrap_or(usize::MAX)
        });
        let Some(reached) = reached else {
            let versions: Vec<u64> = events.iter().map(|event| event.version.0).collect();
            return Err(HandleError {
                class: ErrorClass::Transport,
                what: format!(
                    "heal aggregate {id} after version {after}: version {wanted} is announced, \
                     the event store answered {versions:?}"
                ),
                source: None,
            });
        };
        self.lanes().healed(key, events, reached >= wanted);
        if is_gap {
            metrics::GAPS_HEALED.inc();
        }
        Ok(())
    }

    /// Says once that something is out of reach, then less and less often.
    fn note_retry(&self, key: LaneKey, what: &str, attempts: u32, error: &HandleError) {
        metrics::RETRIES.with_label_values(&[what]).inc();
        if attempts.is_power_of_two() {
            let (consumer, event) = self.name(key);
            let error = chain(error).to_string();
            event.about().in_scope(|| {
                warn!(consumer, %event, what, attempts, error, "trying again until it succeeds");
            });
        }
    }

    fn fail(&self, failure: GroupError) {
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        // The first failure is the cause; others may follow from it.
        first.get_or_insert(failure);
        drop(first);
        self.stop.cancel();
        self.failed.cancel();
    }

    /// The consumer and the event that a lane has in hand.
    fn name(&self, key: LaneKey) -> (String, Box<EventName>) {
        let (version, change): (u64, Option<Arc<Change>>) = self.lanes().in_hand(key);
        let name = match change {
            Some(change) => EventName::of(&change.event),
            None => EventName::unread(key.aggregate_id, version),
        };
        (self.parts.consumers[key.consumer].name().to_owned(), Box::new(name))
    }
}

/// Tells a circuit breaker what came of a step.
fn tell(pass: Pass, key: LaneKey, performed: &Result<(), HandleError>) {
    match performed {
        Err(failure) if failure.class == ErrorClass::Transport => pass.failed(key.aggregate_id),
        // Whoever refuses an event is there.
        Ok(()) | Err(_) => pass.succeeded(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last of the versions `after + 1`, `after + 2`, …; `None` when there is a hole among them.
fn contiguous_until(after: u64, events: &[RecordedEvent]) -> Option<u64> {
    events
        .iter()
        .try_fold(after, |before, event| (event.version.0 == before + 1).then_some(before + 1))
}
