//! What can go wrong with a slot.

use std::error::Error;

use crate::ids::{Revision, Slot};

/// Why a slot could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// Someone else has taken the slot: stop working on it.
    #[error(
        "slot {slot} of {group} was taken by another owner: it is at revision {actual}, expected {expected}"
    )]
    Lost {
        /// The group of consumers.
        group: String,
        /// The slot.
        slot: Slot,
        /// The revision that the caller knew.
        expected: Revision,
        /// The revision now.
        actual: Revision,
    },
    /// This process does not hold the slot, or its time to work on it is over.
    #[error("slot {slot} of {group} is not held here")]
    NotHeld {
        /// The group of consumers.
        group: String,
        /// The slot.
        slot: Slot,
    },
    /// The database did not answer, or not as it should; the same call may be made again.
    #[error("{what}")]
    Storage {
        /// What was being done, to what.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl SlotError {
    /// Whether the slot is not this process's any more, so that trying again is pointless.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::NotHeld { .. })
    }
}

/// Says what was being done when a lower layer failed.
pub(crate) trait While<T> {
    fn when(self, what: impl FnOnce() -> String) -> Result<T, SlotError>;
}

impl<T, E: Error + Send + Sync + 'static> While<T> for Result<T, E> {
    fn when(self, what: impl FnOnce() -> String) -> Result<T, SlotError> {
        self.map_err(|source| SlotError::Storage { what: what(), source: Box::new(source) })
    }
}
