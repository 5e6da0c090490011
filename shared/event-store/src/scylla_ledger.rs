//! The ledger's statements on the database, through the driver.

use crate::error::{CorruptError, OpenError};
use crate::failure;
use crate::ids::{AttemptId, Bucket, Counter, Fence, Spread, WriterId};
use crate::ledger::{
    Certificate, Commit, CommitAnswer, FenceAnswer, Heartbeat, Intent, Ledger, LedgerError,
    NextPage, Page, ReadFailure, StoredIntent, StoredWriter, Strength, Tail, WriterAnswer,
    WriterState,
};
use crate::outbox::{self, Row};
use crate::statements::{RequestBounds, Statements};
use async_trait::async_trait;
use kernel::{RecordedEvent, Version};
use scylla::client::session::Session;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use std::sync::Arc;
use uuid::Uuid;

/// How many partitions the writers' rows are spread over; whoever settles reads them all.
pub(crate) const WRITERS_SPREAD: i32 = 16;

/// [`Ledger`] on the database. Tables are looked up in the session's keyspace.
#[derive(Debug)]
pub(crate) struct ScyllaLedger {
    session: Arc<Session>,
    statements: Statements,
}

impl ScyllaLedger {
    pub(crate) async fn prepare(
        session: Arc<Session>,
        bounds: RequestBounds,
    ) -> Result<Self, OpenError> {
        let statements = Statements::prepare(&session, bounds).await?;
        Ok(Self { session, statements })
    }

    async fn execute(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryResult, LedgerError> {
        self.session.execute_unpaged(statement, values).await.map_err(failure::of_request)
    }

    /// One page of a read that is not bounded by a limit.
    async fn page(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        page: Option<NextPage>,
    ) -> Result<(QueryResult, Option<NextPage>), LedgerError> {
        let from =
            page.map_or_else(PagingState::start, |next| PagingState::new_from_raw_bytes(next.0));
        let answer = self.session.execute_single_page(statement, values, from).await;
        let (result, next) = answer.map_err(failure::of_request)?;
        let next = match next {
            PagingStateResponse::HasMorePages { state } => {
                state.as_bytes_slice().cloned().map(NextPage)
            }
            PagingStateResponse::NoMorePages => None,
        };
        Ok((result, next))
    }

    async fn read(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Tail, ReadFailure> {
        let rows = self.execute(statement, values).await?.into_rows_result();
        let rows = rows.map_err(failure::of_answer)?;
        let mut tail = Tail::default();
        for row in rows.rows::<FencedRow>().map_err(failure::of_answer)? {
            let row = row.map_err(failure::of_answer)?;
            tail.fence = row.fence.map(Fence);
            tail.events.extend(row.into_event()?);
        }
        // The partition is stored newest first; an ascending read is ascending already.
        tail.events.sort_unstable_by_key(|event| event.version);
        Ok(tail)
    }

    /// A batch on one partition, treated like the prepared statements.
    fn batch(&self, like: &PreparedStatement) -> Batch {
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        batch.set_request_timeout(like.get_request_timeout());
        batch
    }
}

/// A row of `event_store`: the event's columns, then the partition's fence.
#[derive(scylla::DeserializeRow)]
#[scylla(flavor = "enforce_order")]
struct FencedRow {
    aggregate_id: Uuid,
    sequence_number: Option<i64>,
    event_id: Option<Uuid>,
    aggregate_type: Option<String>,
    event_type: Option<String>,
    schema_version: Option<i32>,
    event_data: Option<String>,
    metadata: Option<String>,
    recorded_at: Option<CqlTimestamp>,
    fence: Option<Uuid>,
}

impl FencedRow {
    /// `None` for a partition that holds nothing but its fence.
    fn into_event(self) -> Result<Option<RecordedEvent>, CorruptError> {
        if self.sequence_number.is_none() {
            return Ok(None);
        }
        let row = Row {
            aggregate_id: self.aggregate_id,
            sequence_number: self.sequence_number,
            event_id: self.event_id,
            aggregate_type: self.aggregate_type,
            event_type: self.event_type,
            schema_version: self.schema_version,
            event_data: self.event_data,
            metadata: self.metadata,
            recorded_at: self.recorded_at,
        };
        row.into_event().map(Some)
    }
}

/// Values of an appended row in the order of the statement.
type AppendValues<'a> =
    (Uuid, Uuid, &'a str, &'a str, i32, &'a str, String, CqlTimestamp, Uuid, i64);

/// The same with the fence of the condition behind them.
type ConditionalValues<'a> =
    (Uuid, Uuid, &'a str, &'a str, i32, &'a str, String, CqlTimestamp, Uuid, i64, Option<Uuid>);

/// The rows of a conditional batch: the first one carries the condition.
enum AppendRow<'a> {
    Conditional(ConditionalValues<'a>),
    Plain(AppendValues<'a>),
}

impl SerializeRow for AppendRow<'_> {
    fn serialize(
        &self,
        ctx: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        match self {
            Self::Conditional(values) => values.serialize(ctx, writer),
            Self::Plain(values) => values.serialize(ctx, writer),
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

/// A commit is asked for without an event.
#[derive(Debug, thiserror::Error)]
#[error("a commit has at least one event")]
struct EmptyCommit;

/// A lightweight transaction answered without telling whether it applied.
#[derive(Debug, thiserror::Error)]
#[error("the answer has no [applied]")]
struct NoRow;

fn append_values(event: &RecordedEvent) -> Result<AppendValues<'_>, LedgerError> {
    Ok((
        event.event_id,
        event.metadata.command_id,
        &event.aggregate_type,
        &event.event_type,
        schema_version(event)?,
        &event.payload,
        metadata(event)?,
        CqlTimestamp(event.recorded_at.0),
        event.aggregate_id,
        sequence_number(event.version)?,
    ))
}

fn metadata(event: &RecordedEvent) -> Result<String, LedgerError> {
    serde_json::to_string(&event.metadata).map_err(not_done)
}

fn schema_version(event: &RecordedEvent) -> Result<i32, LedgerError> {
    i32::try_from(event.schema_version).map_err(not_done)
}

fn sequence_number(version: Version) -> Result<i64, LedgerError> {
    i64::try_from(version.0).map_err(not_done)
}

fn not_done(error: impl std::error::Error + Send + Sync + 'static) -> LedgerError {
    LedgerError::NotDone(Arc::new(error))
}

/// The partition of `writers` that a writer's row is in.
fn writers_spread(writer: WriterId) -> i32 {
    i32::try_from(writer.0.as_u128() % u128::from(WRITERS_SPREAD.unsigned_abs()))
        .unwrap_or_default()
}

#[async_trait]
impl Ledger for ScyllaLedger {
    async fn newest(&self, id: Uuid, limit: i32, strength: Strength) -> Result<Tail, ReadFailure> {
        let statement = match strength {
            Strength::Quorum => &self.statements.newest,
            Strength::Serial => &self.statements.newest_serial,
        };
        self.read(statement, (id, limit)).await
    }

    async fn from(
        &self,
        id: Uuid,
        version: Version,
        limit: i32,
        strength: Strength,
    ) -> Result<Tail, ReadFailure> {
        let statement = match strength {
            Strength::Quorum => &self.statements.from,
            Strength::Serial => &self.statements.from_serial,
        };
        let version = sequence_number(version)?;
        self.read(statement, (id, version, limit)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitAnswer, LedgerError> {
        let (first, more) = commit.events.split_first().ok_or_else(|| not_done(EmptyCommit))?;
        let (a, b, c, d, e, f, g, h, i, j) = append_values(first)?;
        let fence = commit.fence.map(|fence| fence.0);
        let first = AppendRow::Conditional((a, b, c, d, e, f, g, h, i, j, fence));
        let result = if more.is_empty() {
            // One statement: the driver routes it to one replica, which avoids contention.
            self.execute(&self.statements.commit, first).await?
        } else {
            let mut batch = self.batch(&self.statements.commit);
            batch.append_statement(self.statements.commit.clone());
            let mut values = vec![first];
            for event in more {
                batch.append_statement(self.statements.commit_more.clone());
                values.push(AppendRow::Plain(append_values(event)?));
            }
            self.session.batch(&batch, values).await.map_err(failure::of_request)?
        };
        commit_answer(result)
    }

    async fn move_fence(
        &self,
        id: Uuid,
        from: Option<Fence>,
        to: Fence,
    ) -> Result<FenceAnswer, LedgerError> {
        let values = (to.0, id, from.map(|from| from.0));
        let result = self.execute(&self.statements.move_fence, values).await?;
        let rows = result.into_rows_result().map_err(failure::of_answer)?;
        let (applied, fence) =
            rows.first_row::<(bool, Option<Uuid>)>().map_err(failure::of_answer)?;
        Ok(FenceAnswer { applied, fence: fence.map(Fence) })
    }

    async fn write_intent(&self, intent: &Intent) -> Result<(), LedgerError> {
        let after = sequence_number(intent.after)?;
        let values = (
            intent.writer.0,
            intent.bucket.0,
            intent.spread.0,
            intent.aggregate_id,
            after,
            intent.aggregate_type,
            intent.topic,
        );
        self.execute(&self.statements.write_intent, values).await.map(drop)
    }

    async fn announce(&self, events: &[RecordedEvent], topic: &str) -> Result<(), LedgerError> {
        let mut rows = Vec::with_capacity(events.len());
        for event in events {
            rows.push((
                event.aggregate_id,
                sequence_number(event.version)?,
                event.event_id,
                event.aggregate_type.as_str(),
                event.event_type.as_str(),
                schema_version(event)?,
                event.payload.as_str(),
                metadata(event)?,
                CqlTimestamp(event.recorded_at.0),
                topic,
                outbox::message_key(event.aggregate_id),
            ));
        }
        if let [row] = rows.as_slice() {
            return self.execute(&self.statements.announce, row).await.map(drop);
        }
        let mut batch = self.batch(&self.statements.announce);
        for _ in &rows {
            batch.append_statement(self.statements.announce.clone());
        }
        self.session.batch(&batch, rows).await.map(drop).map_err(failure::of_request)
    }

    async fn heartbeat(&self, beat: &Heartbeat) -> Result<WriterAnswer, LedgerError> {
        let (id, spread) = (beat.writer.0, writers_spread(beat.writer));
        let (oldest, newest) = (beat.oldest_bucket.0, beat.newest_bucket.0);
        let attempt = beat.attempt.0;
        let result = match beat.previous {
            None => {
                let values = (attempt, oldest, newest, beat.intent_spread, spread, id);
                self.execute(&self.statements.create_writer, values).await?
            }
            Some(previous) => {
                let (counter, next) = (beat.counter.0, beat.counter.next().0);
                let values = (next, attempt, oldest, newest, spread, id, counter, previous.0);
                self.execute(&self.statements.heartbeat, values).await?
            }
        };
        writer_answer(result)
    }

    async fn certify(&self, certificate: &Certificate) -> Result<WriterAnswer, LedgerError> {
        let Certificate { writer, counter, previous, attempt } = *certificate;
        let spread = writers_spread(writer);
        let values = (counter.next().0, attempt.0, spread, writer.0, counter.0, previous.0);
        writer_answer(self.execute(&self.statements.certify, values).await?)
    }

    async fn writers(&self, page: Option<NextPage>) -> Result<Page<StoredWriter>, LedgerError> {
        let spreads: Vec<i32> = (0..WRITERS_SPREAD).collect();
        let (answer, next) = self.page(&self.statements.writers, (spreads,), page).await?;
        let answer = answer.into_rows_result().map_err(failure::of_answer)?;
        let mut rows = Vec::with_capacity(answer.rows_num());
        for row in answer.rows::<WriterRow>().map_err(failure::of_answer)? {
            rows.extend(row.map_err(failure::of_answer)?.into_stored());
        }
        Ok(Page { rows, next })
    }

    async fn intents(
        &self,
        writer: WriterId,
        bucket: Bucket,
        spread: Spread,
        page: Option<NextPage>,
    ) -> Result<Page<StoredIntent>, LedgerError> {
        let values = (writer.0, bucket.0, spread.0);
        let (answer, next) = self.page(&self.statements.intents, values, page).await?;
        let answer = answer.into_rows_result().map_err(failure::of_answer)?;
        let mut rows = Vec::with_capacity(answer.rows_num());
        for row in answer.rows::<(Uuid, i64, String, String)>().map_err(failure::of_answer)? {
            let (aggregate_id, after, aggregate_type, topic) = row.map_err(failure::of_answer)?;
            let after = Version(u64::try_from(after).map_err(failure::of_answer)?);
            rows.push(StoredIntent { aggregate_id, after, aggregate_type, topic });
        }
        Ok(Page { rows, next })
    }

    async fn remove_writer(
        &self,
        writer: WriterId,
        state: WriterState,
        counter: Counter,
        attempt: AttemptId,
    ) -> Result<bool, LedgerError> {
        let spread = writers_spread(writer);
        let values = (spread, writer.0, state.name(), counter.0, attempt.0);
        let answer = writer_answer(self.execute(&self.statements.remove_writer, values).await?)?;
        Ok(answer.applied || answer.counter.is_none())
    }
}

/// A row of `writers`.
#[derive(scylla::DeserializeRow)]
#[scylla(flavor = "enforce_order")]
struct WriterRow {
    writer: Uuid,
    state: Option<String>,
    counter: Option<i64>,
    attempt: Option<Uuid>,
    oldest_bucket: Option<i64>,
    newest_bucket: Option<i64>,
    intent_spread: Option<i32>,
}

impl WriterRow {
    /// `None` for a row in a state that this release does not know: it is another release's to settle.
    fn into_stored(self) -> Option<StoredWriter> {
        Some(StoredWriter {
            writer: WriterId(self.writer),
            state: WriterState::of_name(&self.state?)?,
            counter: Counter(self.counter?),
            attempt: AttemptId(self.attempt?),
            oldest_bucket: Bucket(self.oldest_bucket?),
            newest_bucket: Bucket(self.newest_bucket?),
            intent_spread: self.intent_spread?,
        })
    }
}

/// The columns that every condition on a row of `writers` names.
#[derive(scylla::DeserializeRow)]
struct WriterConditions {
    #[scylla(rename = "[applied]")]
    applied: bool,
    counter: Option<i64>,
    attempt: Option<Uuid>,
    state: Option<String>,
}

fn writer_answer(result: QueryResult) -> Result<WriterAnswer, LedgerError> {
    let rows = result.into_rows_result().map_err(failure::of_answer)?;
    let row: WriterConditions = rows.first_row().map_err(failure::of_answer)?;
    let WriterConditions { applied, counter, attempt, state } = row;
    let state = state.as_deref().and_then(WriterState::of_name);
    let (counter, attempt) = (counter.map(Counter), attempt.map(AttemptId));
    Ok(WriterAnswer { applied, counter, attempt, state })
}

fn commit_answer(result: QueryResult) -> Result<CommitAnswer, LedgerError> {
    let rows = result.into_rows_result().map_err(failure::of_answer)?;
    // A batch answers with one row per statement; the first one carries the condition, and a batch
    // has key columns that a single statement has not: columns are matched by name.
    let specs = rows.column_specs();
    let at = |name| specs.get_by_name(name).map(|(index, _)| index);
    let places = [at("[applied]"), at("fence"), at("event_id"), at("command_id")];
    let row: scylla::value::Row = match rows.rows().map_err(failure::of_answer)?.next() {
        Some(row) => row.map_err(failure::of_answer)?,
        None => return Err(failure::of_answer(NoRow)),
    };
    let value = |index: Option<usize>| index.and_then(|i| row.columns.get(i)?.as_ref());
    let uuid = |index| value(index).and_then(scylla::value::CqlValue::as_uuid);
    let [applied, fence, event_id, command_id] = places;
    match value(applied).and_then(scylla::value::CqlValue::as_boolean) {
        Some(applied) => Ok(CommitAnswer {
            applied,
            fence: uuid(fence).map(Fence),
            event_id: uuid(event_id),
            command_id: uuid(command_id),
        }),
        None => Err(failure::of_answer(NoRow)),
    }
}
