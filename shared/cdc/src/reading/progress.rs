//! How far a slot is: its positions, one per generation of streams, and the checkpoint that follows
//! from them.

use crate::log_time::LogTime;
use crate::reading::chunk::Chunk;
use crate::source::Checkpoint;
use leases::{Epoch, Slot};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// A generation whose streams are being read.
#[derive(Debug, Clone)]
pub(super) struct ActiveGeneration {
    pub(super) start: LogTime,
    pub(super) chunks: Vec<Arc<Chunk>>,
    /// What lies between the checkpoints of slots that came later and the chunks.
    pub(super) parts: Vec<Arc<Chunk>>,
}

impl ActiveGeneration {
    /// Up to where the fast pass has read all of the slot's streams.
    pub(super) fn read_until(&self, slot: Slot) -> LogTime {
        let is_missing = |part: &&Arc<Chunk>| part.slots.contains(slot) && !part.is_through();
        let chunks = self.chunks.iter().chain(self.parts.iter().filter(is_missing));
        chunks.map(|chunk| chunk.read_until()).min().unwrap_or(LogTime::MAX)
    }
}

/// How far one slot is.
#[derive(Debug)]
pub(super) struct SlotProgress {
    /// Under which the slot was taken.
    pub(super) epoch: Epoch,
    /// What is stored, or newer than that.
    pub(super) checkpoint: Checkpoint,
    /// By generation: everything before it is settled.
    pub(super) positions: BTreeMap<LogTime, LogTime>,
    pub(super) is_busy: bool,
    pub(super) stored_at: Instant,
}

impl SlotProgress {
    pub(super) fn new(epoch: Epoch, checkpoint: Checkpoint) -> Self {
        let positions = BTreeMap::new();
        Self { epoch, checkpoint, positions, is_busy: false, stored_at: Instant::now() }
    }

    /// Takes a generation in; gives the position from which its streams are to be read. `restart` is
    /// where a start is safe whatever the clock did before.
    pub(super) fn join(&mut self, generation: LogTime, restart: LogTime) -> LogTime {
        let start = if generation > self.checkpoint.generation {
            // Not accounted for: from its beginning.
            generation
        } else {
            self.checkpoint.time.min(restart)
        };
        *self.positions.entry(generation).or_insert(start)
    }

    /// What may be stored once the given positions are reached.
    pub(super) fn checkpoint_after(&self, reached: &[(LogTime, LogTime)]) -> Checkpoint {
        let mut positions = self.positions.clone();
        move_to(&mut positions, reached);
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

    /// The given positions are reached.
    pub(super) fn reach(&mut self, reached: &[(LogTime, LogTime)]) {
        move_to(&mut self.positions, reached);
    }
}

fn move_to(positions: &mut BTreeMap<LogTime, LogTime>, reached: &[(LogTime, LogTime)]) {
    for (generation, to) in reached {
        if let Some(position) = positions.get_mut(generation) {
            *position = (*position).max(*to);
        }
    }
}
