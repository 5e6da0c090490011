//! What the sequencer needs of dead letters: where an aggregate is written down that one consumer
//! cannot go on with.
//!
//! An aggregate is *blocked* for a consumer if and only if its letter is in state blocked or parked.
//! Its events from the letter's version on then wait in the event store, until the retries of the
//! letter handle them. The table and the retries are another crate's; the sequencer knows them by
//! this trait.

use crate::consumer::ErrorClass;
use crate::error::{EventName, StoreError};
use async_trait::async_trait;
use kernel::Version;
use leases::{AttemptId, Slot};
use uuid::Uuid;

/// In what state a letter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterState {
    /// Retried with growing pauses.
    Blocked,
    /// Waits for a person.
    Parked,
    /// Blocks no longer; its aggregate's events up to the tail are about to be handled.
    Released,
}

/// A letter as the sequencer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    /// The event that could not be handled: the aggregate is blocked from here on.
    pub version: Version,
    /// In what state the letter is.
    pub state: LetterState,
    /// Which change brought the letter into this state.
    pub change: AttemptId,
}

impl Letter {
    /// Whether the aggregate's events wait for the retries of this letter.
    pub fn blocks(&self) -> bool {
        matches!(self.state, LetterState::Blocked | LetterState::Parked)
    }
}

/// One aggregate in one consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterKey<'a> {
    /// The consumer's stored name.
    pub consumer: &'a str,
    /// The aggregate's slot.
    pub slot: Slot,
    /// The aggregate.
    pub aggregate_id: Uuid,
}

/// Why an event goes into a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The event, as far as it can be read.
    pub event: EventName,
    /// Never [`ErrorClass::Fatal`], which stops the process instead.
    pub class: ErrorClass,
    /// The error with its causes, for people.
    pub error: String,
}

/// The letters. Every call may be repeated after an error.
#[async_trait]
pub trait Letters: Send + Sync + 'static {
    /// The letters of a slot, for the process that has taken it: read after that, not before. One that cannot be
    /// read is left out.
    async fn load(&self, consumer: &str, slot: Slot) -> Result<Vec<(Uuid, Letter)>, StoreError>;

    /// The letter as it is when the call begins or later.
    async fn read(&self, key: LetterKey<'_>) -> Result<Option<Letter>, StoreError>;

    /// Makes a letter of an event that cannot be handled, or blocks again with it. The letter is
    /// stored when this returns; one that has the event already stays as it is.
    async fn block(&self, key: LetterKey<'_>, refusal: &Refusal) -> Result<(), StoreError>;

    /// Removes a released letter, unless it was changed after `change`. To be called after everything was handled up to the aggregate's tail, looked at after the release.
    async fn finish(&self, key: LetterKey<'_>, change: AttemptId) -> Result<(), StoreError>;

    /// Records that the event is about to be handled, by a process that may die of it. Gives the
    /// number of attempts recorded before this one.
    async fn begin_attempt(&self, key: LetterKey<'_>, version: Version) -> Result<u32, StoreError>;
}
