//! The ledger: what gaps are healed from and catch-ups scan.

use crate::consumer::ErrorClass;
use crate::database::{misread, prepare, query_page};
use crate::error::StoreError;
use crate::source::{Announcement, EventSource, NextPage, TailPage};
use async_trait::async_trait;
use event_store::EventReader;
use kernel::{RecordedEvent, Version};
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

type TailRow = (i64, Uuid, Option<i64>, Option<String>);

/// The table `event_store`.
pub(crate) struct Ledger {
    session: Arc<Session>,
    reader: EventReader,
    tails: PreparedStatement,
}

impl Ledger {
    /// Prepares the statements; the table must be there. Reading the events of an aggregate takes
    /// `timeout` at most.
    pub(crate) async fn open(
        session: Arc<Session>,
        timeout: Duration,
        page_aggregates: u32,
    ) -> Result<Self, StoreError> {
        let reader = EventReader::open(session.clone(), timeout).await;
        let reader = reader.map_err(|error| {
            StoreError::new(ErrorClass::Transport, "open the event store", error)
        })?;
        let tails = prepare_tails(&session, "event_store", page_aggregates).await?;
        Ok(Self { session, reader, tails })
    }
}

#[async_trait]
impl EventSource for Ledger {
    async fn after(
        &self,
        aggregate_id: Uuid,
        version: Version,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        self.reader.after(aggregate_id, version, limit).await.map_err(|error| {
            let class =
                if error.is_transient() { ErrorClass::Transport } else { ErrorClass::Poison };
            let what = format!("read aggregate {aggregate_id} after version {version}");
            StoreError::new(class, what, error)
        })
    }

    async fn tails(
        &self,
        tokens: RangeInclusive<i64>,
        page: Option<NextPage>,
    ) -> Result<TailPage, StoreError> {
        read_tails(&self.session, &self.tails, tokens, page).await
    }
}

/// A statement for [`read_tails`], of the first row of each partition: its newest event.
pub(crate) async fn prepare_tails(
    session: &Session,
    table: &str,
    page_aggregates: u32,
) -> Result<PreparedStatement, StoreError> {
    let cql = format!(
        "SELECT token(aggregate_id), aggregate_id, sequence_number, aggregate_type FROM {table} \
         WHERE token(aggregate_id) >= ? AND token(aggregate_id) <= ? PER PARTITION LIMIT 1"
    );
    let mut statement = prepare(session, &cql).await?;
    statement.set_page_size(i32::try_from(page_aggregates).unwrap_or(i32::MAX));
    Ok(statement)
}

/// One page of the newest versions, one row per partition, by token.
pub(crate) async fn read_tails(
    session: &Session,
    statement: &PreparedStatement,
    tokens: RangeInclusive<i64>,
    page: Option<NextPage>,
) -> Result<TailPage, StoreError> {
    const WHAT: &str = "scan for newest versions";
    let tokens = (*tokens.start(), *tokens.end());
    let (answer, next) = query_page(session, statement, tokens, page, WHAT).await?;
    let mut tails = Vec::with_capacity(answer.rows_num());
    for row in answer.rows::<TailRow>().map_err(|e| misread(WHAT, e))? {
        let (token, aggregate_id, version, aggregate_type) = row.map_err(|e| misread(WHAT, e))?;
        // A partition may hold nothing but its static column.
        if let Some(version) = version.and_then(|version| u64::try_from(version).ok()) {
            let version = Version(version);
            tails.push((token, Announcement { aggregate_id, aggregate_type, version }));
        }
    }
    Ok(TailPage { tails, next })
}
