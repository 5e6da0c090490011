//! Ids and numbers of the append that look alike and must not be mixed up. Each is stored as the
//! value that it wraps.

use std::fmt;
use uuid::Uuid;

/// A process as a writer: the key of its row in `writers`. A process that starts anew has a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WriterId(pub(crate) Uuid);

/// One change of a writer's row. The row has that of its last change, which tells the sender of a
/// request without an answer whether it landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttemptId(pub(crate) Uuid);

/// What a commit rests on: it is applied only while the aggregate's partition has the fence that
/// was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fence(pub(crate) Uuid);

/// How often a writer's row was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counter(pub(crate) i64);

/// A writer's intents are in numbered buckets; this is the number of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket(pub(crate) i64);

/// The intents of a bucket are spread over several partitions; this is the number of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread(pub(crate) i32);

impl WriterId {
    /// One that nobody has.
    pub(crate) fn fresh() -> Self {
        Self(Uuid::new_v4())
    }
}

impl AttemptId {
    /// One that nobody has.
    pub(crate) fn fresh() -> Self {
        Self(Uuid::new_v4())
    }
}

impl Fence {
    /// One that no aggregate ever had.
    pub(crate) fn fresh() -> Self {
        Self(Uuid::new_v4())
    }
}

impl Counter {
    /// Of a writer without a row.
    pub(crate) const NONE: Self = Self(0);

    /// After one more change.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Bucket {
    /// A writer's first one.
    pub(crate) const FIRST: Self = Self(0);

    /// The one so many later.
    pub(crate) fn after(self, buckets: u32) -> Self {
        Self(self.0 + i64::from(buckets))
    }

    /// From this one to the last, both included.
    pub(crate) fn up_to(self, last: Self) -> impl Iterator<Item = Self> + use<> {
        (self.0..=last.0).map(Self)
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
