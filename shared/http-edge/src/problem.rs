//! Refusals and failures that commands and queries have in common.

use crate::{Problem, codes};
use http_server::admission::Refused;
use std::error::Error;
use std::time::Duration;

/// When another try is worth it, where nobody knows better.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// 503: the database did not answer a query; the next try may succeed.
#[must_use]
pub fn unavailable(error: &(dyn Error + 'static)) -> Problem {
    not_answered().caused_by(error)
}

/// 500: a row of a read model is there, and this release cannot read it.
#[must_use]
pub fn unreadable(error: &(dyn Error + 'static)) -> Problem {
    let detail = "what is stored for this request cannot be read; an operator has to look at it";
    codes::UNREADABLE_DATA.problem(detail).caused_by(error)
}

/// 503: a query has no answer yet.
pub(crate) fn not_answered() -> Problem {
    codes::UNAVAILABLE.problem("the database did not answer in time; retry later").retry_after(SOON)
}

/// 500: the ledger holds what cannot be used.
pub(crate) fn events_unusable() -> Problem {
    codes::STORED_EVENTS_UNUSABLE
        .problem("what is stored for this id cannot be used; an operator has to look at it")
}

/// 404: the id belongs to an aggregate of another type.
pub(crate) fn of_other_type() -> Problem {
    codes::ID_OF_OTHER_TYPE.problem("the id belongs to something else")
}

/// 500: a fault of ours.
pub(crate) fn internal() -> Problem {
    codes::INTERNAL_ERROR.problem("the request met an internal error")
}

/// 429 or 503: there is too much to do, and nothing of this request was begun.
pub(crate) fn not_admitted(refused: Refused) -> Problem {
    match refused {
        Refused::QueueFull => {
            codes::TOO_MANY_REQUESTS.problem("too many requests at once").retry_after(SOON)
        }
        Refused::PrincipalLimit { retry_after } => codes::PRINCIPAL_RATE_LIMITED
            .problem("too many requests on behalf of this principal")
            .retry_after(retry_after),
        Refused::QueueWait => codes::OVERLOADED
            .problem("the request waited too long behind others; retry later")
            .retry_after(SOON),
        Refused::Deadline => {
            codes::DEADLINE_PASSED.problem("the request timed out while queued").retry_after(SOON)
        }
        Refused::BreakerOpen { retry_after } => codes::DATABASE_AWAY
            .problem("the database is unavailable; retry later")
            .retry_after(retry_after.max(SOON)),
    }
}
