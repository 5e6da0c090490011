//! One attempt at one letter.
//!
//! ```text
//!  blocked ── attempt recorded ── to the tail ──► released ── to the tail ──► removed
//!     ▲                               │ fails                     │ fails
//!     └───────────────────────────────┴───────────────────────────┘
//!                        the last attempt of a poison event: parked
//! ```
//!
//! *Why the second look at the tail*: a worker that sees an event of a blocked aggregate leaves it to
//! the letter. It reads the letter after it saw the event; the event was in the ledger by then. When
//! it read "blocked", the release had not been acknowledged, so the second look comes later and finds
//! the event. When it read "released", it handles the event itself.
//!
//! A process may die at any place here. What it had begun is recorded in the letter before, so that an
//! event which kills its process runs out of attempts too.

use crate::change::{self, Change, Changed};
use crate::error::LetterError;
use crate::letter::{Key, Letter, Stored};
use crate::metrics;
use crate::schedule::Ended;
use crate::store::{LetterStore, Strength};
use crate::target::Target;
use cdc::{ErrorClass, EventError, LetterState, MayBegin, Refusal, ReplayError, StoreError};
use runtime::chain;
use runtime::test_hooks::crash_point;
use tracing::{debug, error, info, warn};

/// Why an attempt could not be made or written down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    /// The letters are out of reach.
    #[error("letter")]
    Letter(#[from] LetterError),
    /// The cursor or the ledger are out of reach, or do not fit.
    #[error("surroundings")]
    Surroundings(#[from] StoreError),
    /// The event cannot be handled for a reason that lies elsewhere: a bug or the configuration.
    #[error("{event}")]
    Fatal {
        event: Box<cdc::EventName>,
        #[source]
        source: EventError,
    },
}

impl AttemptError {
    /// Whether the process has to stop.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::Letter(error) => matches!(error, LetterError::Refused { .. }),
            Self::Surroundings(error) => error.class == ErrorClass::Fatal,
            Self::Fatal { .. } => true,
        }
    }
}

/// What an attempt works with.
pub(crate) struct Attempt<'a> {
    pub(crate) store: &'a dyn LetterStore,
    pub(crate) target: &'a dyn Target,
    pub(crate) attempts_max: u32,
    /// So many attempts in a row may end with their process.
    pub(crate) crashes_max: u32,
    /// About when the next one would be, for people.
    pub(crate) next_attempt_ms: i64,
    /// Whether the next event may be handled.
    pub(crate) may_begin: &'a MayBegin,
}

/// Nothing further is to be done: the letter became somebody else's, or the process stops.
struct Left;

impl Attempt<'_> {
    /// Does what the letter needs now. All that it has done is stored when it returns; a second call
    /// continues.
    pub(crate) async fn make(&self, key: &Key) -> Result<Ended, AttemptError> {
        let letter = match self.store.read(key, Strength::Serial).await? {
            Some(Stored::Letter(letter)) => letter,
            Some(Stored::Unreadable(_)) | None => return Ok(Ended::Settled),
        };
        match letter.state {
            LetterState::Parked => Ok(Ended::Settled),
            LetterState::Blocked => self.handle(&letter).await,
            LetterState::Released => self.finish_another(&letter).await,
        }
    }

    /// Blocked: tries everything behind the cursor.
    async fn handle(&self, letter: &Letter) -> Result<Ended, AttemptError> {
        let Some(begun) = self.begin(letter).await? else { return Ok(Ended::Settled) };
        if begun.state == LetterState::Parked {
            return Ok(Ended::Settled);
        }
        if let Err(ended) = self.to_tail(&begun).await? {
            return Ok(ended);
        }
        let released = begun.released();
        if self.replace(&begun, &released).await?.is_err() {
            return Ok(Ended::Settled);
        }
        crash_point("dlq.released");
        self.finish(&released).await
    }

    /// Released by somebody who did not finish: who tried may have died of it.
    async fn finish_another(&self, letter: &Letter) -> Result<Ended, AttemptError> {
        match self.begin(letter).await? {
            Some(begun) if begun.state == LetterState::Released => self.finish(&begun).await,
            _ => Ok(Ended::Settled),
        }
    }

    /// Records that an attempt begins. A letter whose attempts are used up, none of which came back
    /// to say so, is parked instead. `None` when somebody else changed the letter.
    async fn begin(&self, letter: &Letter) -> Result<Option<Letter>, AttemptError> {
        let cursor = self.target.cursor(letter.key.aggregate_id).await?;
        let begun = letter.begun(cursor, self.next_attempt_ms);
        let died_too_often = begun.crashes > self.crashes_max;
        let tried_too_often = begun.attempts > self.attempts_max
            && (letter.class == ErrorClass::Poison || letter.state == LetterState::Released);
        let is_used_up = died_too_often || tried_too_often;
        let begun = if is_used_up {
            error!(
                consumer = letter.key.consumer,
                aggregate_id = %letter.key.aggregate_id,
                version = letter.version.0,
                attempts = letter.attempts,
                "dead letter parked: its attempts did not end"
            );
            letter.parked("the processes that tried it ended")
        } else {
            begun
        };
        let begun = self.replace(letter, &begun).await?.ok().map(|()| begun);
        crash_point("dlq.begun");
        Ok(begun)
    }

    /// Everything up to the tail, again: then nothing is left for the letter.
    async fn finish(&self, released: &Letter) -> Result<Ended, AttemptError> {
        if let Err(ended) = self.to_tail(released).await? {
            return Ok(ended);
        }
        let stored = Stored::Letter(released.clone());
        let removed = change::make(self.store, Change::Remove(&stored)).await?;
        crash_point("dlq.removed");
        let Key { consumer, aggregate_id, .. } = &released.key;
        if removed == Changed::Applied {
            metrics::ATTEMPTS.with_label_values(&[consumer.as_str(), "none"]).inc();
            info!(consumer, %aggregate_id, "dead letter handled, its aggregate goes on");
        }
        Ok(Ended::Settled)
    }

    /// Hands events to the consumer; writes a failure into the letter.
    async fn to_tail(&self, begun: &Letter) -> Result<Result<(), Ended>, AttemptError> {
        let Key { consumer, aggregate_id, .. } = &begun.key;
        let (event, source) = match self.target.to_tail(*aggregate_id, self.may_begin).await {
            Ok(version) => {
                debug!(consumer, %aggregate_id, version = version.0, "dead letter handled up to the tail");
                return Ok(Ok(()));
            }
            Err(ReplayError::Surroundings { source, .. }) => {
                self.take_back(begun).await;
                return Err(source.into());
            }
            Err(ReplayError::Stopped) => {
                self.take_back(begun).await;
                return Ok(Err(Ended::Settled));
            }
            Err(ReplayError::Event { event, source }) => (event, source),
        };
        let class = source.class();
        if class == ErrorClass::Fatal {
            return Err(AttemptError::Fatal { event, source });
        }
        let error = chain(&source).to_string();
        let refusal = Refusal { event: *event, class, error };
        let failed = begun.failed(&refusal, self.attempts_max);
        if self.replace(begun, &failed).await?.is_err() {
            return Ok(Err(Ended::Settled));
        }
        metrics::ATTEMPTS.with_label_values(&[consumer.as_str(), class.name()]).inc();
        let (event, error, attempts) = (&refusal.event, &refusal.error, failed.attempts);
        event.about().in_scope(|| {
            if failed.state == LetterState::Parked {
                error!(consumer, %event, attempts, error, "dead letter parked: a person must act");
            } else {
                warn!(consumer, %event, attempts, error, "dead letter failed again");
            }
        });
        Ok(Err(Ended::Failed(class)))
    }

    /// The attempt says nothing of its event and is not to count: neither an outage nor a shutdown
    /// parks a letter. What is out of reach for this too leaves the attempt counted.
    async fn take_back(&self, begun: &Letter) {
        if begun.state != LetterState::Blocked {
            return;
        }
        // Another change that came meanwhile stands.
        if let Err(error) = self.replace(begun, &begun.not_tried()).await {
            let (error, Key { consumer, aggregate_id, .. }) = (chain(&error), &begun.key);
            debug!(consumer, %aggregate_id, %error, "attempt at a dead letter not taken back");
        }
    }

    /// Puts a letter in place of another. `Err(Left)` when somebody else changed it.
    async fn replace(&self, from: &Letter, to: &Letter) -> Result<Result<(), Left>, AttemptError> {
        let from = Stored::Letter(from.clone());
        match change::make(self.store, Change::Replace(&from, to)).await? {
            Changed::Applied => Ok(Ok(())),
            Changed::Lost => {
                let Key { consumer, aggregate_id, .. } = &to.key;
                debug!(consumer, %aggregate_id, "somebody else changed the dead letter");
                Ok(Err(Left))
            }
        }
    }
}
