//! The one place that maps refusals and failures of commands to HTTP: status, stable code, what to
//! say, and whether the command was done.

use axum::http::StatusCode;
use domain::ValueError;
use event_store::{BusyReason, Effect, ExecuteError};
use kernel::{DomainError, RefusalKind};
use std::time::Duration;

use runtime::http::admission::Refused;

pub(crate) use runtime::Problem;

/// When another try is worth it, where nobody knows better.
const SOON: Duration = Duration::from_secs(1);

/// 408: the body did not arrive in time.
pub(crate) fn body_timeout() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body took too long to arrive")
}

/// 413.
pub(crate) fn body_too_large(bytes_max: usize) -> Problem {
    let detail = format!("the body may have at most {bytes_max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

/// 415.
pub(crate) fn unsupported(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, detail)
}

/// 422: a value breaks a rule whatever the state is.
pub(crate) fn invalid_value(field: String, error: &ValueError) -> Problem {
    unprocessable(error.code(), error.to_string()).at(field)
}

/// 429: a bound of this process is reached.
pub(crate) fn busy(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, code, detail).retry_after(SOON)
}

/// 429 or 503: there is too much to do, and nothing of this request was begun.
pub(crate) fn not_admitted(refused: Refused, effect: Effect) -> Problem {
    let problem = match refused {
        Refused::QueueFull => busy("too_many_requests", "too many requests at once"),
        Refused::QueueWait => {
            unavailable("overloaded", "waited too long behind other requests; send it again")
        }
        Refused::Deadline => unavailable("deadline_passed", "its time was over before its turn"),
        Refused::PrincipalLimit { retry_after } => {
            busy("principal_rate_limited", "too many requests on behalf of this principal")
                .retry_after(retry_after)
        }
        Refused::BreakerOpen { retry_after } => {
            unavailable("database_away", "the database answers nobody now; send it again later")
                .retry_after(retry_after.max(SOON))
        }
    };
    problem.outcome(outcome(effect))
}

/// 500: a fault of ours, met while a command was in hand.
pub(crate) fn internal() -> Problem {
    Problem::internal("the request met an internal error").outcome(outcome(Effect::Unknown))
}

/// 503: a wait ran out, or a dependency is away.
fn unavailable(code: &'static str, detail: &'static str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(SOON)
}

/// As a document says it.
pub(crate) fn outcome(effect: Effect) -> &'static str {
    match effect {
        Effect::NotDone => "not_done",
        Effect::Unknown => "unknown",
    }
}

fn unprocessable(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
}

/// What became of a command that got no answer. `creates` tells whether it was a create.
pub(crate) fn of_command<E: DomainError + 'static>(
    error: &ExecuteError<E>,
    creates: bool,
) -> Problem {
    without_outcome(error, creates).outcome(outcome(error.effect())).caused_by(error)
}

/// Why a look-up has no answer. It says nothing about the command that was asked for.
pub(crate) fn of_look_up<E: DomainError + 'static>(error: &ExecuteError<E>) -> Problem {
    let problem = match error {
        ExecuteError::Unavailable { .. } => {
            unavailable("unavailable", "what became of the command could not be read; ask again")
        }
        _ => without_outcome(error, false),
    };
    problem.outcome(outcome(Effect::Unknown)).caused_by(error)
}

fn without_outcome<E: DomainError>(error: &ExecuteError<E>, creates: bool) -> Problem {
    let conflict = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail);
    match error {
        ExecuteError::Refused { error, version } => match error.kind() {
            RefusalKind::NotFound => Problem::not_found(error.code(), error.to_string()),
            RefusalKind::WrongState => {
                conflict(error.code(), error.to_string()).current_version(version.0)
            }
            RefusalKind::InvalidValue => unprocessable(error.code(), error.to_string()),
        },
        ExecuteError::VersionMismatch { actual, .. } => {
            Problem::new(StatusCode::PRECONDITION_FAILED, "stale_version", error.to_string())
                .current_version(actual.0)
        }
        ExecuteError::CommandReused { .. } => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "the Idempotency-Key was used before with another command or body",
        ),
        ExecuteError::OtherType { .. } if creates => {
            conflict("id_taken", "the id belongs to something else".to_owned())
        }
        ExecuteError::OtherType { .. } => {
            Problem::not_found("id_of_other_type", "the id belongs to something else")
        }
        ExecuteError::TooLarge { .. } => unprocessable("command_too_large", error.to_string()),
        ExecuteError::Busy { reason, retry_after } => {
            let (status, code) = match reason {
                BusyReason::OpenCommands => (StatusCode::TOO_MANY_REQUESTS, "too_many_commands"),
                BusyReason::AggregateQueue => {
                    (StatusCode::TOO_MANY_REQUESTS, "aggregate_queue_full")
                }
                BusyReason::AggregateWait => {
                    (StatusCode::SERVICE_UNAVAILABLE, "aggregate_wait_ran_out")
                }
            };
            Problem::new(status, code, reason.to_string()).retry_after(*retry_after)
        }
        ExecuteError::Conflict { version, .. } => {
            conflict("contended", error.to_string()).current_version(version.0).retry_after(SOON)
        }
        ExecuteError::Unknown { .. } => unavailable(
            "outcome_unknown",
            "the command may have been done; the same request with the same Idempotency-Key \
             tells, and has no second effect",
        ),
        ExecuteError::Unavailable { .. } => {
            unavailable("unavailable", "the command was not done; it may be sent again")
        }
        ExecuteError::Unstorable { .. } => {
            Problem::internal("an event that the command leads to cannot be stored")
        }
        ExecuteError::Corrupt { .. } => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "stored_events_unusable",
            "what is stored for this id cannot be used; an operator has to look at it",
        ),
    }
}
