//! The one place that maps refusals and failures of commands to HTTP: status, stable code, what to say, and whether the
//! command was done.

use super::command_body::InvalidValue;
use crate::Problem;
use crate::codes::{self, Code};
use crate::problem::{self, SOON};
use axum::http::StatusCode;
use event_store::{BusyReason, Effect, ExecuteError};
use http_server::admission::Refused;
use kernel::{DomainError, RefusalKind};

/// 408: the body did not arrive in time.
pub(super) fn body_timeout() -> Problem {
    codes::BODY_TIMEOUT.problem("the body took too long to arrive")
}

/// 413.
pub(super) fn body_too_large(bytes_max: usize) -> Problem {
    codes::BODY_TOO_LARGE.problem(format!("the body may have at most {bytes_max} bytes"))
}

/// 422: a value breaks a rule whatever the state is.
pub(super) fn invalid_value(invalid: InvalidValue) -> Problem {
    unprocessable(invalid.code, invalid.detail).at(invalid.field)
}

/// 429 or 503: a bound of this process is reached.
pub(super) fn busy(code: Code, detail: &str) -> Problem {
    code.problem(detail).retry_after(SOON)
}

/// 429 or 503: there is too much to do, and nothing of this request was begun.
pub(super) fn not_admitted(refused: Refused, effect: Effect) -> Problem {
    problem::not_admitted(refused).outcome(outcome(effect))
}

/// 500: a fault of ours, met while a command was in hand.
pub(super) fn internal() -> Problem {
    problem::internal().outcome(outcome(Effect::Unknown))
}

/// As a document says it.
pub(super) fn outcome(effect: Effect) -> &'static str {
    match effect {
        Effect::NotDone => "not_done",
        Effect::Unknown => "unknown",
    }
}

fn unprocessable(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
}

/// What became of a command that got no answer. `creates` tells whether it was a create.
pub(super) fn of_command<E: DomainError>(error: &ExecuteError<E>, creates: bool) -> Problem {
    without_outcome(error, creates).outcome(outcome(error.effect())).caused_by(error)
}

/// Why a look-up has no answer. It says nothing about the command that was asked for.
pub(super) fn of_look_up<E: DomainError>(error: &ExecuteError<E>) -> Problem {
    let problem = match error {
        ExecuteError::Unavailable { .. } => {
            let detail = "what became of the command could not be read; ask again";
            busy(codes::UNAVAILABLE, detail)
        }
        _ => without_outcome(error, false),
    };
    problem.outcome(outcome(Effect::Unknown)).caused_by(error)
}

fn without_outcome<E: DomainError>(error: &ExecuteError<E>, creates: bool) -> Problem {
    match error {
        ExecuteError::Refused { error, version } => of_refusal(error, version.0),
        ExecuteError::VersionMismatch { actual, .. } => {
            codes::STALE_VERSION.problem(error.to_string()).current_version(actual.0)
        }
        ExecuteError::CommandReused { .. } => codes::IDEMPOTENCY_KEY_REUSED
            .problem("the Idempotency-Key was used before with another command or body"),
        ExecuteError::OtherType { .. } if creates => {
            codes::ID_TAKEN.problem("the id belongs to something else")
        }
        ExecuteError::OtherType { .. } => problem::of_other_type(),
        ExecuteError::TooLarge { .. } => codes::COMMAND_TOO_LARGE.problem(error.to_string()),
        ExecuteError::Busy { reason, retry_after } => {
            let code = match reason {
                BusyReason::OpenCommands => codes::TOO_MANY_COMMANDS,
                BusyReason::AggregateQueue => codes::AGGREGATE_QUEUE_FULL,
                BusyReason::AggregateWait => codes::AGGREGATE_WAIT_RAN_OUT,
            };
            code.problem(reason.to_string()).retry_after(*retry_after)
        }
        ExecuteError::Conflict { version, .. } => {
            codes::CONTENDED.problem(error.to_string()).current_version(version.0).retry_after(SOON)
        }
        ExecuteError::Unknown { .. } => busy(
            codes::OUTCOME_UNKNOWN,
            "the command may have been done; the same request with the same Idempotency-Key \
             tells, and has no second effect",
        ),
        ExecuteError::Unavailable { .. } => {
            busy(codes::UNAVAILABLE, "the command was not done; it may be sent again")
        }
        ExecuteError::Unstorable { .. } => {
            codes::INTERNAL_ERROR.problem("an event that the command leads to cannot be stored")
        }
        ExecuteError::Corrupt { .. } => problem::events_unusable(),
    }
}

/// What the aggregate's rules say, under their own code.
fn of_refusal<E: DomainError>(error: &E, version: u64) -> Problem {
    let (code, detail) = (error.code(), error.to_string());
    match error.kind() {
        RefusalKind::NotFound => Problem::new(StatusCode::NOT_FOUND, code, detail),
        RefusalKind::WrongState => {
            Problem::new(StatusCode::CONFLICT, code, detail).current_version(version)
        }
        RefusalKind::InvalidValue => unprocessable(code, detail),
    }
}
