//! Finds where slots start that this process has just taken.
//!
//! Their checkpoints are in the rows that were taken; what else it needs (catch-ups, generations, dead
//! letters) is read here, beside the work on the slots that were here before.

use crate::catch_up::{CatchUp, Scan};
use crate::checkpoints::checkpoint_of;
use crate::clock::DatabaseClock;
use crate::config::CdcConfig;
use crate::consumer::{ErrorClass, HandleError};
use crate::generation::{Generation, needed};
use crate::letters::{Letters, SlotLetter};
use crate::log_time::{LogTime, Window};
use crate::metrics;
use crate::source::{Checkpoint, GenerationSource};
use leases::{Leases, SlotState};
use runtime::{Backoff, chain};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// What admissions are made from.
pub(crate) struct Admissions {
    pub(crate) catch_up: Arc<CatchUp>,
    pub(crate) generations: Arc<dyn GenerationSource>,
    pub(crate) clock: Arc<DatabaseClock>,
    pub(crate) leases: Leases,
    pub(crate) letters: Arc<dyn Letters>,
    pub(crate) safety_interval: Duration,
    pub(crate) config: CdcConfig,
}

/// Where slots start.
#[derive(Debug)]
pub(crate) struct Admission {
    /// By slot: the epoch under which it was taken, and its checkpoint.
    pub(crate) slots: BTreeMap<u32, (i64, Checkpoint)>,
    /// By slot: how many of its owners died in a row, and its dead letters.
    pub(crate) letters: BTreeMap<u32, (u32, Vec<SlotLetter>)>,
    /// Starts of all generations there were.
    pub(crate) starts: Vec<LogTime>,
    /// Those that the slots need, ascending.
    pub(crate) generations: Vec<Generation>,
    /// What has to be read from the ledger beside.
    pub(crate) scans: Vec<Scan>,
    /// Where rows may be stamped although the clock is not there yet.
    pub(crate) ahead: Option<Window>,
}

impl Admissions {
    /// Prepares to work on the slots; tries until it succeeds. Those that are lost meanwhile are not
    /// in the result. Errs when trying again will not help.
    pub(crate) async fn prepare(
        &self,
        taken: BTreeMap<u32, SlotState>,
    ) -> Result<Admission, HandleError> {
        let mut backoff = Backoff::new(self.config.backoff);
        loop {
            let error = match self.try_to(&taken).await {
                Ok(admission) => return Ok(admission),
                Err(error) if error.class != ErrorClass::Transport => return Err(error),
                Err(error) => error,
            };
            metrics::RETRIES.with_label_values(&["admission"]).inc();
            if backoff.attempts().is_power_of_two() {
                let (attempts, error) = (backoff.attempts(), chain(&error).to_string());
                warn!(attempts, error, "slots cannot start yet, trying again");
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    async fn try_to(&self, taken: &BTreeMap<u32, SlotState>) -> Result<Admission, HandleError> {
        let held = taken.iter().filter(|(slot, _)| self.leases.may_begin(**slot));
        let held: BTreeMap<u32, &SlotState> = held.map(|(slot, state)| (*slot, state)).collect();
        let starts = self.generations.starts(None).await?;
        if starts.is_empty() {
            return Err(later("find a generation of CDC streams: there is none yet".to_owned()));
        }
        let stored = held.iter().map(|(slot, state)| (*slot, checkpoint_of(state))).collect();
        let plan = self.catch_up.plan(&stored, &starts).await?;
        let restart = self.clock.restart_point();
        // After a step back the clock may be before a checkpoint, and before a generation's start.
        let from = |at: &Checkpoint| Checkpoint { time: at.time.min(restart), ..*at };
        let checkpoints: Vec<Checkpoint> = plan.checkpoints.values().map(from).collect();
        let mut generations = Vec::new();
        for start in needed(&starts, &checkpoints) {
            let generation = Generation::read(&*self.generations, start).await?;
            let missing = || later(format!("read the streams of the CDC generation of {start}"));
            generations.push(generation.ok_or_else(missing)?);
        }
        let mut letters = BTreeMap::new();
        for (slot, state) in &held {
            let crashes = u32::try_from(state.crashes).unwrap_or(0);
            letters.insert(*slot, (crashes, self.letters_of(*slot).await?));
        }
        let ahead = self.ahead(&plan.checkpoints);
        let slots = plan.checkpoints.into_iter();
        let slots = slots.map(|(slot, checkpoint)| (slot, (held[&slot].epoch, checkpoint)));
        let (slots, scans) = (slots.collect(), plan.scans);
        Ok(Admission { slots, letters, starts, generations, scans, ahead })
    }

    /// The letters of a slot, in all consumers.
    async fn letters_of(&self, slot: u32) -> Result<Vec<SlotLetter>, HandleError> {
        let mut found = Vec::new();
        for (consumer, name) in self.catch_up.consumers.iter().enumerate() {
            let letters = self.letters.load(name, slot).await?.into_iter();
            found.extend(letters.map(|(aggregate_id, letter)| SlotLetter {
                consumer,
                aggregate_id,
                letter,
            }));
        }
        Ok(found)
    }

    /// A checkpoint that is hardly behind the clock, or before it, tells that the clock stepped back:
    /// then rows may be stamped after whatever was reached before.
    fn ahead(&self, checkpoints: &BTreeMap<u32, Checkpoint>) -> Option<Window> {
        let newest = checkpoints.values().map(|checkpoint| checkpoint.time).max()?;
        let unstored = self.config.checkpoint_interval() + self.config.confirm_interval();
        let reached = newest.plus(self.safety_interval + unstored * 2);
        let is_ahead = newest > self.clock.now().minus(self.safety_interval);
        is_ahead.then(|| Window::new(newest, reached.plus(self.safety_interval)))
    }
}

fn later(what: String) -> HandleError {
    HandleError { class: ErrorClass::Transport, what, source: None }
}
