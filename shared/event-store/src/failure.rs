//! What a failed database request means for the append: certainly not done, or unknown.
//!
//! Only what was never sent, or what the server refuses before it starts to execute, counts as not
//! done. Everything else is unknown: an overloaded or unavailable error may come from the phase
//! after a lightweight transaction's decision, and a connection may break after the request was
//! read. The driver knows 0x1700 (CAS unknown) and 0x1600 (CDC write failure) only as other codes.

use crate::ledger::LedgerError;
use scylla::errors::{ExecutionError, RequestAttemptError};
use std::sync::Arc;

/// Sorts a failed request.
pub(crate) fn of_request(error: ExecutionError) -> LedgerError {
    let certain = match &error {
        ExecutionError::BadQuery(_)
        | ExecutionError::EmptyPlan
        | ExecutionError::PrepareError(_)
        | ExecutionError::ConnectionPoolError(_)
        | ExecutionError::UseKeyspaceError(_) => true,
        ExecutionError::LastAttemptError(attempt) => refused(attempt),
        _ => false,
    };
    if certain {
        LedgerError::NotDone(Arc::new(error))
    } else {
        LedgerError::Unknown(Arc::new(error))
    }
}

/// An answer that does not have the expected rows. What was asked for may well have been done.
pub(crate) fn of_answer(error: impl std::error::Error + Send + Sync + 'static) -> LedgerError {
    LedgerError::Unknown(Arc::new(error))
}

fn refused(attempt: &RequestAttemptError) -> bool {
    match attempt {
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_)
        | RequestAttemptError::UnableToAllocStreamId
        | RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch => true,
        RequestAttemptError::DbError(error, _) => database::was_never_executed(error),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::errors::{DbError, OperationType, WriteType};
    use scylla::statement::Consistency;
    use std::time::Duration;

    fn db(error: DbError) -> ExecutionError {
        RequestAttemptError::DbError(error, String::new()).into()
    }

    fn check(error: ExecutionError, unknown: bool) {
        let text = format!("{error:?}");
        let sorted = of_request(error);
        assert_eq!(matches!(sorted, LedgerError::Unknown(_)), unknown, "{text}");
    }

    #[test]
    fn whatever_may_have_been_executed_is_unknown() {
        let timeout = DbError::WriteTimeout {
            consistency: Consistency::Serial,
            received: 1,
            required: 2,
            write_type: WriteType::Cas,
        };
        let unavailable =
            DbError::Unavailable { consistency: Consistency::Quorum, required: 2, alive: 1 };
        for error in [
            timeout,
            unavailable,
            DbError::Overloaded,
            DbError::ServerError,
            DbError::Other(0x1700),
            DbError::Other(0x1600),
        ] {
            check(db(error), true);
        }
        check(ExecutionError::RequestTimeout(Duration::from_secs(1)), true);
    }

    #[test]
    fn what_was_refused_before_it_began_is_not_done() {
        check(db(DbError::Invalid), false);
        check(db(DbError::Unauthorized), false);
        check(ExecutionError::EmptyPlan, false);
        check(RequestAttemptError::UnableToAllocStreamId.into(), false);
        for (rejected_by_coordinator, unknown) in [(true, false), (false, true)] {
            let limit = DbError::RateLimitReached {
                op_type: OperationType::Write,
                rejected_by_coordinator,
            };
            check(db(limit), unknown);
        }
    }
}
