//! What a person may do with letters: look, have them tried at once, give an event up.

use crate::change::{self, Change, Changed};
use crate::error::LetterError;
use crate::letter::{Key, Letter, Stamp, Stored, now_ms};
use crate::store::{LetterStore, Strength};
use crate::table::{COLUMNS, Row, Table, failed, misread, version_column};
use cdc::{ErrorClass, EventName, LetterState, Refusal, Replay, StoreError};
use futures::TryStreamExt;
use kernel::Version;
use runtime::test_hooks::crash_point;
use scylla::client::session::Session;
use scylla::value::CqlTimestamp;
use std::sync::Arc;
use time::OffsetDateTime;
use uuid::Uuid;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no such letter.
    #[error("{consumer} has no dead letter for aggregate {aggregate_id}")]
    NotFound {
        /// The consumer.
        consumer: String,
        /// The aggregate.
        aggregate_id: Uuid,
    },
    /// Only events of parked letters are given up.
    #[error("the letter is {state}, only parked ones are discarded")]
    NotParked {
        /// Its state.
        state: &'static str,
    },
    /// Somebody is giving the event up; the same command finishes what was interrupted.
    #[error("the event is being discarded by action {action}; discard it again to finish that")]
    BeingDiscarded {
        /// The operator's action.
        action: Uuid,
    },
    /// Somebody else changed the letter at the same time.
    #[error("somebody else changed the letter meanwhile; look at it again")]
    Changed,
    /// The row makes no sense; a retry replaces it.
    #[error("the letter cannot be read: {reason}; retry replaces it")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// Earlier events of the aggregate are not handled yet.
    #[error("events before version {version} are not handled yet")]
    NotNext {
        /// The letter's version.
        version: Version,
    },
    /// The letters are out of reach.
    #[error("letters")]
    Letters(#[from] LetterError),
    /// The cursors or the ledger are out of reach.
    #[error("cursors")]
    Surroundings(#[from] StoreError),
}

/// Which letters are meant; what is `None` is not asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Consumer.
    pub consumer: Option<String>,
    /// State.
    pub state: Option<LetterState>,
    /// Type of the event that failed.
    pub event_type: Option<String>,
}

/// What came of a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// It is tried at the retrier's next look.
    Due,
    /// It was released already.
    Released,
}

/// Who acts, and why.
#[derive(Debug, Clone)]
pub struct Actor {
    /// As the operating system names the user.
    pub operator: String,
    /// In the actor's words; may be empty for a retry.
    pub reason: String,
}

/// Changes letters by hand.
pub struct Operator {
    session: Arc<Session>,
    table: Table,
    replay: Replay,
}

impl Filter {
    /// Whether a row is meant. One that cannot be read is, unless more than its consumer is asked for.
    fn wants(&self, stored: &Stored) -> bool {
        if self.consumer.as_ref().is_some_and(|wanted| *wanted != stored.key().consumer) {
            return false;
        }
        match stored {
            Stored::Letter(letter) => {
                self.state.is_none_or(|state| state == letter.state)
                    && (self.event_type.is_none() || self.event_type == letter.event_type)
            }
            Stored::Unreadable(_) => self.state.is_none() && self.event_type.is_none(),
        }
    }
}

impl Operator {
    /// Works with letters through `session`; cursors and events through `replay`.
    pub async fn open(session: Arc<Session>, replay: Replay) -> Result<Self, LetterError> {
        Ok(Self { table: Table::open(session.clone()).await?, session, replay })
    }

    /// The letters that the filter means, at most `limit`, by consumer, slot and aggregate. Reads the
    /// whole table.
    pub async fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<Stored>, LetterError> {
        let what = || "list the letters".to_owned();
        let cql = format!("SELECT {COLUMNS} FROM dead_letter_queue");
        let rows = self.session.query_iter(cql, ()).await;
        let rows = rows.map_err(|error| misread(what(), error))?;
        let mut rows = rows.rows_stream::<Row>().map_err(|error| misread(what(), error))?;
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(|error| misread(what(), error))? {
            let stored = row.decode();
            if filter.wants(&stored) {
                found.push(stored);
            }
            if found.len() >= limit {
                break;
            }
        }
        found.sort_by(|a, b| a.key().cmp(b.key()));
        Ok(found)
    }

    /// What is stored under a key.
    pub async fn show(&self, key: &Key) -> Result<Stored, OperatorError> {
        let found = self.table.read(key, Strength::Serial).await?;
        found.ok_or_else(|| OperatorError::NotFound {
            consumer: key.consumer.clone(),
            aggregate_id: key.aggregate_id,
        })
    }

    /// Has a letter tried at once, with all its attempts before it. A letter that cannot be read is
    /// replaced. A second call changes nothing further.
    pub async fn retry(&self, key: &Key, actor: &Actor) -> Result<Retried, OperatorError> {
        let stored = self.show(key).await?;
        let due = match &stored {
            Stored::Letter(Letter { discard: Some(action), .. }) => {
                return Err(OperatorError::BeingDiscarded { action: *action });
            }
            Stored::Letter(letter) if letter.state == LetterState::Released => {
                return Ok(Retried::Released);
            }
            Stored::Letter(letter) => letter.due(),
            Stored::Unreadable(_) => self.replacement(key).await?,
        };
        self.record(Uuid::now_v7(), "dlq retry", key, actor).await?;
        self.change(&stored, &due).await?;
        Ok(Retried::Due)
    }

    /// A letter in place of one that cannot be read.
    async fn replacement(&self, key: &Key) -> Result<Letter, OperatorError> {
        let aggregate_id = key.aggregate_id;
        let version = self.replay.cursor(&key.consumer, aggregate_id).await?.next();
        let event = EventName::unread(aggregate_id, version);
        let error = "the letter could not be read".to_owned();
        let refusal = Refusal { event, class: ErrorClass::Poison, error };
        let letter = Letter::new(key.clone(), &refusal, Stamp::after(None));
        Ok(letter.due())
    }

    /// Gives the letter's event up: its effect on the consumer is left out for good, and the
    /// aggregate goes on behind it. Only for parked letters. Gives the id of the recorded action.
    /// When it errs half-way, the same call finishes it.
    pub async fn discard(&self, key: &Key, actor: &Actor) -> Result<Uuid, OperatorError> {
        let letter = match self.show(key).await? {
            Stored::Letter(letter) => letter,
            Stored::Unreadable(row) => {
                return Err(OperatorError::Unreadable { reason: row.reason });
            }
        };
        if letter.state != LetterState::Parked {
            let state = crate::letter::state_name(letter.state);
            return Err(OperatorError::NotParked { state });
        }
        // From here on nobody else tries the event: the cursor is to have one writer.
        let (action, claimed) = match letter.discard {
            Some(action) => (action, letter),
            None => {
                let action = Uuid::now_v7();
                let claimed = letter.given_up(action);
                self.change(&Stored::Letter(letter), &claimed).await?;
                (action, claimed)
            }
        };
        crash_point("dlq.discard-claimed");
        self.record(action, "dlq discard", key, actor).await?;
        self.record_discard(action, &claimed, &actor.reason).await?;
        crash_point("dlq.discard-recorded");
        let version = claimed.version;
        if !self.replay.skip(&key.consumer, key.aggregate_id, version).await? {
            return Err(OperatorError::NotNext { version });
        }
        crash_point("dlq.discard-skipped");
        self.change(&Stored::Letter(claimed.clone()), &claimed.released()).await?;
        Ok(action)
    }

    async fn change(&self, from: &Stored, to: &Letter) -> Result<(), OperatorError> {
        match change::make(&self.table, Change::Replace(from, to)).await? {
            Changed::Applied => Ok(()),
            Changed::Lost => Err(OperatorError::Changed),
        }
    }

    /// Who changes what, before it is changed. A second call with the same action changes nothing but
    /// the time and the words.
    async fn record(
        &self,
        action: Uuid,
        verb: &str,
        key: &Key,
        actor: &Actor,
    ) -> Result<(), LetterError> {
        let subject = format!("{} {}", key.consumer, key.aggregate_id);
        let day = OffsetDateTime::now_utc().date().to_string();
        let Actor { operator, reason } = actor;
        let at = CqlTimestamp(now_ms());
        let values = (day, action, verb, subject, reason, operator, at);
        self.write(
            "INSERT INTO operator_actions (day, action, verb, subject, reason, operator, at) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        .await
    }

    async fn record_discard(
        &self,
        action: Uuid,
        letter: &Letter,
        reason: &str,
    ) -> Result<(), LetterError> {
        let Key { consumer, slot, aggregate_id } = &letter.key;
        let values = (
            consumer,
            slot.column(),
            *aggregate_id,
            version_column(letter.version),
            letter.event_id,
            &letter.event_type,
            action,
            reason,
        );
        self.write(
            "INSERT INTO discards (consumer, slot, aggregate_id, version, event_id, event_type, \
             action, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        .await
    }

    /// Writes what may be written twice.
    async fn write(
        &self,
        cql: &str,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<(), LetterError> {
        let what = || "record what is done by hand".to_owned();
        let written = self.session.query_unpaged(cql, values).await;
        written.map(drop).map_err(|error| failed(what(), error))
    }
}
