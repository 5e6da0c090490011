//! The pass that makes the promise: nothing announced is skipped, and checkpoints are truthful.
//!
//! Every second or two it reads the keys of what lies between a slot's confirmed position and now
//! minus the safety interval. By then every row is visible: an announcement is acknowledged within
//! half the safety interval after its timestamp, and the other half covers clocks. Each version found
//! is settled: its cursor is at or beyond it in every consumer that wants it, or it is handled now.
//! Only then does the position move; the checkpoint is the position, stored every few seconds. An
//! idle slot's moves too.
//!
//! Slots move independently: one that waits for an event holds only itself. A position never passes
//! what the fast pass has read, which would otherwise find its work done from the event store.
//!
//! Slots come with their checkpoint and go with what is settled of them; those that are far apart have
//! windows of their own, so that one which was just taken does not hold the others.
//!
//! Positions are kept per generation, so that the streams of one found late are read from their
//! beginning without moving the others back; the checkpoint is the least of them.

use super::{
    Reading, checkpoints,
    clock::Hold,
    generation::Slots,
    progress::{ActiveGeneration, SlotProgress},
};
use crate::config::millis;
use crate::consumer::ErrorClass;
use crate::error::StoreError;
use crate::log_time::{LogTime, Window};
use crate::metrics;
use crate::ordering::Stopped;
use crate::source::{Announcement, Checkpoint, Detail};
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use leases::{Epoch, Slot};
use runtime::chain;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use uuid::Uuid;

/// What a slot's settling came to.
struct Settled {
    slot: Slot,
    epoch: Epoch,
    reached: Vec<(LogTime, LogTime)>,
    /// Whether the checkpoint was stored; `None` when it was not due.
    stored: Option<Result<(), StoreError>>,
    checkpoint: Checkpoint,
}

/// What is to be settled before a slot's positions move.
#[derive(Default)]
struct Work {
    reached: Vec<(LogTime, LogTime)>,
    /// Newest version found, by aggregate.
    found: HashMap<Uuid, Announcement>,
}

/// The slots' progress, and what is being settled.
pub(super) struct ConfirmPass {
    reading: Reading,
    slots: BTreeMap<Slot, SlotProgress>,
    settling: FuturesUnordered<BoxFuture<'static, Result<Settled, Stopped>>>,
    is_held: bool,
}

/// How a pass went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// What could be confirmed is being settled.
    Through,
    /// Rows that were not confirmed may have expired.
    Expired,
}

impl ConfirmPass {
    pub(super) fn new(reading: Reading) -> Self {
        Self { reading, slots: BTreeMap::new(), settling: FuturesUnordered::new(), is_held: false }
    }

    /// Takes a slot in, which continues from its checkpoint.
    pub(super) fn admit(&mut self, slot: Slot, epoch: Epoch, checkpoint: Checkpoint) {
        self.slots.insert(slot, SlotProgress::new(epoch, checkpoint));
    }

    /// Lets a slot go; gives the checkpoint that would be true and is not stored yet.
    pub(super) fn dismiss(&mut self, slot: Slot) -> Option<Checkpoint> {
        let progress = self.slots.remove(&slot)?;
        let label = slot.to_string();
        for consumer in self.reading.around.names() {
            // Errs when it was never reported.
            let _ = metrics::LAG.remove_label_values(&[consumer, &label]);
        }
        let _ = metrics::TTL_HEADROOM.remove_label_values(&[&label]);
        let _ = metrics::CATCH_UP.remove_label_values(&[&label]);
        let checkpoint = progress.checkpoint_after(&[]);
        (checkpoint != progress.checkpoint).then_some(checkpoint)
    }

    /// The slots that are here.
    pub(super) fn slots(&self) -> BTreeSet<Slot> {
        self.slots.keys().copied().collect()
    }

    /// The slots that read a generation's streams.
    pub(super) fn slots_in(&self, generation: LogTime) -> Slots {
        let here = self.slots.iter().filter(|(_, s)| s.positions.contains_key(&generation));
        Slots::some(self.reading.around.slots, here.map(|(slot, _)| *slot))
    }

    /// Takes a generation into a slot; gives the position from which its streams are to be read.
    pub(super) fn join(&mut self, slot: Slot, generation: LogTime) -> Option<LogTime> {
        let restart = self.reading.clock.restart_point();
        self.slots.get_mut(&slot).map(|slot| slot.join(generation, restart))
    }

    /// Starts settling what can be confirmed now. An error means that the log was not read.
    pub(super) async fn pass(
        &mut self,
        generations: &[ActiveGeneration],
    ) -> Result<Passed, StoreError> {
        // Also while the pass holds: a lag that grows must be seen.
        if self.report(self.reading.clock.due_until()) {
            return Ok(Passed::Expired);
        }
        let Some(limit) = self.limit() else { return Ok(Passed::Through) };
        let mut work: BTreeMap<Slot, Work> = BTreeMap::new();
        for generation in generations {
            for (window, slots) in self.windows(generation, limit) {
                self.read(generation, window, &slots, &mut work).await?;
            }
        }
        for (slot, work) in work {
            self.settle(slot, work);
        }
        Ok(Passed::Through)
    }

    /// Waits for the next slot whose positions can move, and moves them. Pending while nothing is
    /// being settled. Errs when a checkpoint cannot be stored and trying again will not help.
    pub(super) async fn next_settled(&mut self) -> Result<(), StoreError> {
        let settled = match self.settling.next().await {
            Some(Ok(settled)) => settled,
            // The slot is closed, or the sequencer stopped; the reader knows.
            Some(Err(Stopped)) => return Ok(()),
            None => return std::future::pending().await,
        };
        let Some(progress) =
            self.slots.get_mut(&settled.slot).filter(|slot| slot.epoch == settled.epoch)
        else {
            return Ok(());
        };
        progress.is_busy = false;
        progress.reach(&settled.reached);
        match settled.stored {
            None => Ok(()),
            Some(Ok(())) => {
                progress.checkpoint = settled.checkpoint;
                progress.stored_at = Instant::now();
                Ok(())
            }
            Some(Err(error)) if error.class == ErrorClass::Transport => {
                // The next one says the same and more.
                let error = chain(&error).to_string();
                warn!(slot = settled.slot.0, error, "checkpoint not stored, trying again");
                Ok(())
            }
            Some(Err(error)) => Err(error),
        }
    }

    /// Whether some slot is being settled.
    pub(super) fn is_settling(&self) -> bool {
        !self.settling.is_empty()
    }

    /// How far the slot that is furthest behind is behind `limit`.
    pub(super) fn lag_behind(&self, limit: LogTime) -> Duration {
        let positions = self.slots.values().flat_map(|slot| slot.positions.values());
        positions.min().map_or(Duration::ZERO, |least| limit.since(*least))
    }

    /// The generation before `next` is needed no longer: every slot is past the change.
    pub(super) fn is_past(&self, generation: LogTime, next: LogTime) -> bool {
        self.slots
            .values()
            .all(|slot| slot.positions.get(&generation).is_none_or(|position| *position >= next))
    }

    pub(super) fn retire(&mut self, generation: LogTime) {
        for slot in self.slots.values_mut() {
            slot.positions.remove(&generation);
        }
    }

    /// Stores every checkpoint that is ahead of what is stored. For the end of the work.
    pub(super) async fn store_all(&mut self) {
        // Nobody looks at these any more, and one that is about to store a checkpoint would keep the
        // slot's row from everybody else for ever.
        self.settling.clear();
        let leases = &self.reading.around.leases;
        join_all(self.slots.iter_mut().map(|(slot, progress)| async move {
            let checkpoint = progress.checkpoint_after(&[]);
            if checkpoint == progress.checkpoint {
                return;
            }
            match checkpoints::save(leases, *slot, checkpoint).await {
                Ok(()) => progress.checkpoint = checkpoint,
                Err(error) => {
                    // What is stored is older and just as true.
                    let error = chain(&error).to_string();
                    warn!(slot = slot.0, error, "last checkpoint not stored");
                }
            }
        }))
        .await;
    }

    /// Up to where rows can be confirmed; `None` while nothing can.
    fn limit(&mut self) -> Option<LogTime> {
        match self.reading.clock.settled_until() {
            Ok(limit) => {
                if std::mem::take(&mut self.is_held) {
                    info!("confirm pass goes on");
                }
                Some(limit)
            }
            // So begins every start.
            Err(Hold::New) => None,
            Err(hold) => {
                if !std::mem::replace(&mut self.is_held, true) {
                    warn!(reason = %hold, "confirm pass holds");
                }
                None
            }
        }
    }

    /// Reports how far each slot is. True when one is so far behind that rows may have expired.
    fn report(&self, due: LogTime) -> bool {
        let mut is_expired = false;
        for (slot, progress) in &self.slots {
            let Some(position) = progress.positions.values().min() else { continue };
            let lag = due.since(*position);
            let label = slot.to_string();
            for consumer in self.reading.around.names() {
                metrics::LAG.with_label_values(&[consumer, &label]).set(lag.as_secs_f64());
            }
            let left = 1.0 - lag.as_secs_f64() / self.reading.around.config.log_ttl_s as f64;
            metrics::TTL_HEADROOM.with_label_values(&[&label]).set(left.max(0.0));
            is_expired |= lag > self.reading.around.config.checkpoint_age_max();
        }
        is_expired
    }

    /// What to read of a generation, and for which slots: those that are close to each other share a
    /// window.
    fn windows(&self, generation: &ActiveGeneration, limit: LogTime) -> Vec<(Window, Vec<Slot>)> {
        let free = self.slots.iter().filter(|(_, progress)| !progress.is_busy);
        let mut waiting: Vec<(LogTime, LogTime, Slot)> = free
            .filter_map(|(slot, progress)| {
                let from = *progress.positions.get(&generation.start)?;
                let until = limit.min(generation.read_until(*slot));
                (from < until).then_some((from, until, *slot))
            })
            .collect();
        waiting.sort_unstable();
        let mut windows = Vec::new();
        while let Some((from, until, _)) = waiting.first().copied() {
            let to = until.min(from.plus(millis(self.reading.around.config.window_ms_max)));
            let is_in = |(from, until, _): &&(LogTime, LogTime, Slot)| *from < to && *until >= to;
            let slots = waiting.iter().filter(is_in).map(|(.., slot)| *slot).collect();
            windows.push((Window::new(from, to), slots));
            // One in between whose streams are not read so far yet has its turn in the next pass.
            waiting.retain(|(from, ..)| *from >= to);
        }
        windows
    }

    /// Adds what the window holds to the work of these slots.
    async fn read(
        // `&mut`: what is being settled is `Send`, not `Sync`.
        &mut self,
        generation: &ActiveGeneration,
        window: Window,
        slots: &[Slot],
        work: &mut BTreeMap<Slot, Work>,
    ) -> Result<(), StoreError> {
        metrics::WINDOW.observe(window.length().as_secs_f64());
        for slot in slots {
            work.entry(*slot).or_default().reached.push((generation.start, window.to));
        }
        let of = Slots::some(self.reading.around.slots, slots.iter().copied());
        for chunk in &generation.chunks {
            let mut next = None;
            loop {
                metrics::QUERIES.with_label_values(&["confirm"]).inc();
                let log = &self.reading.around.log;
                let page = log.read(&chunk.streams, window, Detail::Keys, next).await?;
                metrics::ROWS.with_label_values(&["confirm"]).inc_by(page.rows.len() as u64);
                for row in page.rows {
                    let slot = of.of(row.announcement.aggregate_id);
                    if let Some(work) = slot.and_then(|slot| work.get_mut(&slot)) {
                        work.find(row.announcement);
                    }
                }
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Begins to settle a slot's work; the slot is busy until that is done.
    fn settle(&mut self, slot: Slot, work: Work) {
        let Some(progress) = self.slots.get_mut(&slot) else { return };
        progress.is_busy = true;
        let epoch = progress.epoch;
        let checkpoint = progress.checkpoint_after(&work.reached);
        let is_due = progress.stored_at.elapsed()
            >= millis(self.reading.around.config.checkpoint_interval_ms)
            && checkpoint != progress.checkpoint;
        let Reading { around, sequencer, .. } = self.reading.clone();
        self.settling.push(Box::pin(async move {
            let Work { reached, found } = work;
            sequencer.settle_all(found.into_values()).await?;
            let save = || checkpoints::save(&around.leases, slot, checkpoint);
            let stored = if is_due { Some(save().await) } else { None };
            debug!(slot = slot.0, time = %checkpoint.time, is_due, "slot settled");
            Ok(Settled { slot, epoch, reached, stored, checkpoint })
        }));
    }
}

impl Work {
    /// Versions of one aggregate settle in order, so only the newest has to be waited for.
    fn find(&mut self, announcement: Announcement) {
        let known = self.found.entry(announcement.aggregate_id);
        let known = known.or_insert_with(|| announcement.clone());
        if known.version < announcement.version {
            *known = announcement;
        }
    }
}
