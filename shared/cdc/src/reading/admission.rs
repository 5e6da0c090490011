//! Finds where slots start that this process has just taken.
//!
//! Their checkpoints are in the rows that were taken; what else it needs (catch-ups, generations, dead
//! letters) is read here, beside the work on the slots that were here before.

use super::{
    Reading,
    catch_up::{Plan, Scan},
    checkpoints::checkpoint_of,
    generation::{Generation, needed},
};
use crate::config::millis;
use crate::error::StoreError;
use crate::letters::Letter;
use crate::log_time::{LogTime, Window};
use crate::ordering::LaneKey;
use crate::retries::Retries;
use crate::source::Checkpoint;
use futures::future::BoxFuture;
use leases::{Epoch, Slot, SlotState};
use std::collections::BTreeMap;

/// Where slots start.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) slots: Vec<Start>,
    /// Starts of all generations there were.
    pub(super) starts: Vec<LogTime>,
    /// Those that the slots need, ascending.
    pub(super) generations: Vec<Generation>,
    /// What has to be read from the ledger beside.
    pub(super) scans: Vec<Scan>,
    /// Where rows may be stamped although the clock is not there yet.
    pub(super) ahead: Option<Window>,
}

/// Where one slot starts.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) slot: Slot,
    /// Under which it was taken.
    pub(super) epoch: Epoch,
    pub(super) checkpoint: Checkpoint,
    /// How many of its owners died in a row.
    pub(super) crashes: u32,
    /// Its dead letters.
    pub(super) letters: Vec<(LaneKey, Letter)>,
}

impl Reading {
    /// Prepares to work on the slots; tries until it succeeds. Those that are lost meanwhile are not
    /// in the result. Errs when trying again will not help.
    pub(super) async fn prepare(
        &self,
        taken: BTreeMap<Slot, SlotState>,
    ) -> Result<Admission, StoreError> {
        let pauses = self.around.config.backoff;
        let doing = "find the place of slots in the log";
        let try_to = || -> BoxFuture<'_, _> { Box::pin(self.try_to_prepare(&taken)) };
        Retries::new(Some("admission"), doing, pauses).until_done(try_to).await
    }

    async fn try_to_prepare(
        &self,
        taken: &BTreeMap<Slot, SlotState>,
    ) -> Result<Admission, StoreError> {
        let held = taken.iter().filter(|(slot, _)| self.around.leases.may_begin(**slot));
        let held: BTreeMap<Slot, &SlotState> = held.map(|(slot, state)| (*slot, state)).collect();
        let source = &*self.around.generations;
        let starts = source.starts(None).await?;
        if starts.is_empty() {
            let what = "find a generation of CDC streams: there is none yet";
            return Err(StoreError::missing(what));
        }
        let stored = held.iter().map(|(slot, state)| (*slot, checkpoint_of(state))).collect();
        let Plan { checkpoints, scans } = self.plan(&stored, &starts).await?;
        let restart = self.clock.restart_point();
        // After a step back the clock may be before a checkpoint, and before a generation's start.
        let from = |at: &Checkpoint| Checkpoint { time: at.time.min(restart), ..*at };
        let froms: Vec<Checkpoint> = checkpoints.values().map(from).collect();
        let mut generations = Vec::new();
        for start in needed(&starts, &froms) {
            let generation = Generation::read(source, start).await?;
            let what = || format!("read the streams of the CDC generation of {start}");
            generations.push(generation.ok_or_else(|| StoreError::missing(what()))?);
        }
        let ahead = self.ahead(&checkpoints);
        let mut slots = Vec::new();
        for (slot, checkpoint) in checkpoints {
            let SlotState { epoch, crashes, .. } = *held[&slot];
            let crashes = u32::try_from(crashes).unwrap_or(0);
            let letters = self.letters_of(slot).await?;
            slots.push(Start { slot, epoch, checkpoint, crashes, letters });
        }
        Ok(Admission { slots, starts, generations, scans, ahead })
    }

    /// The letters of a slot, in all consumers.
    async fn letters_of(&self, slot: Slot) -> Result<Vec<(LaneKey, Letter)>, StoreError> {
        let mut found = Vec::new();
        for (consumer, name) in self.around.names().enumerate() {
            let letters = self.around.letters.load(name, slot).await?.into_iter();
            found.extend(
                letters.map(|(aggregate_id, letter)| {
                    (LaneKey { slot, aggregate_id, consumer }, letter)
                }),
            );
        }
        Ok(found)
    }

    /// A checkpoint that is hardly behind the clock, or before it, tells that the clock stepped back:
    /// then rows may be stamped after all that was reached before.
    fn ahead(&self, checkpoints: &BTreeMap<Slot, Checkpoint>) -> Option<Window> {
        let newest = checkpoints.values().map(|checkpoint| checkpoint.time).max()?;
        let (config, safety_interval) = (&self.around.config, self.around.safety_interval);
        let unstored = millis(config.checkpoint_interval_ms) + millis(config.confirm_interval_ms);
        let reached = newest.plus(safety_interval + unstored * 2);
        let is_ahead = newest > self.clock.now().minus(safety_interval);
        is_ahead.then(|| Window::new(newest, reached.plus(safety_interval)))
    }
}
