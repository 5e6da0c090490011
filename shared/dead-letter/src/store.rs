//! What is asked of the letters' table, as a narrow trait: [`crate::table`] has the real one, the
//! tests bring one of their own.

use crate::error::LetterError;
use crate::letter::{Key, Letter, Stored, Summary, Unreadable};
use async_trait::async_trait;
use kernel::Version;
use leases::Slot;
use uuid::Uuid;

/// With which strength a letter is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strength {
    /// Sees every change that was acknowledged.
    Quorum,
    /// Sees every change that was decided, and settles what is under way.
    Serial,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) letters: Vec<Summary>,
    pub(crate) unreadable: Vec<Unreadable>,
}

/// The tables of this crate. A change's outcome is unknown when it errs.
#[async_trait]
pub(crate) trait LetterStore: Send + Sync + 'static {
    /// The letters of a consumer in some slots, at most `limit`.
    async fn list(
        &self,
        consumer: &str,
        slots: &[Slot],
        limit: usize,
    ) -> Result<Listing, LetterError>;

    /// What is stored under the key.
    async fn read(&self, key: &Key, strength: Strength) -> Result<Option<Stored>, LetterError>;

    /// Stores a letter where there is none. False when there is one.
    async fn insert(&self, letter: &Letter) -> Result<bool, LetterError>;

    /// Stores a letter in place of what is there as it was read. False when it changed.
    async fn replace(&self, from: &Stored, to: &Letter) -> Result<bool, LetterError>;

    /// Removes what is there as it was read. False when it changed.
    async fn remove(&self, from: &Stored) -> Result<bool, LetterError>;

    /// How many attempts are recorded for the version.
    async fn attempts(&self, key: &Key, version: Version) -> Result<u32, LetterError>;

    /// Records one.
    async fn record_attempt(
        &self,
        key: &Key,
        version: Version,
        attempt: Uuid,
    ) -> Result<(), LetterError>;
}
