//! The ledger: what gaps are healed from and catch-ups scan.

use crate::consumer::{ErrorClass, HandleError};
use crate::database::{failed, misread, prepare};
use crate::source::{EventSource, NextPage, Ring, TailPage};
use async_trait::async_trait;
use event_store::EventReader;
use kernel::{RecordedEvent, Version};
use scylla::client::session::Session;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::prepared::PreparedStatement;
use std::ops::RangeInclusive;
use std::sync::Arc;
use uuid::Uuid;

/// What [`read_tails`] reads, of the first row of each partition: its newest event.
pub(crate) const TAILS_COLUMNS: &str =
    "token(aggregate_id), aggregate_id, sequence_number, aggregate_type";

type TailRow = (i64, Uuid, Option<i64>, Option<String>);

/// The table `event_store`.
pub(crate) struct Ledger {
    session: Arc<Session>,
    reader: EventReader,
    tails: PreparedStatement,
}

impl Ledger {
    /// Prepares the statements; the table must be there.
    pub(crate) async fn open(
        session: Arc<Session>,
        reader: EventReader,
        page_aggregates: u32,
    ) -> Result<Self, HandleError> {
        let tails = format!(
            "SELECT {TAILS_COLUMNS} FROM event_store WHERE token(aggregate_id) >= ? \
             AND token(aggregate_id) <= ? PER PARTITION LIMIT 1"
        );
        let mut tails = prepare(&session, &tails).await?;
        tails.set_page_size(i32::try_from(page_aggregates).unwrap_or(i32::MAX));
        Ok(Self { session, reader, tails })
    }
}

#[async_trait]
impl EventSource for Ledger {
    async fn after(
        &self,
        aggregate_id: Uuid,
        version: u64,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, HandleError> {
        self.reader.after(aggregate_id, Version(version), limit).await.map_err(|error| {
            let class =
                if error.is_transient() { ErrorClass::Transport } else { ErrorClass::Poison };
            let what = format!("read aggregate {aggregate_id} after version {version}");
            HandleError { class, what, source: Some(Box::new(error)) }
        })
    }

    async fn tails(
        &self,
        tokens: RangeInclusive<i64>,
        page: Option<NextPage>,
    ) -> Result<TailPage, HandleError> {
        read_tails(&self.session, &self.tails, tokens, page).await
    }
}

/// One page of a statement that selects [`TAILS_COLUMNS`], one row per partition, by token.
pub(crate) async fn read_tails(
    session: &Session,
    statement: &PreparedStatement,
    tokens: RangeInclusive<i64>,
    page: Option<NextPage>,
) -> Result<TailPage, HandleError> {
    const WHAT: &str = "scan for newest versions";
    let page = page.map_or_else(PagingState::start, |next| PagingState::new_from_raw_bytes(next.0));
    let (answer, next) = session
        .execute_single_page(statement, (*tokens.start(), *tokens.end()), page)
        .await
        .map_err(|e| failed(WHAT, e))?;
    let answer = answer.into_rows_result().map_err(|e| misread(WHAT, e))?;
    let mut tails = Vec::with_capacity(answer.rows_num());
    for row in answer.rows::<TailRow>().map_err(|e| misread(WHAT, e))? {
        let (token, aggregate_id, version, aggregate_type) = row.map_err(|e| misread(WHAT, e))?;
        // A partition may hold nothing but its static column.
        if let Some(version) = version.and_then(|version| u64::try_from(version).ok()) {
            tails.push((token, Ring { aggregate_id, aggregate_type, version }));
        }
    }
    let next = match next {
        PagingStateResponse::HasMorePages { state } => {
            state.as_bytes_slice().cloned().map(NextPage)
        }
        PagingStateResponse::NoMorePages => None,
    };
    Ok(TailPage { tails, next })
}
