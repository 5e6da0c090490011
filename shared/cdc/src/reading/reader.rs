//! Reads the log for a group: which slots and streams, by which pass, and until when.
//!
//! Slots come and go by the [`Leases`]. One that comes is [admitted](crate::reading::admission): it
//! starts at its checkpoint, and what lies between there and where the others are is read beside them. One that
//! goes is closed: nothing of it begins any more, what is in hand is finished, and then it is released
//! with its last checkpoint; or forgotten, when it is lost.
//!
//! The streams of each generation that is [followed](crate::reading::streams) are cut into chunks,
//! each read by a task of the [fast pass](crate::reading::fast_pass); the
//! [confirm pass](crate::reading::confirm_pass) runs here.

use super::{
    Reading,
    admission::{Admission, Start},
    checkpoints::{self, failed as slots_failed},
    confirm_pass::{ConfirmPass, Passed},
    fast_pass::FastPass,
    generation::{Generation, needed},
    streams::{Following, Gained},
};
use crate::config::millis;
use crate::consumer::ErrorClass;
use crate::error::{GroupError, StoreError};
use crate::log_time::{LogTime, Window};
use crate::retries::Retries;
use crate::source::Checkpoint;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use leases::{Held, Leases, Phase, Slot};
use runtime::{Backoff, chain};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Why a reader ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to, or the sequencer failed.
    Stopped,
    /// It lost its place in the log: everything has to begin anew.
    Lost {
        /// Why.
        reason: &'static str,
    },
}

/// Where a slot is between its take and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where it starts is being found out.
    Admitting,
    Working,
    /// What is in hand is being finished.
    Closing,
}

/// Something that was done for slots.
enum Done {
    Admitted { slots: Vec<Slot>, admission: Result<Admission, StoreError> },
    Closed(Slot),
}

/// The reader of one group.
pub(crate) struct Reader {
    pub(super) reading: Reading,
    pub(super) fast: Arc<FastPass>,
    pub(super) confirm: ConfirmPass,
    places: BTreeMap<Slot, Place>,
    doing: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(super) ahead: Option<Window>,
    pub(super) following: Vec<Following>,
    pub(super) chunks: JoinSet<Result<(), StoreError>>,
    pub(super) stop: CancellationToken,
}

impl Reader {
    /// A reader without slots, for which `newest` is the newest generation known. Slots come by the
    /// leases.
    pub(crate) fn start(reading: Reading, newest: Generation, stop: &CancellationToken) -> Self {
        let fast = FastPass { reading: reading.clone(), chunks: AtomicUsize::new(0) };
        let mut reader = Self {
            fast: Arc::new(fast),
            confirm: ConfirmPass::new(reading.clone()),
            reading,
            places: BTreeMap::new(),
            doing: FuturesUnordered::new(),
            ahead: None,
            following: Vec::new(),
            chunks: JoinSet::new(),
            stop: stop.child_token(),
        };
        reader.follow(newest);
        reader
    }

    /// Reads until told to stop, the sequencer fails, or rows may have expired. Then stores the
    /// checkpoints.
    pub(crate) async fn run(mut self) -> Result<Ended, GroupError> {
        let ended = self.read().await;
        self.stop.cancel();
        while self.chunks.join_next().await.is_some() {}
        self.confirm.store_all().await;
        for slot in self.confirm.slots() {
            self.confirm.dismiss(slot);
        }
        ended
    }

    async fn read(&mut self) -> Result<Ended, GroupError> {
        let Reading { around, clock, sequencer } = self.reading.clone();
        let stop = self.stop.clone();
        let mut newer = self.watch();
        let mut changes = around.leases.changes();
        self.compare_with_leases();
        let mut confirm_at = Instant::now();
        let pauses = around.config.backoff;
        let mut retries = Retries::new(Some("confirm"), "confirm the log", pauses);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(Ended::Stopped),
                () = sequencer.failed().cancelled() => return Ok(Ended::Stopped),
                () = clock.stepped_back().cancelled() => {
                    return Ok(Ended::Lost { reason: "the database's clock stepped back" });
                }
                Some(ended) = self.chunks.join_next() => chunk_ended(ended)?,
                Some(generation) = newer.recv() => self.follow(generation),
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Ok(Ended::Stopped);
                    }
                    self.compare_with_leases();
                }
                Some(done) = self.doing.next() => self.done(done)?,
                settled = self.confirm.next_settled() => {
                    settled.map_err(|source| database("store a checkpoint", source))?;
                    if !self.confirm.is_settling() && self.is_behind() {
                        confirm_at = Instant::now();
                    }
                }
                () = tokio::time::sleep_until(confirm_at) => {
                    confirm_at = Instant::now() + millis(around.config.confirm_interval_ms);
                    let active: Vec<_> = self.following.iter().map(|f| f.active.clone()).collect();
                    let passed = stop.run_until_cancelled(self.confirm.pass(&active)).await;
                    match passed.unwrap_or(Ok(Passed::Through)) {
                        Ok(Passed::Expired) => {
                            let reason = "unconfirmed rows may have expired";
                            return Ok(Ended::Lost { reason });
                        }
                        Ok(Passed::Through) => retries.reset(),
                        // The next pass comes after the interval, as always.
                        Err(error) if error.class == ErrorClass::Transport => {
                            retries.failed(&error);
                        }
                        Err(error) => return Err(database("confirm the CDC log", error)),
                    }
                    self.retire();
                }
            }
        }
    }

    /// Whether another confirm pass could go on at once.
    fn is_behind(&self) -> bool {
        let Ok(limit) = self.reading.clock.settled_until() else { return false };
        let config = &self.reading.around.config;
        let interval = millis(config.confirm_interval_ms) * 2;
        self.confirm.lag_behind(limit) > interval.max(millis(config.window_ms_max))
    }

    /// Begins what the leases ask for.
    fn compare_with_leases(&mut self) {
        let mut fresh = BTreeMap::new();
        let mut is_smaller = false;
        for (slot, Held { phase, state }) in self.reading.around.leases.held() {
            match (self.places.get(&slot), phase) {
                (None, Phase::Held) => {
                    fresh.insert(slot, state);
                }
                (None, Phase::Lost) => self.reading.around.leases.forget(slot),
                (None | Some(Place::Working), _) if phase != Phase::Held => {
                    self.close(slot);
                    is_smaller = true;
                }
                _ => {}
            }
        }
        if is_smaller {
            self.rearrange(&BTreeMap::new());
        }
        if !fresh.is_empty() {
            let slots: Vec<Slot> = fresh.keys().copied().collect();
            self.places.extend(slots.iter().map(|slot| (*slot, Place::Admitting)));
            let reading = self.reading.clone();
            self.doing.push(Box::pin(async move {
                Done::Admitted { slots, admission: reading.prepare(fresh).await }
            }));
        }
    }

    /// Begins to end the work on a slot: what is in hand is finished. Then its checkpoint is stored and
    /// it is released, or it is forgotten when it is lost.
    fn close(&mut self, slot: Slot) {
        self.places.insert(slot, Place::Closing);
        let checkpoint = self.confirm.dismiss(slot);
        let Reading { around, sequencer, .. } = self.reading.clone();
        self.doing.push(Box::pin(async move {
            sequencer.close(slot).await;
            let (leases, mut backoff) = (&around.leases, Backoff::new(around.config.backoff));
            while leases.held().get(&slot).is_some_and(|held| held.phase != Phase::Lost) {
                match give_up(leases, slot, checkpoint).await {
                    Ok(()) => return Done::Closed(slot),
                    Err(error) => {
                        let error = chain(&error).to_string();
                        warn!(slot = slot.0, error, "slot not released, trying again");
                    }
                }
                tokio::time::sleep(backoff.next_pause()).await;
            }
            leases.forget(slot);
            Done::Closed(slot)
        }));
    }

    fn done(&mut self, done: Done) -> Result<(), GroupError> {
        match done {
            Done::Admitted { slots, admission } => {
                for slot in slots {
                    self.places.remove(&slot);
                }
                let admission = admission
                    .map_err(|source| database("find the place of slots in the log", source))?;
                self.admit(admission);
            }
            Done::Closed(slot) => {
                self.places.remove(&slot);
            }
        }
        // The leases may have changed meanwhile.
        self.compare_with_leases();
        Ok(())
    }

    /// Begins to work on slots whose start is known.
    fn admit(&mut self, admission: Admission) {
        let Admission { slots, starts, generations, scans, ahead } = admission;
        let held = self.reading.around.leases.held();
        let is_held = |start: &Start| {
            let found = held.get(&start.slot);
            found.is_some_and(|held| held.phase == Phase::Held && held.state.epoch == start.epoch)
        };
        self.ahead = merged(self.ahead, ahead);
        for generation in generations {
            let newest = self.following.last().map(|following| following.active.start);
            if newest.is_none_or(|newest| newest < generation.start) {
                // It concerns those that are here as well.
                self.follow(generation);
            } else if !self.is_followed(generation.start) {
                self.add(generation);
            }
        }
        let mut gained = Gained::new();
        let restart = self.reading.clock.restart_point();
        let newest = starts.last().copied().unwrap_or(LogTime::ZERO);
        let mut admitted = Vec::new();
        for start in slots.into_iter().filter(is_held) {
            let Start { slot, epoch, checkpoint, crashes, letters } = start;
            self.places.insert(slot, Place::Working);
            self.reading.sequencer.open_slot(slot, crashes, letters);
            self.confirm.admit(slot, epoch, checkpoint);
            let at = Checkpoint { time: checkpoint.time.min(restart), ..checkpoint };
            let needed = needed(&starts, &[at]);
            for following in &self.following {
                let generation = following.active.start;
                if (needed.contains(&generation) || generation > newest)
                    && let Some(start) = self.confirm.join(slot, generation)
                {
                    gained.entry(generation).or_default().insert(slot, start);
                }
            }
            admitted.push(slot);
        }
        self.rearrange(&gained);
        debug!(slots = ?admitted, "slots admitted");
        let scans: Vec<_> =
            scans.into_iter().filter(|scan| admitted.contains(&scan.slot)).collect();
        if !scans.is_empty() {
            let (reading, stop) = (self.reading.clone(), self.stop.clone());
            self.chunks.spawn(async move {
                stop.run_until_cancelled(reading.catch_up(scans)).await;
                Ok(())
            });
        }
    }
}

/// Stores the last checkpoint of a slot of which nothing is in hand, and gives it up.
async fn give_up(
    leases: &Leases,
    slot: Slot,
    checkpoint: Option<Checkpoint>,
) -> Result<(), StoreError> {
    if let Some(checkpoint) = checkpoint {
        checkpoints::save(leases, slot, checkpoint).await?;
    }
    leases.release(slot).await.map_err(slots_failed)
}

fn merged(one: Option<Window>, other: Option<Window>) -> Option<Window> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Window::new(one.from.min(other.from), one.to.max(other.to)))
        }
        (one, other) => one.or(other),
    }
}

fn chunk_ended(
    ended: Result<Result<(), StoreError>, tokio::task::JoinError>,
) -> Result<(), GroupError> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(database("read the CDC log", source)),
        Err(error) => {
            let what = "follow a part of the CDC log";
            Err(database("read the CDC log", StoreError::new(ErrorClass::Fatal, what, error)))
        }
    }
}

pub(crate) fn database(doing: &'static str, source: StoreError) -> GroupError {
    GroupError::Database { doing, source }
}
