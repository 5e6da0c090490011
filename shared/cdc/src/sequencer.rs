//! Rows in any order, doubled or missing, become events in order, once.
//!
//! The reader [`submit`](Sequencer::submit)s what it finds; each aggregate in each consumer has a
//! lane ([`crate::lanes`]) of its own, worked by one task at a time: load the cursor, drop what is
//! at or before it, read from the event store what is missing before an announced version, hand the
//! next event to the consumer, then store the cursor. Aggregates run in parallel under a bound.
//!
//! The confirm pass asks by [`settle`](Sequencer::settle) that a version be handled and waits for it.
//!
//! A failure that may pass is repeated for ever with growing pauses, and stops its own lane only. Any
//! other ends the sequencer: [`failed`](Sequencer::failed) is cancelled and the cursor stays before
//! the event. After [`stop`](Sequencer::stop) the event in hand is finished and its cursor stored,
//! nothing further begins; [`close`](Sequencer::close) does the same for one slot. Before each step
//! the [`Fence`] is asked whether the slot is still this process's.

use crate::config::CdcConfig;
use crate::consumer::{Change, ChangeConsumer, ErrorClass, HandleError};
use crate::cursors::LaneKey;
use crate::error::{EventName, GroupError};
use crate::generation::token_of;
use crate::lanes::{Lanes, Offered, Step};
use crate::metrics;
use crate::source::{Cursor, CursorStore, EventSource, Fence, LogRow, Ring};
use domain::RecordedEvent;
use futures::FutureExt;
use runtime::test_hooks::{crash_point, defect};
use runtime::{Backoff, chain};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, oneshot};
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
    tasks: TaskTracker,
    stop: CancellationToken,
    failed: CancellationToken,
    failure: Mutex<Option<GroupError>>,
}

impl Sequencer {
    pub(crate) fn new(parts: Parts, config: &CdcConfig) -> Self {
        let lanes = Lanes::new(config.cursors_cached_max, config.events_per_aggregate_max);
        Self {
            shared: Arc::new(Shared {
                parts,
                config: config.clone(),
                lanes: Mutex::new(lanes),
                in_flight: Arc::new(Semaphore::new(config.events_in_flight_max)),
                parallel: Semaphore::new(config.aggregates_in_parallel_max),
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
        let draining = self.shared.lanes().close_slot(slot);
        if let Some(draining) = draining {
            // Errs when the sequencer is dropped, and with it whatever was in hand.
            let _ = draining.await;
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
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lanes that an event goes to.
    fn keys<'a>(&'a self, ring: &'a Ring) -> impl Iterator<Item = LaneKey> + 'a {
        let wants = move |consumer: &Arc<dyn ChangeConsumer>| {
            ring.aggregate_type.as_deref().is_none_or(|of_type| consumer.wants(of_type))
        };
        let aggregate_id = ring.aggregate_id;
        let slot = leases::slot_of(token_of(aggregate_id), self.parts.slots);
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
            let what = match &step {
                Step::Done => return Ok(()),
                Step::Flush(_) => "flush",
                _ if stop.is_cancelled() || !self.parts.fence.may_begin(key.slot) => {
                    self.lanes().abandon(key);
                    return Ok(());
                }
                Step::Load => "load",
                Step::Heal { .. } => "heal",
                Step::Handle { .. } => "handle",
            };
            match self.perform(key, step).await {
                Ok(()) => backoff.reset(),
                Err(error) if error.class == ErrorClass::Transport => {
                    self.note_retry(key, what, backoff.attempts(), &error);
                    self.lanes().shed(key);
                    drop(place);
                    if !backoff.pause(&stop).await {
                        self.lanes().abandon(key);
                        return Ok(());
                    }
                    place = self.place(&stop).await;
                }
                Err(source) => {
                    let (consumer, event) = self.name(key);
                    return Err(GroupError::Event { consumer, event, source });
                }
            }
        }
    }

    /// A place among the aggregates that run in parallel; `None` when `stop` came first.
    async fn place(&self, stop: &CancellationToken) -> Option<tokio::sync::SemaphorePermit<'_>> {
        tokio::select! {
            () = stop.cancelled() => None,
            // Errs when the semaphore is closed, which never happens.
            place = self.parallel.acquire() => place.ok(),
        }
    }

    async fn perform(&self, key: LaneKey, step: Step) -> Result<(), HandleError> {
        let consumer = &self.parts.consumers[key.consumer];
        match step {
            Step::Load => {
                metrics::CURSORS.with_label_values(&["read"]).inc();
                let cursor = self.parts.cursors.read(key.aggregate_id, consumer.name()).await?;
                self.lanes().loaded(key, cursor);
            }
            Step::Handle { change, view } if consumer.wants(&change.event.aggregate_type) => {
                let view = consumer.handle(&change, view.as_deref()).await?.map(Into::into);
                metrics::HANDLED.with_label_values(&[consumer.name()]).inc();
                crash_point("cdc.handled");
                self.lanes().handled(key, Cursor { version: change.event.version.0, view });
            }
            Step::Handle { change, .. } => self.lanes().passed(key, change.event.version.0),
            Step::Flush(cursor) => {
                metrics::CURSORS.with_label_values(&["write"]).inc();
                let (id, name) = (key.aggregate_id, consumer.name());
                self.parts.cursors.write(id, name, &cursor).await?;
                crash_point("cdc.cursor-stored");
                self.lanes().flushed(key);
            }
            Step::Heal { after, wanted, is_gap } => self.heal(key, after, wanted, is_gap).await?,
            Step::Done => {}
        }
        Ok(())
    }

    async fn heal(
        &self,
        key: LaneKey,
        after: u64,
        wanted: u64,
        is_gap: bool,
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
        let limit = self.config.heal_events;
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
            warn!(consumer, %event, what, attempts, error, "trying again until it succeeds");
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
        let event = change.as_deref().map(|change| &change.event);
        let name = EventName {
            event_id: event.map(|event| event.event_id),
            event_type: event.map(|event| event.event_type.clone()),
            aggregate_id: key.aggregate_id,
            version,
        };
        (self.parts.consumers[key.consumer].name().to_owned(), Box::new(name))
    }
}

/// The last of the versions `after + 1`, `after + 2`, …; `None` when there is a hole among them.
fn contiguous_until(after: u64, events: &[RecordedEvent]) -> Option<u64> {
    events
        .iter()
        .try_fold(after, |before, event| (event.version.0 == before + 1).then_some(before + 1))
}
