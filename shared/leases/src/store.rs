//! The tables that a group shares, as a narrow trait: the real one is [`crate::Table`], tests bring
//! fakes of their own.

use async_trait::async_trait;
use uuid::Uuid;

use crate::error::SlotError;
use crate::row::SlotState;

/// A process that takes part in a group, as its row in `members` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The process, from its start to its end; the owner in `slots`.
    pub id: Uuid,
    /// Raised by every beat.
    pub revision: i64,
}

/// Slots and members of one group. Every change is conditional, so that a late one changes nothing.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// The rows of all slots that have one. May be a moment old.
    async fn slots(&self) -> Result<Vec<SlotState>, SlotError>;

    /// One slot's row, with every change that was decided; made when it is missing.
    async fn read(&self, slot: u32) -> Result<SlotState, SlotError>;

    /// Changes `from` to `to` on the condition that the row still has the epoch and revision of
    /// `from`; gives the row as it is stored then. That is `to`, or what an earlier change of the same
    /// owner, which began from the same state and whose answer was lost, made of it. Errs with
    /// [`SlotError::Lost`] when the row is another's work.
    async fn change(&self, from: &SlotState, to: SlotState) -> Result<SlotState, SlotError>;

    /// The members' rows. May be a moment old.
    async fn members(&self) -> Result<Vec<Member>, SlotError>;

    /// Shows that a member is there. `known` is what the beat before returned, `None` the first time;
    /// gives the new revision. A member that somebody removed is there again afterwards.
    async fn beat(&self, member: Uuid, known: Option<i64>) -> Result<i64, SlotError>;

    /// Removes a member's row if it still has this revision; nothing happens when it has not.
    async fn remove(&self, member: Member) -> Result<(), SlotError>;
}
