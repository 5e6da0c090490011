//! The real log, tables and clocks, behind the traits of [`crate::source`].

mod events;
mod generations;
mod log;
mod scan;
mod tables;
mod tablets;

pub(crate) use events::Ledger;
pub(crate) use generations::generations_of;
pub(crate) use log::OutboxLog;
pub(crate) use scan::ScanTables;
pub(crate) use tables::{CatchUps, Cursors};

use crate::consumer::ErrorClass;
use crate::error::StoreError;
use crate::source::NextPage;
use database::error_class;
use futures::TryStreamExt;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryRowsResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use std::error::Error;

/// A request that failed.
pub(crate) fn failed(what: impl Into<String>, error: ExecutionError) -> StoreError {
    StoreError::new(error_class::of_request(&error), what, error)
}

/// An answer that does not have the form that the statement asks for.
pub(crate) fn misread(
    what: impl Into<String>,
    error: impl Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::new(ErrorClass::Fatal, what, error)
}

/// Prepares a statement that may be sent twice without harm.
pub(crate) async fn prepare(session: &Session, cql: &str) -> Result<PreparedStatement, StoreError> {
    let mut statement = session.prepare(cql).await.map_err(|error| {
        StoreError::new(error_class::of_prepare(&error), format!("prepare {cql:?}"), error)
    })?;
    statement.set_is_idempotent(true);
    Ok(statement)
}

/// Sends a statement; gives its rows, which are few.
pub(crate) async fn query<T: for<'f, 'm> DeserializeRow<'f, 'm>>(
    session: &Session,
    statement: &PreparedStatement,
    values: impl SerializeRow,
    what: impl Fn() -> String,
) -> Result<Vec<T>, StoreError> {
    let answer = session.execute_unpaged(statement, values).await;
    let rows = answer.map_err(|e| failed(what(), e))?.into_rows_result();
    let rows = rows.map_err(|e| misread(what(), e))?;
    let rows = rows.rows::<T>().map_err(|e| misread(what(), e))?.collect::<Result<_, _>>();
    rows.map_err(|e| misread(what(), e))
}

/// Sends a statement; gives its rows, page after page.
pub(crate) async fn query_all<T: for<'f, 'm> DeserializeRow<'f, 'm> + 'static>(
    session: &Session,
    statement: PreparedStatement,
    values: impl SerializeRow,
    what: &str,
) -> Result<Vec<T>, StoreError> {
    let rows = session.execute_iter(statement, values).await;
    let rows = rows.map_err(|e| StoreError::new(ErrorClass::Transport, what, e))?;
    let rows = rows.rows_stream::<T>().map_err(|e| misread(what, e))?;
    let rows = rows.try_collect().await;
    rows.map_err(|e| StoreError::new(ErrorClass::Transport, what, e))
}

/// Sends a write.
pub(crate) async fn execute(
    session: &Session,
    statement: &PreparedStatement,
    values: impl SerializeRow,
    what: impl Fn() -> String,
) -> Result<(), StoreError> {
    let answer = session.execute_unpaged(statement, values).await;
    answer.map(drop).map_err(|e| failed(what(), e))
}

/// One page of a statement's rows, and where the next one begins.
pub(crate) async fn query_page(
    session: &Session,
    statement: &PreparedStatement,
    values: impl SerializeRow,
    page: Option<NextPage>,
    what: &str,
) -> Result<(QueryRowsResult, Option<NextPage>), StoreError> {
    let page = page.map_or_else(PagingState::start, |next| PagingState::new_from_raw_bytes(next.0));
    let answer = session.execute_single_page(statement, values, page).await;
    let (answer, next) = answer.map_err(|e| failed(what, e))?;
    let rows = answer.into_rows_result().map_err(|e| misread(what, e))?;
    let next = match next {
        PagingStateResponse::HasMorePages { state } => {
            state.as_bytes_slice().cloned().map(NextPage)
        }
        PagingStateResponse::NoMorePages => None,
    };
    Ok((rows, next))
}
