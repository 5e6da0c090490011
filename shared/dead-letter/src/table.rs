//! The tables themselves.

use crate::error::LetterError;
use crate::letter::{
    Key, Letter, Stamp, Stored, Summary, Unreadable, class_of, state_name, state_of,
};
use crate::store::{LetterStore, Listing, Strength};
use async_trait::async_trait;
use cdc::{ErrorClass, LetterState};
use database::error_class;
use database::session::{serial_read, was_applied};
use futures::TryStreamExt;
use scylla::DeserializeRow;
use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue};
use std::error::Error;
use std::sync::Arc;
use uuid::Uuid;

const KEY: &str = "consumer = ? AND slot = ? AND aggregate_id = ?";
/// The columns of [`Row`].
pub(crate) const COLUMNS: &str = "consumer, slot, aggregate_id, version, event_id, event_type, \
     error, class, state, attempts, crashes, next_attempt, first_failed_at, last_failed_at, discard, \
     revision, attempt";
/// The columns of [`SummaryRow`].
const SUMMARY: &str = "consumer, slot, aggregate_id, version, class, state, attempts, \
     crashes, first_failed_at, revision, attempt";

/// Statements, prepared once.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    session: Arc<Session>,
    list: PreparedStatement,
    read: PreparedStatement,
    read_serial: PreparedStatement,
    insert: PreparedStatement,
    replace: PreparedStatement,
    remove: PreparedStatement,
    attempts: PreparedStatement,
    record_attempt: PreparedStatement,
}

/// A row as it is stored: anything may be missing.
#[derive(DeserializeRow)]
pub(crate) struct Row {
    consumer: String,
    slot: i32,
    aggregate_id: Uuid,
    version: Option<i64>,
    event_id: Option<Uuid>,
    event_type: Option<String>,
    error: Option<String>,
    class: Option<String>,
    state: Option<String>,
    attempts: Option<i32>,
    crashes: Option<i32>,
    next_attempt: Option<CqlTimestamp>,
    first_failed_at: Option<CqlTimestamp>,
    last_failed_at: Option<CqlTimestamp>,
    discard: Option<Uuid>,
    revision: Option<i64>,
    attempt: Option<Uuid>,
}

#[derive(DeserializeRow)]
struct SummaryRow {
    consumer: String,
    slot: i32,
    aggregate_id: Uuid,
    version: Option<i64>,
    class: Option<String>,
    state: Option<String>,
    attempts: Option<i32>,
    crashes: Option<i32>,
    first_failed_at: Option<CqlTimestamp>,
    revision: Option<i64>,
    attempt: Option<Uuid>,
}

impl Table {
    /// Prepares the statements; the tables must be there.
    pub(crate) async fn open(session: Arc<Session>) -> Result<Self, LetterError> {
        let prepare = async |cql: &str| {
            session.prepare(cql).await.map_err(|error| LetterError::Storage {
                what: format!("prepare {cql:?}"),
                source: Box::new(error),
            })
        };
        let reading = async |cql: &str| {
            let mut statement = prepare(cql).await?;
            statement.set_is_idempotent(true);
            Ok::<_, LetterError>(statement)
        };
        let read = reading(&format!("SELECT {COLUMNS} FROM dead_letter_queue WHERE {KEY}")).await?;
        let mut read_serial = read.clone();
        read_serial.set_consistency(serial_read(&session));
        let list = format!(
            "SELECT {SUMMARY} FROM dead_letter_queue WHERE consumer = ? AND slot IN ? LIMIT ?"
        );
        let replace = format!(
            "UPDATE dead_letter_queue SET version = ?, event_id = ?, event_type = ?, error = ?, \
             class = ?, state = ?, attempts = ?, crashes = ?, next_attempt = ?, first_failed_at = ?, \
             last_failed_at = ?, discard = ?, revision = ?, attempt = ? WHERE {KEY} \
             IF revision = ? AND attempt = ?"
        );
        Ok(Self {
            list: reading(&list).await?,
            read,
            read_serial,
            insert: prepare(&format!(
                "INSERT INTO dead_letter_queue ({COLUMNS}) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS"
            ))
            .await?,
            replace: prepare(&replace).await?,
            remove: prepare(&format!(
                "DELETE FROM dead_letter_queue WHERE {KEY} IF revision = ? AND attempt = ?"
            ))
            .await?,
            attempts: reading(&format!("SELECT attempt FROM attempts WHERE {KEY} AND version = ?"))
                .await?,
            record_attempt: reading(
                "INSERT INTO attempts (consumer, slot, aggregate_id, version, attempt) \
                 VALUES (?, ?, ?, ?, ?)",
            )
            .await?,
            session,
        })
    }

    /// A conditional change; whether it was applied.
    async fn decide(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        key: &Key,
    ) -> Result<bool, LetterError> {
        let what =
            || format!("change the letter of {} for aggregate {}", key.consumer, key.aggregate_id);
        let answer = self.session.execute_unpaged(statement, values).await;
        let answer = answer.map_err(|error| failed(what(), error))?;
        was_applied(answer).map_err(|error| misread(what(), error))
    }
}

#[async_trait]
impl LetterStore for Table {
    async fn list(
        &self,
        consumer: &str,
        slots: &[u32],
        limit: usize,
    ) -> Result<Listing, LetterError> {
        let what = || format!("list the letters of {consumer}");
        if slots.is_empty() {
            return Ok(Listing::default());
        }
        let slots: Vec<i32> = slots.iter().map(|slot| slot_column(*slot)).collect();
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let rows = self.session.execute_iter(self.list.clone(), (consumer, slots, limit)).await;
        let rows = rows.map_err(|error| misread(what(), error))?;
        let mut rows = rows.rows_stream::<SummaryRow>().map_err(|error| misread(what(), error))?;
        let mut listing = Listing::default();
        while let Some(row) = rows.try_next().await.map_err(|error| misread(what(), error))? {
            match row.decode() {
                Ok(letter) => listing.letters.push(letter),
                Err(row) => listing.unreadable.push(row),
            }
        }
        Ok(listing)
    }

    async fn read(&self, key: &Key, strength: Strength) -> Result<Option<Stored>, LetterError> {
        let what =
            || format!("read the letter of {} for aggregate {}", key.consumer, key.aggregate_id);
        let statement = match strength {
            Strength::Quorum => &self.read,
            Strength::Serial => &self.read_serial,
        };
        let answer = self.session.execute_unpaged(statement, columns_of(key)).await;
        let rows = answer.map_err(|error| failed(what(), error))?.into_rows_result();
        let rows = rows.map_err(|error| misread(what(), error))?;
        let row = rows.maybe_first_row::<Row>().map_err(|error| misread(what(), error))?;
        Ok(row.map(Row::decode))
    }

    async fn insert(&self, letter: &Letter) -> Result<bool, LetterError> {
        let mut values = key_values(&letter.key);
        values.extend(content(letter));
        self.decide(&self.insert, values, &letter.key).await
    }

    async fn replace(&self, from: &Stored, to: &Letter) -> Result<bool, LetterError> {
        let (revision, attempt) = from.compared();
        let mut values = content(to);
        values.extend(key_values(&to.key));
        values.extend([revision.map(CqlValue::BigInt), attempt.map(CqlValue::Uuid)]);
        self.decide(&self.replace, values, &to.key).await
    }

    async fn remove(&self, from: &Stored) -> Result<bool, LetterError> {
        let key = from.key();
        let (consumer, slot, id) = columns_of(key);
        let (revision, attempt) = from.compared();
        self.decide(&self.remove, (consumer, slot, id, revision, attempt), key).await
    }

    async fn attempts(&self, key: &Key, version: u64) -> Result<u32, LetterError> {
        let what = || format!("count the attempts of {} at {}", key.consumer, key.aggregate_id);
        let (consumer, slot, id) = columns_of(key);
        let values = (consumer, slot, id, version_column(version));
        let answer = self.session.execute_unpaged(&self.attempts, values).await;
        let rows = answer.map_err(|error| failed(what(), error))?.into_rows_result();
        let rows = rows.map_err(|error| misread(what(), error))?;
        Ok(u32::try_from(rows.rows_num()).unwrap_or(u32::MAX))
    }

    async fn record_attempt(
        &self,
        key: &Key,
        version: u64,
        attempt: Uuid,
    ) -> Result<(), LetterError> {
        let (consumer, slot, id) = columns_of(key);
        let values = (consumer, slot, id, version_column(version), attempt);
        let answer = self.session.execute_unpaged(&self.record_attempt, values).await;
        let what = || format!("record an attempt of {} at {}", key.consumer, key.aggregate_id);
        answer.map(drop).map_err(|error| failed(what(), error))
    }
}

type Values = Vec<Option<CqlValue>>;

fn key_values(key: &Key) -> Values {
    let (consumer, slot, id) = columns_of(key);
    let values = [CqlValue::Text(consumer.to_owned()), CqlValue::Int(slot), CqlValue::Uuid(id)];
    values.into_iter().map(Some).collect()
}

/// All columns but the key, in the order of [`COLUMNS`].
fn content(letter: &Letter) -> Values {
    let time = |at_ms| CqlValue::Timestamp(CqlTimestamp(at_ms));
    let text = |text: &str| CqlValue::Text(text.to_owned());
    vec![
        Some(CqlValue::BigInt(version_column(letter.version))),
        letter.event_id.map(CqlValue::Uuid),
        letter.event_type.clone().map(CqlValue::Text),
        Some(text(&letter.error)),
        Some(text(letter.class.name())),
        Some(text(state_name(letter.state))),
        Some(CqlValue::Int(i32::try_from(letter.attempts).unwrap_or(i32::MAX))),
        Some(CqlValue::Int(i32::try_from(letter.crashes).unwrap_or(i32::MAX))),
        letter.next_attempt_ms.map(time),
        Some(time(letter.first_failed_ms)),
        Some(time(letter.last_failed_ms)),
        letter.discard.map(CqlValue::Uuid),
        Some(CqlValue::BigInt(letter.stamp.revision)),
        Some(CqlValue::Uuid(letter.stamp.attempt)),
    ]
}

fn columns_of(key: &Key) -> (&str, i32, Uuid) {
    (&key.consumer, slot_column(key.slot), key.aggregate_id)
}

pub(crate) fn slot_column(slot: u32) -> i32 {
    i32::try_from(slot).expect("the settings allow only a few thousand slots")
}

pub(crate) fn version_column(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// What every readable row has.
struct Known {
    version: u64,
    class: ErrorClass,
    state: LetterState,
    attempts: u32,
    stamp: Stamp,
}

/// The parts of a row that decisions rest on, or what is wrong with them.
fn known(
    version: Option<i64>,
    class: Option<&str>,
    state: Option<&str>,
    attempts: Option<i32>,
    (revision, attempt): (Option<i64>, Option<Uuid>),
) -> Result<Known, String> {
    let version = version.and_then(|version| u64::try_from(version).ok()).filter(|v| *v > 0);
    let attempts = attempts.and_then(|attempts| u32::try_from(attempts).ok());
    let wrong = |column: &str| format!("its {column} makes no sense");
    Ok(Known {
        version: version.ok_or_else(|| wrong("version"))?,
        class: class.and_then(class_of).ok_or_else(|| wrong("class"))?,
        state: state.and_then(state_of).ok_or_else(|| wrong("state"))?,
        attempts: attempts.ok_or_else(|| wrong("attempts"))?,
        stamp: Stamp {
            revision: revision.ok_or_else(|| wrong("revision"))?,
            attempt: attempt.ok_or_else(|| wrong("attempt"))?,
        },
    })
}

fn key(consumer: String, slot: i32, aggregate_id: Uuid) -> Key {
    // A slot below 0 is nobody's; it is listed for people only.
    Key { consumer, slot: u32::try_from(slot).unwrap_or(u32::MAX), aggregate_id }
}

/// What is missing or makes no sense was never counted.
fn crashes_of(crashes: Option<i32>) -> u32 {
    crashes.and_then(|crashes| u32::try_from(crashes).ok()).unwrap_or_default()
}

impl Row {
    pub(crate) fn decode(self) -> Stored {
        let last = (self.revision, self.attempt);
        let (class, state) = (self.class.as_deref(), self.state.as_deref());
        let known = known(self.version, class, state, self.attempts, last);
        let key = key(self.consumer, self.slot, self.aggregate_id);
        let Known { version, class, state, attempts, stamp } = match known {
            Ok(known) => known,
            Err(reason) => {
                let (revision, attempt) = last;
                return Stored::Unreadable(Unreadable { key, reason, revision, attempt });
            }
        };
        Stored::Letter(Letter {
            key,
            version,
            event_id: self.event_id,
            event_type: self.event_type,
            error: self.error.unwrap_or_default(),
            class,
            state,
            attempts,
            crashes: crashes_of(self.crashes),
            next_attempt_ms: self.next_attempt.map(|at| at.0),
            first_failed_ms: self.first_failed_at.map_or(0, |at| at.0),
            last_failed_ms: self.last_failed_at.map_or(0, |at| at.0),
            discard: self.discard,
            stamp,
        })
    }
}

impl SummaryRow {
    fn decode(self) -> Result<Summary, Unreadable> {
        let last = (self.revision, self.attempt);
        let (class, state) = (self.class.as_deref(), self.state.as_deref());
        let known = known(self.version, class, state, self.attempts, last);
        let key = key(self.consumer, self.slot, self.aggregate_id);
        match known {
            Ok(Known { version, class, state, attempts, stamp }) => {
                let first_failed_ms = self.first_failed_at.map_or(0, |at| at.0);
                let crashes = crashes_of(self.crashes);
                Ok(Summary {
                    key,
                    class,
                    state,
                    attempts,
                    crashes,
                    first_failed_ms,
                    version,
                    stamp,
                })
            }
            Err(reason) => {
                let (revision, attempt) = last;
                Err(Unreadable { key, reason, revision, attempt })
            }
        }
    }
}

/// A request that the database calls wrong stays wrong; all else may pass.
pub(crate) fn failed(what: String, error: ExecutionError) -> LetterError {
    let is_wrong = error_class::of_request(&error) == ErrorClass::Fatal;
    let source = Box::new(error);
    if is_wrong {
        LetterError::Refused { what, source }
    } else {
        LetterError::Storage { what, source }
    }
}

pub(crate) fn misread(what: String, error: impl Error + Send + Sync + 'static) -> LetterError {
    LetterError::Storage { what, source: Box::new(error) }
}
