//! The states of a lane. What cannot be together cannot be written down.

use crate::letters::Refusal;
use crate::source::Cursor;
use kernel::Version;
use leases::AttemptId;
use std::sync::Arc;

/// Where a lane is.
#[derive(Debug)]
pub(super) enum State {
    /// Its cursor is to be read.
    Load(Gate),
    /// What is up to the cursor is handled, and the cursor stored.
    At(Cursor, Gate),
    /// The cursor's event was handled; the cursor is to be stored.
    Handled(Cursor, Gate),
    /// The event after the cursor was refused; that is to be written down.
    Refused(Cursor, Arc<Refusal>),
    /// There may be a letter: it is to be read. So many waiters were there before that began.
    Ask { cursor: Option<Cursor>, arrivals: Arrivals, asked_for: usize },
}

/// Up to where a lane's events may be handled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gate {
    /// All that are wanted.
    Open,
    /// All up to the aggregate's tail, whatever was announced; the last look may have found nothing
    /// behind the cursor. A letter that was found released is removed then.
    ToTail { is_reached: bool, released: Option<AttemptId> },
    /// Those before the version from which on a letter blocks.
    Until { blocked_from: Version, arrivals: Arrivals },
}

/// What was announced while there was, or may have been, a letter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrivals {
    /// The least version.
    pub(super) lowest: Version,
    /// More came since the letter was read: what it said does not speak for that.
    pub(super) is_stale: bool,
}

impl State {
    /// After the cursor was read, or before that.
    pub(super) fn at(cursor: Option<Cursor>, gate: Gate) -> Self {
        match cursor {
            Some(cursor) => Self::At(cursor, gate),
            None => Self::Load(gate),
        }
    }

    pub(super) fn ask(cursor: Option<Cursor>, lowest: Version) -> Self {
        Self::Ask { cursor, arrivals: Arrivals { lowest, is_stale: false }, asked_for: 0 }
    }

    /// What came while a letter may have had the aggregate; `None` where none has.
    pub(super) fn arrivals(&mut self) -> Option<&mut Arrivals> {
        match self {
            Self::Ask { arrivals, .. }
            | Self::Load(Gate::Until { arrivals, .. })
            | Self::At(_, Gate::Until { arrivals, .. })
            | Self::Handled(_, Gate::Until { arrivals, .. }) => Some(arrivals),
            _ => None,
        }
    }
}
