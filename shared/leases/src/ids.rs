//! Ids and counters that must not be mixed up. They print as the number or UUID that they hold.

use std::fmt;

use uuid::Uuid;

/// A fixed part of the token ring, the unit of sharing: 0 to the number of slots - 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// A process that takes part in a group, from its start to its end: a member, and the owner of slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub Uuid);

/// Raised by every change of a slot's owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i64);

/// Raised by every change of a row that is changed by LWT alone; each change compares it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

/// One attempt at a change by LWT. Each time that it is sent it carries the same id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub Uuid);

impl Slot {
    /// Every slot, out of so many.
    pub fn all(count: u32) -> impl DoubleEndedIterator<Item = Self> + Clone {
        (0..count).map(Self)
    }

    /// As it is stored.
    pub fn column(self) -> i32 {
        i32::try_from(self.0).expect("the settings allow only a few thousand slots")
    }
}

impl Revision {
    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Shows what is held alone, as errors, logs and readiness texts have it.
macro_rules! shown_as_held {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

shown_as_held!(Slot, MemberId, Epoch, Revision, AttemptId);
