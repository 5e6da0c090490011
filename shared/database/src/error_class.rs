//! What a failed request means to whoever sent it: the one place where errors of the database are
//! sorted. `docs/errors.md` has the table; a test compares it with this file.
//!
//! The driver knows 0x1600 (a CDC log row could not be written) and 0x1700 (the outcome of a
//! lightweight transaction is unknown) only as other codes; so is every code that is newer than it.
//! All of them may pass.

use runtime::ErrorClass;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};

/// The class of an answer of the database. Never poison: the database knows no events.
fn of_answer(error: &DbError) -> ErrorClass {
    match error {
        // The statement, the schema or the rights are wrong, and stay so.
        DbError::SyntaxError
        | DbError::Invalid
        | DbError::AlreadyExists { .. }
        | DbError::FunctionFailure { .. }
        | DbError::AuthenticationError
        | DbError::Unauthorized
        | DbError::ConfigError
        | DbError::ProtocolError => ErrorClass::Fatal,
        // Nodes are away, late, overloaded or start; the driver prepares again by itself.
        DbError::Unavailable { .. }
        | DbError::Overloaded
        | DbError::IsBootstrapping
        | DbError::TruncateError
        | DbError::ReadTimeout { .. }
        | DbError::WriteTimeout { .. }
        | DbError::ReadFailure { .. }
        | DbError::WriteFailure { .. }
        | DbError::Unprepared { .. }
        | DbError::ServerError
        | DbError::RateLimitReached { .. }
        | DbError::Other(_) => ErrorClass::Transport,
        // A variant of a newer driver.
        _ => ErrorClass::Transport,
    }
}

/// The class of one attempt at a request.
fn of_attempt(error: &RequestAttemptError) -> ErrorClass {
    match error {
        RequestAttemptError::DbError(error, _) => of_answer(error),
        // The values do not fit the statement.
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => ErrorClass::Fatal,
        // Connections break, and answers with them.
        _ => ErrorClass::Transport,
    }
}

/// The class of a request that failed.
pub fn of_request(error: &ExecutionError) -> ErrorClass {
    match error {
        ExecutionError::BadQuery(_) => ErrorClass::Fatal,
        ExecutionError::PrepareError(error) => of_prepare(error),
        ExecutionError::LastAttemptError(attempt) => of_attempt(attempt),
        _ => ErrorClass::Transport,
    }
}

/// The class of a statement that could not be prepared.
pub fn of_prepare(error: &PrepareError) -> ErrorClass {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => of_attempt(first_attempt),
        _ => ErrorClass::Transport,
    }
}

/// Whether the database refused a request before it began to execute it: then it has no effect, also
/// not later. After every other answer a write may have been done, or be done yet.
pub fn was_never_executed(error: &DbError) -> bool {
    matches!(
        error,
        DbError::SyntaxError
            | DbError::Invalid
            | DbError::AlreadyExists { .. }
            | DbError::AuthenticationError
            | DbError::Unauthorized
            | DbError::ConfigError
            | DbError::ProtocolError
            | DbError::Unprepared { .. }
            | DbError::RateLimitReached { rejected_by_coordinator: true, .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::errors::{
        BadQuery, BrokenConnectionErrorKind, ConnectionPoolError, CqlResponseKind, OperationType,
        SerializationError, WriteType,
    };
    use scylla::statement::Consistency;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const DOC: &str = include_str!("../../../docs/errors.md");

    /// One of each answer that the driver knows, and those it knows by their number only.
    fn answers() -> Vec<(&'static str, DbError)> {
        let consistency = Consistency::Quorum;
        let (received, required, numfailures) = (1, 2, 1);
        let (keyspace, table) = (String::new(), String::new());
        let function = DbError::FunctionFailure {
            keyspace: String::new(),
            function: String::new(),
            arg_types: Vec::new(),
        };
        let write =
            |write_type| DbError::WriteTimeout { consistency, received, required, write_type };
        let failure = DbError::WriteFailure {
            consistency,
            received,
            required,
            numfailures,
            write_type: WriteType::Simple,
        };
        let data_present = false;
        let read_failure =
            DbError::ReadFailure { consistency, received, required, numfailures, data_present };
        let limit = |rejected_by_coordinator| DbError::RateLimitReached {
            op_type: OperationType::Write,
            rejected_by_coordinator,
        };
        vec![
            ("0x0000", DbError::ServerError),
            ("0x000A", DbError::ProtocolError),
            ("0x0100", DbError::AuthenticationError),
            ("0x1000", DbError::Unavailable { consistency, required, alive: 1 }),
            ("0x1001", DbError::Overloaded),
            ("0x1002", DbError::IsBootstrapping),
            ("0x1003", DbError::TruncateError),
            ("0x1100", write(WriteType::Simple)),
            ("0x1100 CAS", write(WriteType::Cas)),
            ("0x1200", DbError::ReadTimeout { consistency, received, required, data_present }),
            ("0x1300", read_failure),
            ("0x1400", function),
            ("0x1500", failure),
            ("0x1600", DbError::Other(0x1600)),
            ("0x1700", DbError::Other(0x1700)),
            ("0x2000", DbError::SyntaxError),
            ("0x2100", DbError::Unauthorized),
            ("0x2200", DbError::Invalid),
            ("0x2300", DbError::ConfigError),
            ("0x2400", DbError::AlreadyExists { keyspace, table }),
            ("0x2500", DbError::Unprepared { statement_id: Vec::new().into() }),
            ("rate limit, coordinator", limit(true)),
            ("rate limit, replica", limit(false)),
            ("any other", DbError::Other(0x7777)),
        ]
    }

    /// The cells of the table behind a heading, without its head.
    fn table(heading: &str) -> Vec<Vec<&'static str>> {
        let (_, text) = DOC.split_once(heading).expect("the heading is there");
        let lines = text.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
        let rows = lines.take_while(|line| line.starts_with('|'));
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
    }

    #[test]
    fn the_document_has_a_row_for_each_answer_of_the_database_and_its_class() {
        let documented = table("## Answers of the database");
        let documented: Vec<_> = documented.iter().map(|row| (row[0], row[2], row[3])).collect();
        let answers = answers();
        let effect = |error| if was_never_executed(error) { "not done" } else { "unknown" };
        let sorted: Vec<_> = answers
            .iter()
            .map(|(code, error)| (*code, of_answer(error).name(), effect(error)))
            .collect();
        assert_eq!(documented, sorted);
    }

    /// What the driver finds wrong before it asks, or without an answer that says anything; by the row of
    /// the document. Some failures have several forms.
    fn drivers_own() -> Vec<(&'static str, ExecutionError)> {
        let attempt = ExecutionError::LastAttemptError;
        let misfit = || SerializationError::new(std::io::Error::other("a text for a number"));
        let broken = || BrokenConnectionErrorKind::TooManyOrphanedStreamIds(1_024).into();
        let first_attempt = RequestAttemptError::BrokenConnectionError(broken());
        let unprepared = PrepareError::AllAttemptsFailed { first_attempt };
        let (statement, expected_id, reprepared_id) = (String::new(), Vec::new(), Vec::new());
        let other_id =
            RequestAttemptError::RepreparedIdChanged { statement, expected_id, reprepared_id };
        let of_other_nodes = PrepareError::PreparedStatementIdsMismatch;
        vec![
            ("no node to ask", ExecutionError::EmptyPlan),
            ("request timeout", ExecutionError::RequestTimeout(Duration::from_secs(1))),
            (NO_CONNECTION, ConnectionPoolError::Initializing.into()),
            (NO_CONNECTION, PrepareError::from(ConnectionPoolError::Initializing).into()),
            (NO_CONNECTION, attempt(RequestAttemptError::BrokenConnectionError(broken()))),
            (NO_CONNECTION, unprepared.into()),
            (
                "answer that cannot be parsed",
                attempt(RequestAttemptError::UnexpectedResponse(CqlResponseKind::Event)),
            ),
            ("no stream id left", attempt(RequestAttemptError::UnableToAllocStreamId)),
            ("unfinished paging", attempt(RequestAttemptError::NonfinishedPagingState)),
            ("prepared again under another id", attempt(other_id)),
            ("prepared again under another id", of_other_nodes.into()),
            (MISFIT, attempt(RequestAttemptError::SerializationError(misfit()))),
            (MISFIT, ExecutionError::BadQuery(BadQuery::SerializationError(misfit()))),
            (
                "statement that does not fit the request",
                ExecutionError::BadQuery(BadQuery::TooManyQueriesInBatchStatement(70_000)),
            ),
        ]
    }

    const NO_CONNECTION: &str = "broken connection, no connection";
    const MISFIT: &str = "values that do not fit the statement";

    #[test]
    fn the_document_has_a_row_for_each_failure_of_the_driver_itself_and_its_class() {
        let documented: BTreeSet<_> =
            table("## What the driver says itself").iter().map(|row| (row[0], row[1])).collect();
        let own = drivers_own();
        let sorted: BTreeSet<_> =
            own.iter().map(|(row, error)| (*row, of_request(error).name())).collect();
        assert_eq!(documented, sorted);
        // What the database itself said is its own, however it came.
        let said = RequestAttemptError::DbError(DbError::Invalid, String::new());
        let said = ExecutionError::from(PrepareError::AllAttemptsFailed { first_attempt: said });
        assert_eq!(of_request(&said), ErrorClass::Fatal);
    }
}
