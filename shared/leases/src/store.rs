//! The tables that a group shares, as a narrow trait: the real one is [`crate::Table`], tests bring
//! fakes of their own.

use crate::error::SlotError;
use crate::ids::{MemberId, Revision, Slot};
use crate::row::SlotState;
use async_trait::async_trait;

/// A process that takes part in a group, as its row in `members` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The process, from its start to its end; the owner in `slots`.
    pub id: MemberId,
    /// Raised by every beat.
    pub revision: Revision,
}

/// Slots and members of one group. Every change is conditional, so that a late one changes nothing.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// The rows of all slots that have one. May be a moment old.
    async fn slots(&self) -> Result<Vec<SlotState>, SlotError>;

    /// One slot's row, with every change that was decided; made when it is missing.
    async fn read(&self, slot: Slot) -> Result<SlotState, SlotError>;

    /// Changes `from` to `to` on the condition that the row still has the epoch and revision of
    /// `from`; gives the row as it is stored then. That is `to`, or what an earlier change of the same
    /// owner, which began from the same state and whose answer was lost, made of it. Errs with
    /// [`SlotError::Lost`] when the row is another's work.
    async fn change(&self, from: &SlotState, to: SlotState) -> Result<SlotState, SlotError>;

    /// The members' rows. May be a moment old.
    async fn members(&self) -> Result<Vec<Member>, SlotError>;

    /// Shows that a member is there. `known` is what the beat before returned, `None` the first time;
    /// gives the new revision. A member that somebody removed is there again afterwards.
    async fn beat(&self, member: MemberId, known: Option<Revision>) -> Result<Revision, SlotError>;

    /// Removes a member's row if it still has this revision; nothing happens when it has not.
    async fn remove(&self, member: Member) -> Result<(), SlotError>;
}
