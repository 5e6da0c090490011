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

use crate::consumer::{ErrorClass, HandleError};
use database::error_class;
use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::statement::prepared::PreparedStatement;
use std::error::Error;

/// A request that failed.
pub(crate) fn failed(what: impl Into<String>, error: ExecutionError) -> HandleError {
    let class = error_class::of_request(&error);
    HandleError { class, what: what.into(), source: Some(Box::new(error)) }
}

/// An answer that does not have the form that the statement asks for.
pub(crate) fn misread(
    what: impl Into<String>,
    error: impl Error + Send + Sync + 'static,
) -> HandleError {
    HandleError { class: ErrorClass::Fatal, what: what.into(), source: Some(Box::new(error)) }
}

/// Prepares a statement that may be sent twice without harm.
pub(crate) async fn prepare(
    session: &Session,
    cql: &str,
) -> Result<PreparedStatement, HandleError> {
    let mut statement = session.prepare(cql).await.map_err(|error| {
        let class = error_class::of_prepare(&error);
        HandleError { class, what: format!("prepare {cql:?}"), source: Some(Box::new(error)) }
    })?;
    statement.set_is_idempotent(true);
    Ok(statement)
}
