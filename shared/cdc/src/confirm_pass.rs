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

use crate::checkpoints::Checkpoints;
use crate::clock::{DatabaseClock, Hold};
use crate::config::CdcConfig;
use crate::consumer::{ErrorClass, HandleError};
use crate::fast_pass::Chunk;
use crate::generation::Slots;
use crate::log_time::{LogTime, Window};
use crate::metrics;
use crate::sequencer::{Sequencer, Stopped};
use crate::source::{Checkpoint, Detail, LogSource, Ring};
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use runtime::chain;
use runtime::test_hooks::defect;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use uuid::Uuid;

/// A generation whose streams are being read.
#[derive(Debug, Clone)]
pub(crate) struct ActiveGeneration {
    pub(crate) start: LogTime,
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// What lies between the checkpoints of slots that came later and the chunks.
    pub(crate) parts: Vec<Arc<Chunk>>,
}

impl ActiveGeneration {
    /// Up to where the fast pass has read all of the slot's streams.
    fn read_until(&self, slot: u32) -> LogTime {
        let is_missing = |part: &&Arc<Chunk>| part.slots.contains(slot) && !part.is_through();
        let chunks = self.chunks.iter().chain(self.parts.iter().filter(is_missing));
        chunks.map(|chunk| chunk.read_until()).min().unwrap_or(LogTime::MAX)
    }
}

/// How far one slot is.
#[derive(Debug)]
pub(crate) struct SlotProgress {
    /// Under which the slot was taken.
    epoch: i64,
    /// What is stored, or newer than that.
    checkpoint: Checkpoint,
    /// By generation: everything before it is settled.
    positions: BTreeMap<LogTime, LogTime>,
    is_busy: bool,
    stored_at: Instant,
}

impl SlotProgress {
    fn new(epoch: i64, checkpoint: Checkpoint) -> Self {
        let positions = BTreeMap::new();
        Self { epoch, checkpoint, positions, is_busy: false, stored_at: Instant::now() }
    }

    /// Takes a generation in; gives the position from which its streams are to be read. `restart` is
    /// where a start is safe whatever the clock did before.
    fn join(&mut self, generation: LogTime, restart: LogTime) -> LogTime {
        let start = if generation > self.checkpoint.generation {
            // Not accounted for: from its beginning.
            generation
        } else {
            self.checkpoint.time.min(restart)
        };
        *self.positions.entry(generation).or_insert(start)
    }

    /// What may be stored once the given positions are reached.
    fn checkpoint_after(&self, reached: &[(LogTime, LogTime)]) -> Checkpoint {
        let mut positions = self.positions.clone();
        for (generation, to) in reached {
            if let Some(position) = positions.get_mut(generation) {
                *position = (*position).max(*to);
            }
        }
        let least = positions.values().min().copied().unwrap_or(self.checkpoint.time);
        let time = least.max(self.checkpoint.time);
        let accounted = positions
            .iter()
            .skip_while(|(generation, _)| **generation <= self.checkpoint.generation)
            .take_while(|(_, position)| **position >= time)
            .last();
        let generation =
            accounted.map_or(self.checkpoint.generation, |(generation, _)| *generation);
        Checkpoint { time, generation }
    }
}

/// What a slot's settling came to.
struct Settled {
    slot: u32,
    epoch: i64,
    reached: Vec<(LogTime, LogTime)>,
    /// Whether the checkpoint was stored; `None` when it was not due.
    stored: Option<Result<(), HandleError>>,
    checkpoint: Checkpoint,
}

/// What is to be settled before a slot's positions move.
#[derive(Default)]
struct Work {
    reached: Vec<(LogTime, LogTime)>,
    /// Newest version found, by aggregate.
    found: HashMap<Uuid, Ring>,
}

/// What the pass works with.
pub(crate) struct ConfirmParts {
    pub(crate) log: Arc<dyn LogSource>,
    pub(crate) clock: Arc<DatabaseClock>,
    pub(crate) sequencer: Sequencer,
    pub(crate) checkpoints: Checkpoints,
    /// How many slots there are.
    pub(crate) slots: u32,
    pub(crate) config: CdcConfig,
    /// Names of the group's consumers, for the metrics.
    pub(crate) consumers: Vec<String>,
}

/// The slots' progress, and what is being settled.
pub(crate) struct ConfirmPass {
    parts: ConfirmParts,
    slots: BTreeMap<u32, SlotProgress>,
    settling: FuturesUnordered<BoxFuture<'static, Result<Settled, Stopped>>>,
    is_held: bool,
}

/// How a pass went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// What could be confirmed is being settled.
    Through,
    /// Rows that were not confirmed may have expired.
    Expired,
}

impl ConfirmPass {
    pub(crate) fn new(parts: ConfirmParts) -> Self {
        Self { parts, slots: BTreeMap::new(), settling: FuturesUnordered::new(), is_held: false }
    }

    /// Takes a slot in, which continues from its checkpoint.
    pub(crate) fn admit(&mut self, slot: u32, epoch: i64, checkpoint: Checkpoint) {
        self.slots.insert(slot, SlotProgress::new(epoch, checkpoint));
    }

    /// Lets a slot go; gives the checkpoint that would be true and is not stored yet.
    pub(crate) fn dismiss(&mut self, slot: u32) -> Option<Checkpoint> {
        let progress = self.slots.remove(&slot)?;
        let label = slot.to_string();
        for consumer in &self.parts.consumers {
            // Errs when it was never reported.
            let _ = metrics::LAG.remove_label_values(&[consumer.as_str(), &label]);
        }
        let _ = metrics::TTL_HEADROOM.remove_label_values(&[&label]);
        let _ = metrics::CATCH_UP.remove_label_values(&[&label]);
        let checkpoint = progress.checkpoint_after(&[]);
        (checkpoint != progress.checkpoint).then_some(checkpoint)
    }

    /// The slots that are here.
    pub(crate) fn slots(&self) -> BTreeSet<u32> {
        self.slots.keys().copied().collect()
    }

    /// The slots that read a generation's streams.
    pub(crate) fn slots_in(&self, generation: LogTime) -> Slots {
        let here = self.slots.iter().filter(|(_, s)| s.positions.contains_key(&generation));
        Slots::some(self.parts.slots, here.map(|(slot, _)| *slot))
    }

    /// Takes a generation into a slot; gives the position from which its streams are to be read.
    pub(crate) fn join(&mut self, slot: u32, generation: LogTime) -> Option<LogTime> {
        let restart = self.parts.clock.restart_point();
        self.slots.get_mut(&slot).map(|slot| slot.join(generation, restart))
    }

    /// Starts settling what can be confirmed now. An error means that the log was not read.
    pub(crate) async fn pass(
        &mut self,
        generations: &[ActiveGeneration],
    ) -> Result<Passed, HandleError> {
        // Also while the pass holds: a lag that grows must be seen.
        if self.report(self.parts.clock.due_until()) {
            return Ok(Passed::Expired);
        }
        let Some(limit) = self.limit() else { return Ok(Passed::Through) };
        let mut work: BTreeMap<u32, Work> = BTreeMap::new();
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
    pub(crate) async fn next_settled(&mut self) -> Result<(), HandleError> {
        let settled = match self.settling.next().await {
            Some(Ok(settled)) => settled,
            // The slot is closed, or the sequencer stopped; whoever owns this knows.
            Some(Err(Stopped)) => return Ok(()),
            None => return std::future::pending().await,
        };
        let Some(progress) =
            self.slots.get_mut(&settled.slot).filter(|slot| slot.epoch == settled.epoch)
        else {
            return Ok(());
        };
        progress.is_busy = false;
        for (generation, to) in settled.reached {
            if let Some(position) = progress.positions.get_mut(&generation) {
                *position = (*position).max(to);
            }
        }
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
                warn!(slot = settled.slot, error, "checkpoint not stored, trying again");
                Ok(())
            }
            Some(Err(error)) => Err(error),
        }
    }

    /// Whether some slot is being settled.
    pub(crate) fn is_settling(&self) -> bool {
        !self.settling.is_empty()
    }

    /// How far the slot that is furthest behind is behind `limit`.
    pub(crate) fn lag_behind(&self, limit: LogTime) -> Duration {
        let positions = self.slots.values().flat_map(|slot| slot.positions.values());
        positions.min().map_or(Duration::ZERO, |least| limit.since(*least))
    }

    /// The generation before `next` is needed no longer: every slot is past the change.
    pub(crate) fn is_past(&self, generation: LogTime, next: LogTime) -> bool {
        self.slots
            .values()
            .all(|slot| slot.positions.get(&generation).is_none_or(|position| *position >= next))
    }

    pub(crate) fn retire(&mut self, generation: LogTime) {
        for slot in self.slots.values_mut() {
            slot.positions.remove(&generation);
        }
    }

    /// Stores every checkpoint that is ahead of what is stored. For the end of the work.
    pub(crate) async fn store_all(&mut self) {
        // Nobody looks at these any more, and one that is about to store a checkpoint would keep the
        // slot's row from everybody else for ever.
        self.settling.clear();
        let checkpoints = &self.parts.checkpoints;
        join_all(self.slots.iter_mut().map(|(slot, progress)| async move {
            let checkpoint = progress.checkpoint_after(&[]);
            if checkpoint == progress.checkpoint {
                return;
            }
            match checkpoints.save(*slot, checkpoint).await {
                Ok(()) => progress.checkpoint = checkpoint,
                Err(error) => {
                    // What is stored is older and just as true.
                    let error = chain(&error).to_string();
                    warn!(slot, error, "last checkpoint not stored");
                }
            }
        }))
        .await;
    }

    /// Up to where rows can be confirmed; `None` while nothing can.
    fn limit(&mut self) -> Option<LogTime> {
        match self.parts.clock.settled_until() {
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
            for consumer in &self.parts.consumers {
                metrics::LAG.with_label_values(&[consumer.as_str(), &label]).set(lag.as_secs_f64());
            }
            let left = 1.0 - lag.as_secs_f64() / self.parts.config.log_ttl_s as f64;
            metrics::TTL_HEADROOM.with_label_values(&[&label]).set(left.max(0.0));
            is_expired |= lag > self.parts.config.checkpoint_age_max();
        }
        is_expired
    }

    /// What to read of a generation, and for which slots: those that are close to each other share a
    /// window.
    fn windows(&self, generation: &ActiveGeneration, limit: LogTime) -> Vec<(Window, Vec<u32>)> {
        let free = self.slots.iter().filter(|(_, progress)| !progress.is_busy);
        let mut waiting: Vec<(LogTime, LogTime, u32)> = free
            .filter_map(|(slot, progress)| {
                let from = *progress.positions.get(&generation.start)?;
                let until = limit.min(generation.read_until(*slot));
                (from < until).then_some((from, until, *slot))
            })
            .collect();
        waiting.sort_unstable();
        let mut windows = Vec::new();
        while let Some((from, until, _)) = waiting.first().copied() {
            let to = until.min(from.plus(self.parts.config.window_max()));
            let is_in = |(from, until, _): &&(LogTime, LogTime, u32)| *from < to && *until >= to;
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
        slots: &[u32],
        work: &mut BTreeMap<u32, Work>,
    ) -> Result<(), HandleError> {
        metrics::WINDOW.observe(window.length().as_secs_f64());
        for slot in slots {
            work.entry(*slot).or_default().reached.push((generation.start, window.to));
        }
        if defect("confirm-pass-off") {
            return Ok(());
        }
        let of = Slots::some(self.parts.slots, slots.iter().copied());
        for chunk in &generation.chunks {
            let mut next = None;
            loop {
                metrics::QUERIES.with_label_values(&["confirm"]).inc();
                let log = &self.parts.log;
                let page = log.read(&chunk.streams, window, Detail::Keys, next).await?;
                metrics::ROWS.with_label_values(&["confirm"]).inc_by(page.rows.len() as u64);
                for row in page.rows {
                    let slot = of.of(row.ring.aggregate_id);
                    if let Some(work) = slot.and_then(|slot| work.get_mut(&slot)) {
                        work.find(row.ring);
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
    fn settle(&mut self, slot: u32, work: Work) {
        let Some(progress) = self.slots.get_mut(&slot) else { return };
        progress.is_busy = true;
        let epoch = progress.epoch;
        let checkpoint = progress.checkpoint_after(&work.reached);
        let is_due = progress.stored_at.elapsed() >= self.parts.config.checkpoint_interval()
            && checkpoint != progress.checkpoint;
        let (sequencer, checkpoints) =
            (self.parts.sequencer.clone(), self.parts.checkpoints.clone());
        let parallel = self.parts.config.aggregates_in_parallel_max;
        self.settling.push(Box::pin(async move {
            let Work { reached, found } = work;
            if is_due && defect("checkpoint-before-apply") {
                checkpoints.save(slot, checkpoint).await.map_err(|_| Stopped)?;
            }
            settle_all(&sequencer, found, parallel).await?;
            let stored = if is_due { Some(checkpoints.save(slot, checkpoint).await) } else { None };
            debug!(slot, time = %checkpoint.time, is_due, "slot settled");
            Ok(Settled { slot, epoch, reached, stored, checkpoint })
        }));
    }
}

impl Work {
    /// Versions of one aggregate settle in order, so only the newest has to be waited for.
    fn find(&mut self, ring: Ring) {
        match self.found.get_mut(&ring.aggregate_id) {
            Some(known) if known.version >= ring.version => {}
            Some(known) => *known = ring,
            None => {
                self.found.insert(ring.aggregate_id, ring);
            }
        }
    }
}

async fn settle_all(
    sequencer: &Sequencer,
    found: HashMap<Uuid, Ring>,
    parallel: usize,
) -> Result<(), Stopped> {
    let mut settling = futures::stream::iter(found.into_values())
        .map(|ring| async move { sequencer.settle(&ring).await })
        .buffer_unordered(parallel.max(1));
    while let Some(settled) = settling.next().await {
        settled?;
    }
    Ok(())
}
