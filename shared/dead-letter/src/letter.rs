//! A letter, and what may become of it. No input or output.

use cdc::{ErrorClass, LetterKey, LetterState, Refusal};
use kernel::Version;
use leases::{AttemptId, Revision, Slot};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 2_000;

/// One aggregate in one consumer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The consumer's stored name.
    pub consumer: String,
    /// The aggregate's slot.
    pub slot: Slot,
    /// The aggregate.
    pub aggregate_id: Uuid,
}

impl From<LetterKey<'_>> for Key {
    fn from(key: LetterKey<'_>) -> Self {
        let LetterKey { consumer, slot, aggregate_id } = key;
        Self { consumer: consumer.to_owned(), slot, aggregate_id }
    }
}

/// Which change a row was left by: what the next change compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Raised by every change.
    pub revision: Revision,
    /// The change's own id.
    pub attempt: AttemptId,
}

impl Stamp {
    /// The stamp of a change of a row that has the stamp `from`.
    pub(crate) fn after(from: Option<Stamp>) -> Self {
        let revision = from.map_or(Revision(1), |stamp| stamp.revision.next());
        Self { revision, attempt: AttemptId(Uuid::new_v4()) }
    }
}

/// A row of `dead_letter_queue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Whose letter it is.
    pub key: Key,
    /// The event that failed.
    pub version: Version,
    /// `None` when the event cannot be read.
    pub event_id: Option<Uuid>,
    /// `None` when the event cannot be read.
    pub event_type: Option<String>,
    /// The last error with its causes, cut off.
    pub error: String,
    /// Transport or poison.
    pub class: ErrorClass,
    /// Blocked, parked or released.
    pub state: LetterState,
    /// Attempts of this event that failed or did not end.
    pub attempts: u32,
    /// Attempts in a row that did not end: the processes that made them did, it seems.
    pub crashes: u32,
    /// About when it is tried again, in milliseconds since 1970; for people.
    pub next_attempt_ms: Option<i64>,
    /// When the event failed first, in milliseconds since 1970; for people.
    pub first_failed_ms: i64,
    /// When it failed last, in milliseconds since 1970; for people.
    pub last_failed_ms: i64,
    /// The operator's action that is giving the event up.
    pub discard: Option<Uuid>,
    /// The last change.
    pub stamp: Stamp,
}

/// What a scan reads of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Whose letter it is.
    pub key: Key,
    /// Transport or poison.
    pub class: ErrorClass,
    /// Blocked, parked or released.
    pub state: LetterState,
    /// Attempts of this event that failed or did not end.
    pub attempts: u32,
    /// Attempts in a row that did not end.
    pub crashes: u32,
    /// When the event failed first, in milliseconds since 1970.
    pub first_failed_ms: i64,
    /// The event that failed.
    pub version: Version,
    /// The last change.
    pub stamp: Stamp,
}

/// A row that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Whose letter it is.
    pub key: Key,
    /// What is wrong with it.
    pub reason: String,
    /// What the row has as its last change, as far as it has it.
    pub(crate) revision: Option<Revision>,
    pub(crate) attempt: Option<AttemptId>,
}

/// What is stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// A letter.
    Letter(Letter),
    /// Something that should be one.
    Unreadable(Unreadable),
}

impl Letter {
    /// A letter of an event that just failed for the first time.
    pub(crate) fn new(key: Key, refusal: &Refusal, stamp: Stamp) -> Self {
        let now = now_ms();
        Self {
            key,
            version: refusal.event.version,
            event_id: refusal.event.event_id,
            event_type: refusal.event.event_type.clone(),
            error: refusal.error.chars().take(ERROR_CHARS_MAX).collect(),
            class: refusal.class,
            state: LetterState::Blocked,
            attempts: 1,
            crashes: 0,
            next_attempt_ms: None,
            first_failed_ms: now,
            last_failed_ms: now,
            discard: None,
            stamp,
        }
    }

    /// The same letter after another change.
    fn changed(&self) -> Self {
        Self { stamp: Stamp::after(Some(self.stamp)), ..self.clone() }
    }

    /// Before an attempt: later ones know that it was begun. The cursor may be past the
    /// event already; then the next one is what is tried.
    pub(crate) fn begun(&self, cursor: Version, next_attempt_ms: i64) -> Self {
        let next_attempt_ms = Some(next_attempt_ms);
        let begun = Self { next_attempt_ms, ..self.changed() };
        if cursor < self.version {
            let attempts = self.attempts.saturating_add(1);
            return Self { attempts, crashes: self.crashes.saturating_add(1), ..begun };
        }
        let (event_id, event_type) = (None, None);
        Self { version: cursor.next(), event_id, event_type, attempts: 1, crashes: 1, ..begun }
    }

    /// After an attempt that was begun and ended without a word on the event.
    pub(crate) fn not_tried(&self) -> Self {
        Self { attempts: self.attempts.saturating_sub(1), crashes: 0, ..self.changed() }
    }

    /// After an attempt that failed. Poison is parked after `attempts_max`. What may pass does not
    /// count as an attempt of a poison event.
    pub(crate) fn failed(&self, refusal: &Refusal, attempts_max: u32) -> Self {
        let fresh = Self::new(self.key.clone(), refusal, Stamp::after(Some(self.stamp)));
        let is_same = fresh.version == self.version;
        let first_failed_ms = if is_same { self.first_failed_ms } else { fresh.first_failed_ms };
        let before = Self { next_attempt_ms: self.next_attempt_ms, first_failed_ms, ..fresh };
        let (class, attempts) = match (is_same, self.class, refusal.class) {
            (true, ErrorClass::Poison, ErrorClass::Transport) => {
                (ErrorClass::Poison, self.attempts.saturating_sub(1))
            }
            (true, ErrorClass::Transport, ErrorClass::Poison) | (false, ..) => (refusal.class, 1),
            (true, ..) => (refusal.class, self.attempts),
        };
        let failed = Self { class, attempts, ..before };
        if failed.class == ErrorClass::Poison
            && refusal.class == ErrorClass::Poison
            && attempts >= attempts_max
        {
            return Self { state: LetterState::Parked, next_attempt_ms: None, ..failed };
        }
        failed
    }

    /// Given up until a person acts.
    pub(crate) fn parked(&self, why: &str) -> Self {
        let error = format!("{why}; before: {}", self.error);
        Self {
            state: LetterState::Parked,
            class: ErrorClass::Poison,
            next_attempt_ms: None,
            error: error.chars().take(ERROR_CHARS_MAX).collect(),
            ..self.changed()
        }
    }

    /// The aggregate is to be worked on again.
    pub(crate) fn released(&self) -> Self {
        let state = LetterState::Released;
        Self {
            state,
            attempts: 0,
            crashes: 0,
            next_attempt_ms: None,
            discard: None,
            ..self.changed()
        }
    }

    /// To be tried at once, as if it had never been tried.
    pub(crate) fn due(&self) -> Self {
        let state = LetterState::Blocked;
        Self { state, attempts: 0, crashes: 0, next_attempt_ms: None, ..self.changed() }
    }

    /// Marked as being given up by an operator's action.
    pub(crate) fn given_up(&self, action: Uuid) -> Self {
        Self { discard: Some(action), ..self.changed() }
    }

    /// What the sequencer knows of it.
    pub(crate) fn as_seen(&self) -> cdc::Letter {
        cdc::Letter { version: self.version, state: self.state, change: self.stamp.attempt }
    }
}

impl Stored {
    /// The comparison that the next change makes. What is missing is compared as missing.
    pub(crate) fn compared(&self) -> (Option<Revision>, Option<AttemptId>) {
        match self {
            Self::Letter(letter) => (Some(letter.stamp.revision), Some(letter.stamp.attempt)),
            Self::Unreadable(row) => (row.revision, row.attempt),
        }
    }

    /// Whose letter it is.
    pub fn key(&self) -> &Key {
        match self {
            Self::Letter(letter) => &letter.key,
            Self::Unreadable(row) => &row.key,
        }
    }

    pub(crate) fn attempt(&self) -> Option<AttemptId> {
        self.compared().1
    }
}

/// The stored name of a state.
pub fn state_name(state: LetterState) -> &'static str {
    match state {
        LetterState::Blocked => "blocked",
        LetterState::Parked => "parked",
        LetterState::Released => "released",
    }
}

/// The state of a stored name.
pub fn state_of(name: &str) -> Option<LetterState> {
    [LetterState::Blocked, LetterState::Parked, LetterState::Released]
        .into_iter()
        .find(|state| state_name(*state) == name)
}

/// The class of a stored name; a letter is never fatal.
pub(crate) fn class_of(name: &str) -> Option<ErrorClass> {
    [ErrorClass::Transport, ErrorClass::Poison].into_iter().find(|class| class.name() == name)
}

/// For people and metrics: no decision rests on it.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
