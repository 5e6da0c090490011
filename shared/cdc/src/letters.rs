//! What the sequencer needs of dead letters: where an aggregate is written down that one consumer
//! cannot go on with.
//!
//! An aggregate is *blocked* for a consumer if and only if its letter is in state blocked or parked.
//! Its events from the letter's version on then wait in the event store, and whoever retries the
//! letter handles them. The table and the retries are another crate's; the sequencer knows them by
//! this trait.

use crate::consumer::{ErrorClass, HandleError};
use crate::error::EventName;
use async_trait::async_trait;
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
    pub version: u64,
    /// In what state the letter is.
    pub state: LetterState,
    /// Which change brought the letter into this state.
    pub change: Uuid,
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
    pub slot: u32,
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

/// A letter in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotLetter {
    /// The consumer's place in its group.
    pub(crate) consumer: usize,
    pub(crate) aggregate_id: Uuid,
    pub(crate) letter: Letter,
}

/// The letters. Every call may be repeated after an error.
#[async_trait]
pub trait Letters: Send + Sync + 'static {
    /// The letters of a slot, for whoever takes the slot: after that, not before. One that cannot be
    /// read is left out.
    async fn load(&self, consumer: &str, slot: u32) -> Result<Vec<(Uuid, Letter)>, HandleError>;

    /// The letter as it is when the call begins or later.
    async fn read(&self, key: LetterKey<'_>) -> Result<Option<Letter>, HandleError>;

    /// Makes a letter of an event that cannot be handled, or blocks again with it. The letter is
    /// stored when this returns; one that has the event already stays as it is.
    async fn block(&self, key: LetterKey<'_>, refusal: &Refusal) -> Result<(), HandleError>;

    /// Removes a released letter, unless it was changed after `change`. For whoever has handled
    /// everything up to the aggregate's tail, looked at after the release.
    async fn finish(&self, key: LetterKey<'_>, change: Uuid) -> Result<(), HandleError>;

    /// Records that the event is about to be handled, by a process that may die of it. Gives the
    /// number of attempts recorded before this one.
    async fn begin_attempt(&self, key: LetterKey<'_>, version: u64) -> Result<u32, HandleError>;
}
