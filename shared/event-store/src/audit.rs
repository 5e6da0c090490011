//! Reads for whoever verifies a system: what is stored, what was announced, and where they differ.
//!
//! Rows are taken as they are, so that a hole or an unusable column is found, not stumbled over. The
//! announcements of an aggregate are read before its events: an event is stored before it is
//! announced, so whatever is announced and not stored is a difference.

use crate::outbox::{self, Row};
use futures::TryStreamExt;
use kernel::{Aggregates, RecordedEvent, Version};
use scylla::DeserializeRow;
use scylla::client::session::Session;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlTimeuuid};
use std::error::Error;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use uuid::Uuid;

/// The first row of a partition is its newest event.
const TAILS: &str = "SELECT token(aggregate_id), aggregate_id, sequence_number, aggregate_type \
     FROM event_store WHERE token(aggregate_id) >= ? AND token(aggregate_id) <= ? \
     PER PARTITION LIMIT 1";

const STORED: &str = "SELECT aggregate_id, sequence_number, event_id, aggregate_type, event_type, \
     schema_version, event_data, metadata, recorded_at, WRITETIME(event_data) \
     FROM event_store WHERE aggregate_id = ? ORDER BY sequence_number ASC";

const ANNOUNCED: &str = "SELECT aggregate_id, sequence_number, event_id, aggregate_type, \
     event_type, schema_version, event_data, metadata, recorded_at, topic, message_key \
     FROM outbox_messages WHERE aggregate_id = ? ORDER BY sequence_number ASC";

const NOW: &str = "SELECT now() FROM system.local";

/// A read that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct AuditError {
    what: &'static str,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// Reads the ledger and the outbox. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditReader {
    session: Arc<Session>,
    tails: PreparedStatement,
    stored: PreparedStatement,
    announced: PreparedStatement,
    now: PreparedStatement,
}

/// An aggregate of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateTail {
    /// The aggregate.
    pub aggregate_id: Uuid,
    /// `None` when the newest row does not say.
    pub aggregate_type: Option<String>,
    /// Its newest version.
    pub version: Version,
}

/// Where the next page of a scan begins.
#[derive(Debug, Clone)]
pub struct NextPage(PagingState);

impl NextPage {
    /// For a scan of another table.
    #[must_use]
    pub fn into_state(self) -> PagingState {
        self.0
    }
}

impl From<PagingState> for NextPage {
    fn from(state: PagingState) -> Self {
        Self(state)
    }
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// The event.
    pub row: Row,
    /// When the database took it, by its own clock, in microseconds since 1970.
    pub written_us: Option<i64>,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnouncedRow {
    /// The event.
    pub row: Row,
    /// Where it goes.
    pub topic: Option<String>,
    /// The key of its message.
    pub message_key: Option<String>,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The table that is wrong.
    pub table: &'static str,
    /// The version that it concerns.
    pub version: i64,
    /// What is wrong, for people.
    pub what: String,
}

impl AuditReader {
    /// Prepares the statements; the schema must be there. A scan's page has `page_aggregates`.
    pub async fn open(session: Arc<Session>, page_aggregates: u32) -> Result<Self, AuditError> {
        let prepare = async |cql: &str| {
            let statement = session.prepare(cql).await.map_err(failed("prepare the audit"));
            statement.map(|mut statement| {
                statement.set_is_idempotent(true);
                statement
            })
        };
        let mut tails = prepare(TAILS).await?;
        tails.set_page_size(i32::try_from(page_aggregates.max(1)).unwrap_or(i32::MAX));
        let (stored, announced) = (prepare(STORED).await?, prepare(ANNOUNCED).await?);
        let now = prepare(NOW).await?;
        Ok(Self { session, tails, stored, announced, now })
    }

    /// One page of the aggregates whose token is in `tokens`, by token. The first one with `None`.
    pub async fn tails(
        &self,
        tokens: RangeInclusive<i64>,
        page: Option<NextPage>,
    ) -> Result<(Vec<AggregateTail>, Option<NextPage>), AuditError> {
        const WHAT: &str = "scan the ledger";
        let page = page.map_or_else(PagingState::start, |next| next.0);
        let values = (*tokens.start(), *tokens.end());
        let answer = self.session.execute_single_page(&self.tails, values, page).await;
        let (rows, next) = answer.map_err(failed(WHAT))?;
        let rows = rows.into_rows_result().map_err(failed(WHAT))?;
        let mut tails = Vec::with_capacity(rows.rows_num());
        type TailRow = (i64, Uuid, Option<i64>, Option<String>);
        for row in rows.rows::<TailRow>().map_err(failed(WHAT))? {
            let (_, aggregate_id, version, aggregate_type) = row.map_err(failed(WHAT))?;
            // A partition may hold nothing but its static column.
            if let Some(version) = version {
                let version = Version(u64::try_from(version).unwrap_or_default());
                tails.push(AggregateTail { aggregate_id, aggregate_type, version });
            }
        }
        let next = match next {
            PagingStateResponse::HasMorePages { state } => Some(NextPage(state)),
            PagingStateResponse::NoMorePages => None,
        };
        Ok((tails, next))
    }

    /// All rows of an aggregate, ascending, as they are. Empty when there are none.
    pub async fn stored(&self, aggregate_id: Uuid) -> Result<Vec<StoredRow>, AuditError> {
        const WHAT: &str = "read the events of an aggregate";
        let rows = self.session.execute_iter(self.stored.clone(), (aggregate_id,)).await;
        let rows = rows.map_err(failed(WHAT))?.rows_stream::<LedgerColumns>();
        let rows: Vec<_> = rows.map_err(failed(WHAT))?.try_collect().await.map_err(failed(WHAT))?;
        // A partition may hold nothing but its static column.
        let rows = rows.into_iter().filter(|row| row.sequence_number.is_some());
        Ok(rows.map(StoredRow::from).collect())
    }

    /// What the outbox still has of an aggregate, ascending.
    pub async fn announced(&self, aggregate_id: Uuid) -> Result<Vec<AnnouncedRow>, AuditError> {
        const WHAT: &str = "read the announcements of an aggregate";
        let rows = self.session.execute_iter(self.announced.clone(), (aggregate_id,)).await;
        let rows = rows.map_err(failed(WHAT))?.rows_stream::<OutboxColumns>();
        let rows: Vec<_> = rows.map_err(failed(WHAT))?.try_collect().await.map_err(failed(WHAT))?;
        Ok(rows.into_iter().map(AnnouncedRow::from).collect())
    }

    /// The database's clock, in microseconds since 1970.
    pub async fn now_us(&self) -> Result<i64, AuditError> {
        const WHAT: &str = "ask the database for its time";
        let rows = self.session.execute_unpaged(&self.now, ()).await.map_err(failed(WHAT))?;
        let rows = rows.into_rows_result().map_err(failed(WHAT))?;
        let (now,) = rows.first_row::<(CqlTimeuuid,)>().map_err(failed(WHAT))?;
        let time = Uuid::from(now).get_timestamp().map(|time| time.to_unix());
        let (seconds, nanos) = time.ok_or_else(|| failed(WHAT)("it answers without a time"))?;
        Ok(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000_000) * 1_000_000
            + i64::from(nanos / 1000))
    }
}

/// The events in the rows, when there is nothing wrong with them; else what is.
pub fn events_of(stored: &[StoredRow]) -> Result<Vec<RecordedEvent>, Vec<Difference>> {
    let mut events = Vec::with_capacity(stored.len());
    let mut differences = Vec::new();
    let mut expected = 1;
    for StoredRow { row, .. } in stored {
        let version = row.sequence_number.unwrap_or(-1);
        let wrong = |what| Difference { table: "event_store", version, what };
        if version != expected {
            differences.push(wrong(format!("version {expected} should come before it")));
        }
        expected = version.saturating_add(1);
        match row.clone().into_event() {
            Ok(event) => events.push(event),
            Err(error) => differences.push(wrong(runtime::chain(&error).to_string())),
        }
    }
    if differences.is_empty() { Ok(events) } else { Err(differences) }
}

/// Compares the announcements of an aggregate, read first, with its events. Those that the database
/// took within `due` must be announced; an older announcement may have expired, a younger event may
/// not be announced yet.
pub fn compare_outbox(
    aggregates: Aggregates,
    announced: &[AnnouncedRow],
    stored: &[StoredRow],
    due: &Range<i64>,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let wrong = |row: &Row, what: String| {
        let version = row.sequence_number.unwrap_or(-1);
        Difference { table: outbox::TABLE, version, what }
    };
    for AnnouncedRow { row, topic, message_key } in announced {
        let version = row.sequence_number;
        let event = stored.iter().find(|stored| stored.row.sequence_number == version);
        let Some(event) = event else {
            differences.push(wrong(row, "announced, but not stored".to_owned()));
            continue;
        };
        if *row != event.row {
            let columns = differing(row, &event.row).join(", ");
            differences.push(wrong(row, format!("announced with another {columns} than stored")));
        }
        let known =
            event.row.aggregate_type.as_deref().and_then(|of_type| aggregates.topic_of(of_type));
        if known.is_some() && topic.as_deref() != known {
            differences.push(wrong(row, format!("announced for topic {topic:?}")));
        }
        if message_key.as_deref() != Some(outbox::message_key(row.aggregate_id).as_str()) {
            differences.push(wrong(row, format!("announced under key {message_key:?}")));
        }
    }
    for StoredRow { row, written_us } in stored {
        let is_due = written_us.is_some_and(|written| due.contains(&written));
        let is_there =
            announced.iter().any(|announced| announced.row.sequence_number == row.sequence_number);
        if is_due && !is_there {
            differences.push(wrong(row, "stored, but not announced".to_owned()));
        }
    }
    differences
}

/// The columns that differ.
fn differing(a: &Row, b: &Row) -> Vec<&'static str> {
    let columns = [
        (outbox::column::EVENT_ID, a.event_id != b.event_id),
        (outbox::column::AGGREGATE_TYPE, a.aggregate_type != b.aggregate_type),
        (outbox::column::EVENT_TYPE, a.event_type != b.event_type),
        (outbox::column::SCHEMA_VERSION, a.schema_version != b.schema_version),
        (outbox::column::EVENT_DATA, a.event_data != b.event_data),
        (outbox::column::METADATA, a.metadata != b.metadata),
        (outbox::column::RECORDED_AT, a.recorded_at != b.recorded_at),
    ];
    columns.into_iter().filter(|(_, differs)| *differs).map(|(column, _)| column).collect()
}

fn failed<E: Into<Box<dyn Error + Send + Sync>>>(what: &'static str) -> impl Fn(E) -> AuditError {
    move |source| AuditError { what, source: source.into() }
}

/// In the order of [`STORED`].
#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
struct LedgerColumns {
    aggregate_id: Uuid,
    sequence_number: Option<i64>,
    event_id: Option<Uuid>,
    aggregate_type: Option<String>,
    event_type: Option<String>,
    schema_version: Option<i32>,
    event_data: Option<String>,
    metadata: Option<String>,
    recorded_at: Option<CqlTimestamp>,
    written_us: Option<i64>,
}

/// In the order of [`ANNOUNCED`].
#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
struct OutboxColumns {
    aggregate_id: Uuid,
    sequence_number: Option<i64>,
    event_id: Option<Uuid>,
    aggregate_type: Option<String>,
    event_type: Option<String>,
    schema_version: Option<i32>,
    event_data: Option<String>,
    metadata: Option<String>,
    recorded_at: Option<CqlTimestamp>,
    topic: Option<String>,
    message_key: Option<String>,
}

impl From<LedgerColumns> for StoredRow {
    fn from(columns: LedgerColumns) -> Self {
        Self {
            row: Row {
                aggregate_id: columns.aggregate_id,
                sequence_number: columns.sequence_number,
                event_id: columns.event_id,
                aggregate_type: columns.aggregate_type,
                event_type: columns.event_type,
                schema_version: columns.schema_version,
                event_data: columns.event_data,
                metadata: columns.metadata,
                recorded_at: columns.recorded_at,
            },
            written_us: columns.written_us,
        }
    }
}

impl From<OutboxColumns> for AnnouncedRow {
    fn from(columns: OutboxColumns) -> Self {
        Self {
            row: Row {
                aggregate_id: columns.aggregate_id,
                sequence_number: columns.sequence_number,
                event_id: columns.event_id,
                aggregate_type: columns.aggregate_type,
                event_type: columns.event_type,
                schema_version: columns.schema_version,
                event_data: columns.event_data,
                metadata: columns.metadata,
                recorded_at: columns.recorded_at,
            },
            topic: columns.topic,
            message_key: columns.message_key,
        }
    }
}
