//! The world's letters, and somebody who retries them.

use super::{SLOTS, World, unreachable};
use crate::consumer::ChangeConsumer;
use crate::error::StoreError;
use crate::letters::{Letter, LetterKey, LetterState, Letters, Refusal};
use crate::ordering::{Replay, ReplayError};
use crate::reading::generation::token_of;
use async_trait::async_trait;
use kernel::Version;
use leases::{AttemptId, Slot};
use std::sync::Arc;
use uuid::Uuid;

/// A letter with what it says.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) letter: Letter,
    pub(crate) refusal: Refusal,
}

fn key_of(key: LetterKey<'_>) -> (Uuid, String) {
    (key.aggregate_id, key.consumer.to_owned())
}

impl World {
    pub(crate) fn letter(&self, consumer: &str, aggregate_id: Uuid) -> Option<Found> {
        self.state().letters.get(&(aggregate_id, consumer.to_owned())).cloned()
    }

    /// Which aggregates of a consumer have a letter.
    pub(crate) fn letters_of(&self, consumer: &str) -> Vec<Uuid> {
        let state = self.state();
        state.letters.keys().filter(|(_, by)| by == consumer).map(|(id, _)| *id).collect()
    }

    /// Puts a letter there, or another one in its place.
    pub(crate) fn put_letter(
        &self,
        consumer: &str,
        aggregate_id: Uuid,
        refusal: Refusal,
        state: LetterState,
    ) {
        let mut world = self.state();
        let change = AttemptId(Uuid::from_u128(world.draw().into()));
        let letter = Letter { version: refusal.event.version, state, change };
        let key = (aggregate_id, consumer.to_owned());
        world.had_letter.insert(key.clone());
        world.letters.insert(key, Found { letter, refusal });
    }

    /// The ledger's row of an event becomes one that nobody can read, or is repaired.
    pub(crate) fn corrupt(&self, aggregate_id: Uuid, version: u64, is_corrupt: bool) {
        let mut state = self.state();
        if is_corrupt {
            state.unreadable.insert((aggregate_id, version));
        } else {
            state.unreadable.remove(&(aggregate_id, version));
        }
    }

    /// Consumers that ask are told that events of this aggregate cannot be handled.
    pub(crate) fn poison(&self, aggregate_id: Uuid) {
        self.state().poisoned.insert(aggregate_id);
    }

    /// All events can be handled from now on.
    pub(crate) fn cure(&self) {
        self.state().poisoned.clear();
    }

    pub(crate) fn is_poisoned(&self, aggregate_id: Uuid) -> bool {
        self.state().poisoned.contains(&aggregate_id)
    }

    pub(crate) fn had_letter(&self, consumer: &str, aggregate_id: Uuid) -> bool {
        self.state().had_letter.contains(&(aggregate_id, consumer.to_owned()))
    }

    /// Attempts recorded of an event.
    pub(crate) fn attempts(&self, consumer: &str, aggregate_id: Uuid, version: u64) -> u32 {
        let key = (consumer.to_owned(), aggregate_id, version);
        self.state().attempts.get(&key).copied().unwrap_or_default()
    }

    /// What whoever retries a letter does: to the tail, release, to the tail again, remove. True when
    /// all of that succeeded, or there is no letter.
    pub(crate) async fn retry(&self, consumer: &dyn ChangeConsumer, aggregate_id: Uuid) -> bool {
        let world = Arc::new(self.clone());
        let replay = Replay::over(world.clone(), world, 2);
        let by = consumer.name();
        let Some(Found { letter, refusal }) = self.letter(by, aggregate_id) else { return true };
        let mut change = letter.change;
        if letter.blocks() {
            if !self.replay(&replay, consumer, aggregate_id, change).await {
                return false;
            }
            self.latency().await;
            match self.put_in_place(by, aggregate_id, change, refusal, LetterState::Released) {
                Some(released) => change = released,
                None => return false,
            }
        }
        if !self.replay(&replay, consumer, aggregate_id, change).await {
            return false;
        }
        let key = LetterKey { consumer: by, slot: self.slot_of(aggregate_id), aggregate_id };
        Letters::finish(self, key, change).await.is_ok()
    }

    /// Whether the tail was reached. A failure goes into the letter.
    async fn replay(
        &self,
        replay: &Replay,
        consumer: &dyn ChangeConsumer,
        aggregate_id: Uuid,
        change: AttemptId,
    ) -> bool {
        match replay.to_tail(consumer, aggregate_id, &|| true).await {
            Ok(_) => true,
            Err(ReplayError::Event { event, source }) => {
                let (class, error) = (source.class(), source.to_string());
                let refusal = Refusal { event: *event, class, error };
                let (by, state) = (consumer.name(), LetterState::Blocked);
                self.put_in_place(by, aggregate_id, change, refusal, state);
                false
            }
            Err(_) => false,
        }
    }

    /// Compares and changes; gives the new change when nobody came before.
    fn put_in_place(
        &self,
        consumer: &str,
        aggregate_id: Uuid,
        change: AttemptId,
        refusal: Refusal,
        state: LetterState,
    ) -> Option<AttemptId> {
        let now = self.letter(consumer, aggregate_id).map(|found| found.letter.change);
        if now != Some(change) {
            return None;
        }
        self.put_letter(consumer, aggregate_id, refusal, state);
        self.letter(consumer, aggregate_id).map(|found| found.letter.change)
    }
}

#[async_trait]
impl Letters for World {
    async fn load(&self, consumer: &str, slot: Slot) -> Result<Vec<(Uuid, Letter)>, StoreError> {
        self.latency().await;
        let state = self.state();
        if state.faults.letters_are_down {
            return Err(unreachable("the letters are down"));
        }
        let is_wanted =
            |id: Uuid, by: &str| by == consumer && leases::slot_of(token_of(id), SLOTS) == slot;
        let found = state.letters.iter().filter(|((id, by), _)| is_wanted(*id, by));
        Ok(found.map(|((id, _), found)| (*id, found.letter)).collect())
    }

    async fn read(&self, key: LetterKey<'_>) -> Result<Option<Letter>, StoreError> {
        self.latency().await;
        let found = {
            let mut state = self.state();
            state.counts.letter_reads += 1;
            if state.faults.letters_are_down {
                return Err(unreachable("the letters are down"));
            }
            state.letters.get(&key_of(key)).map(|found| found.letter)
        };
        self.latency().await;
        Ok(found)
    }

    async fn block(&self, key: LetterKey<'_>, refusal: &Refusal) -> Result<(), StoreError> {
        self.latency().await;
        if self.state().faults.letters_are_down {
            return Err(unreachable("the letters are down"));
        }
        let known = self.letter(key.consumer, key.aggregate_id).map(|found| found.letter);
        let is_same =
            known.is_some_and(|known| known.blocks() && known.version == refusal.event.version);
        if !is_same {
            let state = LetterState::Blocked;
            self.put_letter(key.consumer, key.aggregate_id, refusal.clone(), state);
        }
        self.latency().await;
        Ok(())
    }

    async fn finish(&self, key: LetterKey<'_>, change: AttemptId) -> Result<(), StoreError> {
        self.latency().await;
        let mut state = self.state();
        if state.letters.get(&key_of(key)).is_some_and(|found| found.letter.change == change) {
            state.letters.remove(&key_of(key));
        }
        Ok(())
    }

    async fn begin_attempt(&self, key: LetterKey<'_>, version: Version) -> Result<u32, StoreError> {
        let mut state = self.state();
        let key = (key.consumer.to_owned(), key.aggregate_id, version.0);
        let attempts = state.attempts.entry(key).or_default();
        *attempts += 1;
        Ok(*attempts - 1)
    }
}
