//! What clients are told, one code per fact. Every problem of the edge is made of a line of this table, and the
//! documentation of an application is written from it ([`crate::testing::problem_tables`]).

use crate::Problem;
use axum::http::StatusCode;

/// One fact that a client can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Stable; programs are written against it.
    pub code: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// Whose answers have it.
    pub api: Api,
    /// What it means, for the documentation.
    pub meaning: &'static str,
}

/// Whose answers have a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Those of commands.
    Commands,
    /// Those of queries.
    Queries,
    /// Those of both.
    Both,
}

impl Code {
    /// A problem of this code. `detail` goes to the client: no internals.
    pub(crate) fn problem(&self, detail: impl Into<String>) -> Problem {
        let status = StatusCode::from_u16(self.status).expect("the table has valid statuses");
        Problem::new(status, self.code, detail)
    }
}

macro_rules! codes {
    ($($name:ident = $status:literal $code:literal $api:ident, $meaning:literal;)+) => {
        $(pub(crate) const $name: Code =
            Code { code: $code, status: $status, api: Api::$api, meaning: $meaning };)+

        /// Every code of the edge, by status.
        pub const CODES: &[Code] = &[$($name),+];

        /// The names above, each of which something in this crate has to use.
        #[cfg(test)]
        const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

codes! {
    MALFORMED_JSON = 400 "malformed_json" Commands, "the body is not JSON, or the command needs a body and there is none";
    INVALID_UTF8 = 400 "invalid_utf8" Commands, "the body is not UTF-8";
    TRAILING_BYTES = 400 "trailing_bytes" Commands, "something follows the JSON document";
    BROKEN_BODY = 400 "broken_body" Commands, "the body ended before its end";
    JSON_TOO_DEEP = 400 "json_too_deep" Commands, "the body is nested deeper than 32 levels";
    WRONG_TYPE = 400 "wrong_type" Commands, "a field has a value of another type; with `field`";
    MISSING_FIELD = 400 "missing_field" Commands, "a field is missing; with `field`";
    UNKNOWN_FIELD = 400 "unknown_field" Commands, "the command has no such field; with `field`";
    DUPLICATE_FIELD = 400 "duplicate_field" Commands, "a field is there twice; with `field`";
    MISSING_IDEMPOTENCY_KEY = 400 "missing_idempotency_key" Commands, "the command has no `Idempotency-Key`";
    INVALID_IDEMPOTENCY_KEY = 400 "invalid_idempotency_key" Commands, "the key is not one value of 1 to 255 visible ASCII characters";
    MALFORMED_IF_MATCH = 400 "malformed_if_match" Commands, "`If-Match` is not one version in quotes";
    MALFORMED_CORRELATION_ID = 400 "malformed_correlation_id" Both, "`X-Correlation-Id` is not one UUID";
    MALFORMED_ACTOR = 400 "malformed_actor" Both, "the header of the principal is not one value of 1 to 128 visible ASCII characters";
    MALFORMED_ID = 400 "malformed_id" Both, "an id in the path is not a UUID of 36 characters; with `field`";
    MALFORMED_PARAMETER = 400 "malformed_parameter" Queries, "a query parameter is missing, unknown or malformed; with `field`";
    NOT_FOUND = 404 "not_found" Queries, "there is nothing of this id, or no event of it was projected yet";
    ID_OF_OTHER_TYPE = 404 "id_of_other_type" Both, "the id belongs to something of another type";
    ROUTE_NOT_FOUND = 404 "route_not_found" Both, "there is no such route";
    METHOD_NOT_ALLOWED = 405 "method_not_allowed" Both, "the route has other methods; with `Allow`";
    BODY_TIMEOUT = 408 "body_timeout" Commands, "the body did not arrive in time";
    ID_TAKEN = 409 "id_taken" Commands, "a create names an id that belongs to something of another type";
    CONTENDED = 409 "contended" Commands, "others kept appending first; not done";
    STALE_VERSION = 412 "stale_version" Commands, "the aggregate is not at the version that `If-Match` names; with `current_version`";
    BODY_TOO_LARGE = 413 "body_too_large" Commands, "the body is larger than `requests.body_bytes_max`";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported_media_type" Commands, "the `Content-Type` is not `application/json`";
    UNSUPPORTED_CONTENT_ENCODING = 415 "unsupported_content_encoding" Commands, "the body is compressed";
    IDEMPOTENCY_KEY_REUSED = 422 "idempotency_key_reused" Commands, "the key was used with another command or body";
    COMMAND_TOO_LARGE = 422 "command_too_large" Commands, "its events are more than one commit may hold";
    TOO_MANY_REQUESTS = 429 "too_many_requests" Both, "as many requests wait as may";
    PRINCIPAL_RATE_LIMITED = 429 "principal_rate_limited" Both, "too many requests on behalf of this principal";
    TOO_MANY_BODIES = 429 "too_many_bodies" Commands, "bodies of other requests take all the memory that they may";
    TOO_MANY_COMMANDS = 429 "too_many_commands" Commands, "as many commands are open in this process as may be; not done";
    AGGREGATE_QUEUE_FULL = 429 "aggregate_queue_full" Commands, "as many commands wait for the aggregate as may; not done";
    INTERNAL_ERROR = 500 "internal_error" Both, "an internal error; `outcome` tells whether a command was not done or may have been";
    STORED_EVENTS_UNUSABLE = 500 "stored_events_unusable" Both, "the stored events of this id cannot be read; a command was not done";
    UNREADABLE_DATA = 500 "unreadable_data" Queries, "this release cannot read the row of the read model";
    OVERLOADED = 503 "overloaded" Both, "it waited behind other requests as long as a request may";
    DEADLINE_PASSED = 503 "deadline_passed" Both, "its deadline came while it was queued";
    AGGREGATE_WAIT_RAN_OUT = 503 "aggregate_wait_ran_out" Commands, "it waited too long for earlier commands of the aggregate; not done";
    UNAVAILABLE = 503 "unavailable" Both, "the database did not answer in time; a command was not done";
    DATABASE_AWAY = 503 "database_away" Both, "the database answers nobody, so it is not asked";
    OUTCOME_UNKNOWN = 503 "outcome_unknown" Commands, "the commit was sent and its outcome is not known yet";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn one_fact_has_one_code() {
        let codes: BTreeSet<_> = CODES.iter().map(|code| code.code).collect();
        assert_eq!(codes.len(), CODES.len());
        let meanings: BTreeSet<_> = CODES.iter().map(|code| code.meaning).collect();
        assert_eq!(meanings.len(), CODES.len());
        assert!(CODES.is_sorted_by_key(|code| code.status));
        for code in CODES {
            assert_eq!(code.problem("").status().as_u16(), code.status);
        }
    }

    /// All sources of a folder in one text.
    fn sources(folder: &Path) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                text += &sources(&path);
            } else {
                text += &std::fs::read_to_string(&path).expect("a source");
            }
        }
        text
    }

    #[test]
    fn every_code_of_the_table_is_said_somewhere() {
        let text = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        // The request's context says these two, before a request reaches the edge.
        let said_before = ["MALFORMED_CORRELATION_ID", "MALFORMED_ACTOR"];
        let unsaid: Vec<_> = NAMES
            .iter()
            .filter(|name| !said_before.contains(name) && !text.contains(&format!("codes::{name}")))
            .collect();
        assert!(unsaid.is_empty(), "{unsaid:?}");
    }
}
