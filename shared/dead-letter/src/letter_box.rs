//! Letters as the sequencers of the workers see them.

use crate::change::{self, Change, Changed};
use crate::error::LetterError;
use crate::letter::{Key, Letter, Stamp, Stored};
use crate::store::{LetterStore, Strength};
use crate::table::Table;
use async_trait::async_trait;
use cdc::{LetterKey, LetterState, Letters, Refusal, StoreError};
use kernel::Version;
use leases::{AttemptId, Slot};
use runtime::test_hooks::crash_point;
use scylla::client::session::Session;
use std::sync::Arc;
use tracing::{error, warn};
use uuid::Uuid;

/// How often a letter is looked at again because somebody else changed it.
const ROUNDS_MAX: u32 = 10;

/// The letters of all consumers.
pub struct LetterBox {
    store: Arc<dyn LetterStore>,
    /// How many letters of a slot a takeover loads.
    loaded_max: usize,
}

impl LetterBox {
    /// Prepares the statements; the tables must be there. A takeover loads at most `loaded_max`
    /// letters of a slot: `blocked_aggregates_max` of the group.
    pub async fn open(session: Arc<Session>, loaded_max: usize) -> Result<Self, LetterError> {
        Ok(Self::over(Arc::new(Table::open(session).await?), loaded_max))
    }

    pub(crate) fn over(store: Arc<dyn LetterStore>, loaded_max: usize) -> Self {
        Self { store, loaded_max }
    }

    async fn block_one(&self, key: Key, refusal: &Refusal) -> Result<(), LetterError> {
        for _ in 0..ROUNDS_MAX {
            let stored = self.store.read(&key, Strength::Serial).await?;
            let changed = match &stored {
                None => {
                    let letter = Letter::new(key.clone(), refusal, Stamp::after(None));
                    change::make(&*self.store, Change::Insert(&letter)).await?
                }
                Some(Stored::Letter(letter))
                    if letter.state != LetterState::Released
                        && letter.version == refusal.event.version =>
                {
                    return Ok(());
                }
                Some(other) => {
                    let stamp = match other {
                        Stored::Letter(letter) => Some(letter.stamp),
                        Stored::Unreadable(_) => None,
                    };
                    let letter = Letter::new(key.clone(), refusal, Stamp::after(stamp));
                    change::make(&*self.store, Change::Replace(other, &letter)).await?
                }
            };
            if changed == Changed::Applied {
                return Ok(());
            }
        }
        Err(LetterError::Contended { consumer: key.consumer, aggregate_id: key.aggregate_id })
    }
}

#[async_trait]
impl Letters for LetterBox {
    async fn load(
        &self,
        consumer: &str,
        slot: Slot,
    ) -> Result<Vec<(Uuid, cdc::Letter)>, StoreError> {
        let listing = self.store.list(consumer, &[slot], self.loaded_max).await?;
        for row in listing.unreadable {
            let (aggregate_id, reason) = (row.key.aggregate_id, row.reason);
            error!(consumer, slot = slot.0, %aggregate_id, reason, "a dead letter cannot be read");
        }
        let seen = listing.letters.into_iter().map(|letter| {
            let (version, state) = (letter.version, letter.state);
            let change = letter.stamp.attempt;
            (letter.key.aggregate_id, cdc::Letter { version, state, change })
        });
        Ok(seen.collect())
    }

    async fn read(&self, key: LetterKey<'_>) -> Result<Option<cdc::Letter>, StoreError> {
        match self.store.read(&key.into(), Strength::Quorum).await? {
            Some(Stored::Letter(letter)) => Ok(Some(letter.as_seen())),
            Some(Stored::Unreadable(row)) => {
                // It says nothing, so it blocks nothing: the event is tried, and written down anew
                // when it fails.
                let (consumer, aggregate_id) = (key.consumer, key.aggregate_id);
                warn!(consumer, %aggregate_id, reason = row.reason, "a dead letter cannot be read");
                Ok(None)
            }
            None => Ok(None),
        }
    }

    async fn block(&self, key: LetterKey<'_>, refusal: &Refusal) -> Result<(), StoreError> {
        crash_point("dlq.before-insert");
        self.block_one(key.into(), refusal).await?;
        crash_point("dlq.inserted");
        Ok(())
    }

    async fn finish(&self, key: LetterKey<'_>, change: AttemptId) -> Result<(), StoreError> {
        let key = Key::from(key);
        if let Some(stored @ Stored::Letter(_)) = self.store.read(&key, Strength::Serial).await?
            && stored.attempt() == Some(change)
        {
            change::make(&*self.store, Change::Remove(&stored)).await?;
        }
        Ok(())
    }

    async fn begin_attempt(&self, key: LetterKey<'_>, version: Version) -> Result<u32, StoreError> {
        let key = Key::from(key);
        let before = self.store.attempts(&key, version).await?;
        self.store.record_attempt(&key, version, Uuid::new_v4()).await?;
        Ok(before)
    }
}
