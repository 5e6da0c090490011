//! Checkpoints, in the rows of the slots that this process holds.

use crate::consumer::{ErrorClass, HandleError};
use crate::log_time::LogTime;
use crate::source::Checkpoint;
use leases::{Leases, SlotError, SlotState};
use runtime::test_hooks::crash_point;

/// Stores checkpoints of held slots. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Checkpoints {
    leases: Leases,
}

impl Checkpoints {
    pub(crate) fn new(leases: Leases) -> Self {
        Self { leases }
    }

    /// Stores the checkpoint of a held slot. It never moves back, and errs when the slot is not this
    /// process's any more.
    pub(crate) async fn save(&self, slot: u32, checkpoint: Checkpoint) -> Result<(), HandleError> {
        crash_point("cdc.before-checkpoint");
        let generation = Some(checkpoint.generation.millis());
        let saved = self.leases.save_checkpoint(slot, checkpoint.time.micros(), generation).await;
        saved.map_err(failed)?;
        crash_point("cdc.checkpoint-stored");
        Ok(())
    }

    /// Work on the slot goes on, although it moves no checkpoint.
    pub(crate) fn progressed(&self, slot: u32) {
        self.leases.progressed(slot);
    }

    /// Whether the slot is still this process's.
    pub(crate) fn may_begin(&self, slot: u32) -> bool {
        self.leases.may_begin(slot)
    }
}

/// The checkpoint in a slot's row; `None` when it never had one.
pub(crate) fn checkpoint_of(state: &SlotState) -> Option<Checkpoint> {
    let time = LogTime::from_micros(state.checkpoint_us?);
    let generation = state.generation_ms.map_or(LogTime::ZERO, LogTime::from_millis);
    Some(Checkpoint { time, generation })
}

/// A slot that is lost ends its own work and nothing else; all else may pass.
pub(crate) fn failed(error: SlotError) -> HandleError {
    HandleError {
        class: ErrorClass::Transport,
        what: "change the group's slots".to_owned(),
        source: Some(Box::new(error)),
    }
}
