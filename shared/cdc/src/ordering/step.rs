//! What a lane needs next, and what came of it.

use crate::consumer::Change;
use crate::letters::{Letter, Refusal};
use crate::source::Cursor;
use kernel::{RecordedEvent, Version};
use leases::AttemptId;
use std::sync::Arc;

/// What a lane needs next. Each step is answered by the [`Done`] beside it.
#[derive(Debug)]
pub(crate) enum Step {
    /// Its cursor: [`Done::Loaded`].
    Load,
    /// The next event to be handled: [`Done::Handled`], [`Done::Passed`] or [`Done::Refused`].
    Handle { change: Arc<Change>, view: Option<Arc<str>> },
    /// The cursor of the event that was just handled to be stored: [`Done::Flushed`].
    Flush(Cursor),
    /// The events after a version, up to `wanted`, which the log did not bring; one at a time where
    /// one of them cannot be read: [`Done::Read`], [`Done::Unreadable`] or [`Done::Refused`].
    Heal { after: Version, wanted: Version, is_gap: bool, singly: bool },
    /// The events after a version, up to the aggregate's tail: answered as [`Step::Heal`] is.
    Tail { after: Version, singly: bool },
    /// A letter for the event that was refused: [`Done::Blocked`].
    Block(Arc<Refusal>),
    /// The letter, as it is from now on: [`Done::Asked`].
    Ask,
    /// The released letter to be removed: [`Done::Finished`].
    Finish(AttemptId),
    /// Nothing.
    End,
}

impl Step {
    /// For logs and metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Handle { .. } => "handle",
            Self::Flush(_) => "flush",
            Self::Heal { .. } => "heal",
            Self::Tail { .. } => "tail",
            Self::Block(_) => "block",
            Self::Ask => "ask",
            Self::Finish(_) => "finish",
            Self::End => "end",
        }
    }
}

/// What came of a step.
#[derive(Debug)]
pub(crate) enum Done {
    /// The cursor as it is stored.
    Loaded(Cursor),
    /// The effect is there; what the consumer remembers from now on.
    Handled(Option<Arc<str>>),
    /// The event does not concern the consumer: no effect, no stored cursor.
    Passed,
    /// The event cannot be handled, or the next one not be read.
    Refused(Refusal),
    /// The cursor is stored.
    Flushed,
    /// The events that follow, in order.
    Read(Vec<RecordedEvent>),
    /// One of several events cannot be read.
    Unreadable,
    /// The refused event is in a letter.
    Blocked,
    /// The letter, if there is one.
    Asked(Option<Letter>),
    /// The released letter is gone.
    Finished,
}
