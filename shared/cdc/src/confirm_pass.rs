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
//! Positions are kept per generation, so that the streams of one found late are read from their
//! beginning without moving the others back; the checkpoint is the least of them.

use crate::clock::{DatabaseClock, Hold};
use crate::config::CdcConfig;
use crate::consumer::{ErrorClass, HandleError};
use crate::fast_pass::Chunk;
use crate::generation::Slots;
use crate::log_time::{LogTime, Window};
use crate::metrics;
use crate::sequencer::{Sequencer, Stopped};
use crate::source::{Checkpoint, CheckpointStore, Detail, LogSource, Ring};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use runtime::chain;
use std::collections::{BTreeMap, HashMap};
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
}

impl ActiveGeneration {
    /// Up to where the fast pass has read all of its streams.
    fn read_until(&self) -> LogTime {
        self.chunks.iter().map(|chunk| chunk.read_until()).min().unwrap_or(LogTime::MAX)
    }
}

/// How far one slot is.
#[derive(Debug)]
pub(crate) struct SlotProgress {
    /// What is stored, or newer than that.
    checkpoint: Checkpoint,
    /// By generation: everything before it is settled.
    positions: BTreeMap<LogTime, LogTime>,
    is_busy: bool,
    stored_at: Instant,
}

impl SlotProgress {
    pub(crate) fn new(checkpoint: Checkpoint) -> Self {
        let positions = BTreeMap::new();
        Self { checkpoint, positions, is_busy: false, stored_at: Instant::now() }
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
    pub(crate) checkpoints: Arc<dyn CheckpointStore>,
    pub(crate) slots: Slots,
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
    pub(crate) fn new(parts: ConfirmParts, slots: BTreeMap<u32, SlotProgress>) -> Self {
        Self { parts, slots, settling: FuturesUnordered::new(), is_held: false }
    }

    /// Takes a generation into every slot; gives the position from which its streams are to be read.
    pub(crate) fn join(&mut self, generation: LogTime) -> LogTime {
        let restart = self.parts.clock.restart_point();
        let joined = self.slots.values_mut().map(|slot| slot.join(generation, restart));
        joined.min().unwrap_or(restart)
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
            let until = limit.min(generation.read_until());
            let Some(from) = self.first_position(generation.start).filter(|from| *from < until)
            else {
                continue;
            };
            let window = Window::new(from, until.min(from.plus(self.parts.config.window_max())));
            self.read(generation, window, &mut work).await?;
        }
        for (slot, work) in work {
            self.settle(slot, work);
        }
        Ok(Passed::Through)
    }

    /// Waits for the next slot whose positions can move, and moves them. Pending while nothing is
    /// being settled. Errs when the slot is no longer this process's.
    pub(crate) async fn next_settled(&mut self) -> Result<(), HandleError> {
        let settled = match self.settling.next().await {
            Some(Ok(settled)) => settled,
            // The sequencer stopped; whoever owns this knows.
            Some(Err(Stopped)) | None => return std::future::pending().await,
        };
        let Some(progress) = self.slots.get_mut(&settled.slot) else { return Ok(()) };
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
    pub(crate) async fn store_all(&mut self) -> Result<(), HandleError> {
        for (slot, progress) in &mut self.slots {
            let checkpoint = progress.checkpoint_after(&[]);
            if checkpoint != progress.checkpoint {
                self.parts.checkpoints.save(*slot, checkpoint).await?;
                progress.checkpoint = checkpoint;
            }
        }
        Ok(())
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

    /// The least position of a generation among the slots that are not being settled.
    fn first_position(&self, generation: LogTime) -> Option<LogTime> {
        let free = self.slots.values().filter(|slot| !slot.is_busy);
        free.filter_map(|slot| slot.positions.get(&generation)).min().copied()
    }

    /// Adds what the window holds to the work of each slot that needs it.
    async fn read(
        // `&mut`: what is being settled is `Send`, not `Sync`.
        &mut self,
        generation: &ActiveGeneration,
        window: Window,
        work: &mut BTreeMap<u32, Work>,
    ) -> Result<(), HandleError> {
        metrics::WINDOW.observe(window.length().as_secs_f64());
        for (slot, progress) in &self.slots {
            let position = progress.positions.get(&generation.start);
            if !progress.is_busy && position.is_some_and(|position| *position < window.to) {
                work.entry(*slot).or_default().reached.push((generation.start, window.to));
            }
        }
        for chunk in &generation.chunks {
            let mut next = None;
            loop {
                metrics::QUERIES.with_label_values(&["confirm"]).inc();
                let log = &self.parts.log;
                let page = log.read(&chunk.streams, window, Detail::Keys, next).await?;
                metrics::ROWS.with_label_values(&["confirm"]).inc_by(page.rows.len() as u64);
                for row in page.rows {
                    let slot = self.parts.slots.of(row.ring.aggregate_id);
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
        let checkpoint = progress.checkpoint_after(&work.reached);
        let is_due = progress.stored_at.elapsed() >= self.parts.config.checkpoint_interval()
            && checkpoint != progress.checkpoint;
        let (sequencer, checkpoints) =
            (self.parts.sequencer.clone(), self.parts.checkpoints.clone());
        let parallel = self.parts.config.aggregates_in_parallel_max;
        self.settling.push(Box::pin(async move {
            let Work { reached, found } = work;
            settle_all(&sequencer, found, parallel).await?;
            let stored = if is_due { Some(checkpoints.save(slot, checkpoint).await) } else { None };
            debug!(slot, time = %checkpoint.time, is_due, "slot settled");
            Ok(Settled { slot, reached, stored, checkpoint })
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
