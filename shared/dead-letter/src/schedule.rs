//! Which letters there are, and when each is due. No input or output.
//!
//! Pauses are measured on this process's own monotonic clock, from when a letter's last change was
//! first seen: no two processes' clocks are compared. Who takes a slot over waits anew, at most for
//! the longest pause.

use crate::letter::{Key, Summary};
use cdc::{ErrorClass, LetterState};
use leases::AttemptId;
use runtime::{Backoff, BackoffConfig};
use std::collections::HashMap;
use tokio::time::Instant;

#[derive(Debug)]
struct Entry {
    /// The change that `due` was worked out for; `None` after an attempt. What a scan saw while the
    /// attempt was under way says nothing: the next scan decides.
    change: Option<AttemptId>,
    state: LetterState,
    /// Whether a process may have died of it.
    is_suspect: bool,
    first_failed_ms: i64,
    /// `None` when nothing is to be done.
    due: Option<Instant>,
    is_running: bool,
    /// Attempts in a row that failed for a reason that may pass.
    transport_failures: u32,
}

impl Entry {
    fn is_suspect_due(&self, now: Instant) -> bool {
        self.is_suspect && !self.is_running && self.due.is_some_and(|due| due <= now)
    }
}

/// How an attempt ended, as far as the schedule has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The letter is gone, parked, or changed by somebody.
    Settled,
    /// The event failed again.
    Failed(ErrorClass),
    /// The attempt could not be made: the letters or the ledger are out of reach.
    NotMade,
}

/// The letters of one consumer in the slots that this process holds.
#[derive(Debug)]
pub(crate) struct Schedule {
    pauses: BackoffConfig,
    entries: HashMap<Key, Entry>,
}

impl Schedule {
    pub(crate) fn new(pauses: BackoffConfig) -> Self {
        Self { pauses, entries: HashMap::new() }
    }

    /// Takes in what a scan found: what is missing there is gone. Bounded by the scan.
    pub(crate) fn update(&mut self, letters: &[Summary], now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        for letter in letters {
            let known = before.remove(&letter.key);
            let entry = self.entry(letter, known, now);
            self.entries.insert(letter.key.clone(), entry);
        }
        // What is being tried stays until that has ended.
        self.entries.extend(before.into_iter().filter(|(_, entry)| entry.is_running));
    }

    fn entry(&self, letter: &Summary, known: Option<Entry>, now: Instant) -> Entry {
        let change = letter.stamp.attempt;
        let (is_running, transport_failures) =
            known.as_ref().map_or((false, 0), |e| (e.is_running, e.transport_failures));
        if let Some(known) = known
            && known.change == Some(change)
        {
            return known;
        }
        let due = match letter.state {
            LetterState::Parked => None,
            LetterState::Released => Some(now),
            LetterState::Blocked => Some(now + self.pause(letter.attempts.max(transport_failures))),
        };
        Entry {
            change: Some(change),
            state: letter.state,
            is_suspect: letter.crashes > 0,
            first_failed_ms: letter.first_failed_ms,
            due,
            is_running,
            transport_failures,
        }
    }

    /// The pause after so many attempts: none before the first.
    fn pause(&self, attempts: u32) -> std::time::Duration {
        match attempts.checked_sub(1) {
            Some(failures) => Backoff::resumed(self.pauses, failures).next_pause(),
            None => std::time::Duration::ZERO,
        }
    }

    /// A letter that is due and of which a process may have died. It counts as running until
    /// [`Schedule::ended`].
    pub(crate) fn start_suspect(&mut self, now: Instant) -> Option<Key> {
        let found = self.entries.iter_mut().find(|(_, entry)| entry.is_suspect_due(now));
        found.map(|(key, entry)| {
            entry.is_running = true;
            key.clone()
        })
    }

    /// Whether there is one.
    pub(crate) fn has_suspect(&self, now: Instant) -> bool {
        self.entries.values().any(|entry| entry.is_suspect_due(now))
    }

    /// The letters that are due, the longest due first, at most `limit`. They count as running until
    /// [`Schedule::ended`].
    pub(crate) fn start(&mut self, now: Instant, limit: usize) -> Vec<Key> {
        let due = |entry: &Entry| entry.due.filter(|due| !entry.is_running && *due <= now);
        let mut found: Vec<(Instant, Key)> = self
            .entries
            .iter()
            .filter_map(|(key, entry)| due(entry).map(|due| (due, key.clone())))
            .collect();
        found.sort_unstable();
        found.truncate(limit);
        let keys: Vec<Key> = found.into_iter().map(|(_, key)| key).collect();
        for key in &keys {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.is_running = true;
            }
        }
        keys
    }

    /// An attempt ended. It changed the letter, so that the next scan says what is to be done;
    /// except one that was not made, which is due again after a pause.
    pub(crate) fn ended(&mut self, key: &Key, ended: Ended, now: Instant) {
        let Some(failures) = self.entries.get(key).map(|entry| entry.transport_failures) else {
            return;
        };
        let (failures, due) = match ended {
            Ended::Settled | Ended::Failed(ErrorClass::Poison | ErrorClass::Fatal) => (0, None),
            Ended::Failed(ErrorClass::Transport) => (failures.saturating_add(1), None),
            Ended::NotMade => {
                let failures = failures.saturating_add(1);
                (failures, Some(now + self.pause(failures)))
            }
        };
        if let Some(entry) = self.entries.get_mut(key) {
            entry.is_running = false;
            entry.transport_failures = failures;
            entry.due = due;
            if due.is_none() {
                entry.change = None;
            }
        }
    }

    /// When the next letter that is not running is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.entries.values().filter(|entry| !entry.is_running).filter_map(|entry| entry.due).min()
    }

    /// How many letters are in a state.
    pub(crate) fn count(&self, state: LetterState) -> usize {
        self.entries.values().filter(|entry| entry.state == state).count()
    }

    /// When the oldest letter failed first, in milliseconds since 1970.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.entries.values().map(|entry| entry.first_failed_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::Stamp;
    use kernel::Version;
    use leases::{Revision, Slot};
    use std::time::Duration;
    use uuid::Uuid;

    fn letter(change: u128) -> Summary {
        Summary {
            key: Key { consumer: "c".to_owned(), slot: Slot(1), aggregate_id: Uuid::nil() },
            class: ErrorClass::Poison,
            state: LetterState::Blocked,
            attempts: 2,
            crashes: 0,
            first_failed_ms: 0,
            version: Version(1),
            stamp: Stamp { revision: Revision(1), attempt: AttemptId(Uuid::from_u128(change)) },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_scan_saw_of_an_attempt_under_way_does_not_hold_its_letter_back() {
        let pauses = BackoffConfig { initial_ms: 1_000, max_ms: 4_000 };
        let mut schedule = Schedule::new(pauses);
        schedule.update(&[letter(1)], Instant::now());
        tokio::time::advance(Duration::from_secs(4)).await;
        let key = schedule.start(Instant::now(), 1).pop().expect("due");
        // The attempt has written its failure down; a scan sees that before the attempt is told.
        schedule.update(&[letter(2)], Instant::now());
        schedule.ended(&key, Ended::Failed(ErrorClass::Poison), Instant::now());
        assert_eq!(schedule.next_due(), None, "the next scan decides");
        schedule.update(&[letter(2)], Instant::now());
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(schedule.start(Instant::now(), 1), [key]);
    }
}
