//! Checkpoints, in the rows of the group's slots.

use crate::consumer::{ErrorClass, HandleError};
use crate::log_time::LogTime;
use crate::source::{Checkpoint, CheckpointStore};
use async_trait::async_trait;
use leases::{SlotError, SlotState, Slots};
use std::collections::BTreeMap;
use tokio::sync::Mutex;

/// The slots of one group, all held by this process.
pub(crate) struct SlotCheckpoints {
    slots: Slots,
    /// Each slot's row as it was stored last: every change is conditional on it.
    states: Mutex<BTreeMap<u32, SlotState>>,
}

impl SlotCheckpoints {
    pub(crate) fn new(slots: Slots) -> Self {
        Self { slots, states: Mutex::new(BTreeMap::new()) }
    }
}

#[async_trait]
impl CheckpointStore for SlotCheckpoints {
    async fn take_all(&self) -> Result<Vec<Option<Checkpoint>>, HandleError> {
        let states = self.slots.load_all().await.map_err(failed)?;
        let checkpoints = states.iter().map(|state| {
            let time = LogTime::from_micros(state.checkpoint_us?);
            let generation = state.generation_ms.map_or(LogTime::ZERO, LogTime::from_millis);
            Some(Checkpoint { time, generation })
        });
        let checkpoints = checkpoints.collect();
        *self.states.lock().await = states.into_iter().map(|state| (state.slot, state)).collect();
        Ok(checkpoints)
    }

    async fn crashes(&self) -> Vec<u32> {
        let states = self.states.lock().await;
        states.values().map(|state| u32::try_from(state.crashes).unwrap_or(0)).collect()
    }

    async fn save(&self, slot: u32, checkpoint: Checkpoint) -> Result<(), HandleError> {
        let known = self.states.lock().await.get(&slot).cloned();
        let state = known.ok_or_else(|| HandleError {
            class: ErrorClass::Fatal,
            what: format!("store the checkpoint of slot {slot}, which was not taken"),
            source: None,
        })?;
        let generation = Some(checkpoint.generation.millis());
        let stored = self
            .slots
            .save_checkpoint(&state, checkpoint.time.micros(), generation)
            .await
            .map_err(failed)?;
        self.states.lock().await.insert(slot, stored);
        Ok(())
    }

    async fn release(&self) -> Result<(), HandleError> {
        self.slots.release().await.map_err(failed)
    }
}

/// A slot that another process has taken is lost for good; all else may pass.
pub(crate) fn failed(error: SlotError) -> HandleError {
    let class = if error.is_lost() { ErrorClass::Fatal } else { ErrorClass::Transport };
    HandleError {
        class,
        what: "change the group's slots".to_owned(),
        source: Some(Box::new(error)),
    }
}
