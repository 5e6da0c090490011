//! The one place that says how errors of queries look over HTTP.

use axum::http::StatusCode;
use event_store::ReadError;
use projection::QueryError;
use runtime::http::admission::Refused;
use std::time::Duration;
use uuid::Uuid;

pub(crate) use runtime::Problem;

/// When another try is worth it.
const SOON: Duration = Duration::from_secs(1);

/// Something is not in the read models, or not in the event store.
pub(crate) fn not_found(what: &'static str, id: Uuid) -> Problem {
    let detail = format!("there is no {what} {id}, or no event of it was projected yet");
    Problem::not_found("not_found", detail)
}

/// A path segment or a query parameter that cannot be understood.
pub(crate) fn malformed(field: &'static str, detail: impl Into<String>) -> Problem {
    Problem::malformed("malformed_parameter", detail).at(field)
}

/// 429 or 503: this process has too much to do.
pub(crate) fn not_admitted(refused: Refused) -> Problem {
    match refused {
        Refused::QueueFull => {
            busy("too_many_requests", "too many requests at once").retry_after(SOON)
        }
        Refused::PrincipalLimit { retry_after } => {
            busy("principal_rate_limited", "too many requests on behalf of this principal")
                .retry_after(retry_after)
        }
        Refused::QueueWait => unavailable("overloaded", "waited too long behind other requests"),
        Refused::Deadline => unavailable("deadline_passed", "its time was over before its turn"),
        Refused::BreakerOpen { retry_after } => {
            unavailable("database_away", "the database answers nobody now; try again later")
                .retry_after(retry_after.max(SOON))
        }
    }
}

/// 503: the answer took longer than a request may take.
pub(crate) fn timed_out() -> Problem {
    unavailable("timed_out", "the database did not answer in time")
}

/// Why a read model could not be read.
pub(crate) fn of_query(failure: &QueryError) -> Problem {
    let problem = match failure {
        QueryError::Prepare(_) | QueryError::Execute(_) => database_unavailable(),
        QueryError::Shape(_) => unreadable(),
    };
    problem.caused_by(failure)
}

/// Why a history could not be read.
pub(crate) fn of_history(failure: &ReadError) -> Problem {
    let problem = if failure.is_transient() { database_unavailable() } else { unreadable() };
    problem.caused_by(failure)
}

/// Why an answer could not be written: something in it has no place in JSON.
pub(crate) fn of_answer(failure: &serde_json::Error) -> Problem {
    unreadable().caused_by(failure)
}

fn database_unavailable() -> Problem {
    unavailable("database_unavailable", "the database did not answer; try again")
}

fn busy(code: &'static str, detail: &'static str) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
}

fn unavailable(code: &'static str, detail: &'static str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(SOON)
}

/// Stored data that this release cannot read: not the client's fault, and not to be tried again.
fn unreadable() -> Problem {
    let detail = "what is stored for this request cannot be read; an operator has to look at it";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable_data", detail)
}
