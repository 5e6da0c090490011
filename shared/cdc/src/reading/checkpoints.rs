//! Checkpoints, in the rows of the slots that this process holds.

use crate::consumer::ErrorClass;
use crate::error::StoreError;
use crate::log_time::LogTime;
use crate::source::Checkpoint;
use leases::{Leases, Slot, SlotError, SlotState};
use runtime::test_hooks::crash_point;

/// Stores the checkpoint of a held slot. It never moves back, and errs when the slot is not this
/// process's any more.
pub(crate) async fn save(
    leases: &Leases,
    slot: Slot,
    checkpoint: Checkpoint,
) -> Result<(), StoreError> {
    crash_point("cdc.before-checkpoint");
    let generation = Some(checkpoint.generation.millis());
    let saved = leases.save_checkpoint(slot, checkpoint.time.micros(), generation).await;
    saved.map_err(failed)?;
    crash_point("cdc.checkpoint-stored");
    Ok(())
}

/// The checkpoint in a slot's row; `None` when it never had one.
pub(crate) fn checkpoint_of(state: &SlotState) -> Option<Checkpoint> {
    let time = LogTime::from_micros(state.checkpoint_us?);
    let generation = state.generation_ms.map_or(LogTime::ZERO, LogTime::from_millis);
    Some(Checkpoint { time, generation })
}

/// A slot that is lost ends its own work and nothing else; all else may pass.
pub(crate) fn failed(error: SlotError) -> StoreError {
    StoreError::new(ErrorClass::Transport, "change the group's slots", error)
}
