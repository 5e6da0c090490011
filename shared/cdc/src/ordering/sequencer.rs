//! Rows in any order, doubled or missing, become events in order, once.
//!
//! The reader [`submit`](Sequencer::submit)s what it finds; each aggregate in each consumer has a
//! [lane](crate::ordering::lane) of its own, [worked](crate::ordering::worker) by one task at a time:
//! load the cursor, drop what is at or before it, read from the event store what is missing before an
//! announced version, hand the next event to the consumer, then store the cursor. Aggregates run in
//! parallel under a bound.
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
//! begins; [`close`](Sequencer::close) does the same for one slot. Before each step the
//! fence is asked whether the slot is still this process's.

use super::{LaneKey, lanes::Offered, worker::Worker};
use crate::error::GroupError;
use crate::letters::Letter;
use crate::lock;
use crate::source::{Announcement, LogRow};
use crate::surroundings::Surroundings;
use futures::{StreamExt, TryStreamExt};
use leases::Slot;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The sequencer stopped, or the slot is closed: what was asked for is not going to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// Cheap to clone; all clones are one sequencer.
#[derive(Clone)]
pub(crate) struct Sequencer {
    worker: Arc<Worker>,
}

impl Sequencer {
    pub(crate) fn new(around: Arc<Surroundings>) -> Self {
        Self { worker: Arc::new(Worker::new(around)) }
    }

    /// Opens a slot whose owners before died so often in a row, with the letters that it has: the
    /// released ones are finished. Its events are taken from now on.
    pub(crate) fn open_slot(&self, slot: Slot, crashes: u32, letters: Vec<(LaneKey, Letter)>) {
        let worker = &self.worker;
        let parallel = worker.around.config.aggregates_in_parallel_max;
        lock(&worker.suspects).take(slot, crashes, parallel);
        let stop = worker.stop.child_token();
        let opened = worker.lanes().open_slot(slot, stop, letters);
        for key in opened {
            self.open(key);
        }
    }

    /// Closes a slot and returns when nothing of it is in hand any more.
    pub(crate) async fn close(&self, slot: Slot) {
        lock(&self.worker.suspects).forget(slot);
        let draining = self.worker.lanes().close_slot(slot);
        if let Some(draining) = draining {
            // Errs when the sequencer is dropped, and with it all that was in hand.
            let _ = draining.await;
        }
    }

    /// Takes a row of the log; waits while too many events are in flight. True when it was news to
    /// at least one consumer.
    pub(crate) async fn submit(&self, row: LogRow) -> Result<bool, Stopped> {
        let LogRow { announcement, change, .. } = row;
        let worker = &self.worker;
        if worker.stop.is_cancelled() {
            return Err(Stopped);
        }
        if !self.is_news(&announcement) {
            return Ok(false);
        }
        let permit = worker.in_flight.clone().acquire_owned();
        let Some(Ok(permit)) = worker.stop.run_until_cancelled(permit).await else {
            return Err(Stopped);
        };
        let (change, share) = (change.map(Arc::new), Arc::new(permit));
        for key in worker.keys(&announcement) {
            let (change, share) = (change.clone(), Some(share.clone()));
            let offered = worker.lanes().offer(key, announcement.version, change, share);
            if offered == Offered::Opened {
                self.open(key);
            }
        }
        Ok(true)
    }

    /// Whether a consumer has neither handled the event nor is about to.
    fn is_news(&self, announcement: &Announcement) -> bool {
        let (mut lanes, version) = (self.worker.lanes(), announcement.version);
        let is_news = |key: LaneKey| lanes.is_open(key.slot) && !lanes.knows(key, version);
        self.worker.keys(announcement).any(is_news)
    }

    /// Returns when every consumer has handled the version and stored its cursor.
    pub(crate) async fn settle(&self, announcement: &Announcement) -> Result<(), Stopped> {
        let (worker, version) = (&self.worker, announcement.version);
        let mut waiting = Vec::new();
        for key in worker.keys(announcement) {
            let (settled, waiter) = oneshot::channel();
            let mut lanes = worker.lanes();
            let offered = lanes.offer(key, version, None, None);
            if offered != Offered::Refused {
                lanes.wait(key, version, settled);
            }
            drop(lanes);
            match offered {
                Offered::Opened => self.open(key),
                Offered::Refused => return Err(Stopped),
                Offered::Known | Offered::Joined => {}
            }
            waiting.push(waiter);
        }
        for waiter in waiting {
            let Some(Ok(())) = worker.stop.run_until_cancelled(waiter).await else {
                return Err(Stopped);
            };
        }
        let mut lanes = worker.lanes();
        worker.keys(announcement).for_each(|key| lanes.confirm(key, version));
        Ok(())
    }

    /// Settles many, in parallel under the bound.
    pub(crate) async fn settle_all(
        &self,
        announced: impl IntoIterator<Item = Announcement>,
    ) -> Result<(), Stopped> {
        let settling = announced.into_iter().map(|one| async move { self.settle(&one).await });
        let parallel = self.worker.around.config.aggregates_in_parallel_max;
        futures::stream::iter(settling).buffer_unordered(parallel).try_collect().await
    }

    /// Cancelled when an event cannot be handled.
    pub(crate) fn failed(&self) -> &CancellationToken {
        &self.worker.failed
    }

    /// Finishes what is in hand and begins nothing further. Returns what went wrong, if anything did.
    pub(crate) async fn stop(&self) -> Option<GroupError> {
        self.worker.stop.cancel();
        self.worker.tasks.close();
        self.worker.tasks.wait().await;
        lock(&self.worker.failure).take()
    }

    fn open(&self, key: LaneKey) {
        let worker = self.worker.clone();
        self.worker.tasks.spawn(async move { worker.run(key).await });
    }
}
