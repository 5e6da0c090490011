//! Errors as HTTP clients see them: RFC 9457 problem documents.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;
use uuid::Uuid;

use crate::context::RequestContext;

/// Before the code in a problem's `type`.
const TYPE_PREFIX: &str = "urn:event-platform:problem:";

/// How much of a client's own words is repeated to it, in characters.
const QUOTED_CHARS_MAX: usize = 200;

/// A refusal or failure of a request. [`crate::context::in_context`] makes the document of
/// it: `type`, `title`, `status`, `code`, `detail`, `trace_id`, `correlation_id`, and `outcome`,
/// `field` and `current_version` where they are told.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Box<str>,
    cause: Option<Box<str>>,
    outcome: Option<&'static str>,
    field: Option<Box<str>>,
    current_version: Option<u64>,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: String,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_version: Option<u64>,
    trace_id: String,
    correlation_id: Uuid,
}

impl Problem {
    /// A problem by its stable code, which is also the end of the document's `type`. `detail` goes
    /// to the client: no internals.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: shortened(detail.into()),
            cause: None,
            outcome: None,
            field: None,
            current_version: None,
            retry_after: None,
        }
    }

    /// 400: the request does not say what is wanted.
    #[must_use]
    pub fn malformed(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// The path of the field that it is about.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(shortened(field.into()));
        self
    }

    /// The version that a conflict was found at.
    #[must_use]
    pub fn current_version(mut self, version: u64) -> Self {
        self.current_version = Some(version);
        self
    }

    /// Whether what was asked for was done, for requests that change something.
    #[must_use]
    pub fn outcome(mut self, outcome: &'static str) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// When another try is worth it: `Retry-After`, in whole seconds.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// What led to it. Goes to the log, never to the client.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        self.cause = Some(runtime::chain(error).to_string().into());
        self
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What the client is told.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The path of the field that it is about, where there is one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// What led to it, where that is told; for the log.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Writes the document into `response`, which keeps its headers. `outcome` stands in for one
    /// that is not told.
    pub(crate) fn document(
        &self,
        response: Response,
        context: &RequestContext,
        outcome: Option<&'static str>,
    ) -> Response {
        let document = Document {
            r#type: format!("{TYPE_PREFIX}{}", self.code),
            title: title(self.code),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            outcome: self.outcome.or(outcome),
            field: self.field.as_deref(),
            current_version: self.current_version,
            trace_id: context.trace_id(),
            correlation_id: context.correlation_id,
        };
        let body = serde_json::to_vec(&document).expect("a document is plain data");
        let (mut parts, _) = response.into_parts();
        parts.status = self.status;
        let kind = HeaderValue::from_static("application/problem+json");
        parts.headers.insert(header::CONTENT_TYPE, kind);
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(after) = self.retry_after {
            let seconds = after.as_millis().div_ceil(1_000).max(1);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        Response::from_parts(parts, Body::from(body))
    }
}

/// Carries the problem to the request's context, which knows what it belongs to.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The code in words.
fn title(code: &str) -> String {
    let mut words = code.replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

fn shortened(text: String) -> Box<str> {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    async fn documented(problem: Problem) -> (Response, Value) {
        let context = RequestContext::until(tokio::time::Instant::now());
        let response = problem.document(problem.clone().into_response(), &context, None);
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 10_000).await.expect("a body in memory");
        let body = serde_json::from_slice(&bytes).expect("a document is JSON");
        (Response::from_parts(parts, Body::empty()), body)
    }

    #[tokio::test]
    async fn a_problem_has_its_members_and_its_media_type() {
        let problem = Problem::new(StatusCode::CONFLICT, "wrong_state", "the order is shipped")
            .current_version(4)
            .outcome("not_done")
            .retry_after(Duration::from_millis(1_200));
        let (response, body) = documented(problem).await;
        let expected = serde_json::json!({
            "type": "urn:event-platform:problem:wrong_state",
            "title": "Wrong state",
            "status": 409,
            "code": "wrong_state",
            "detail": "the order is shipped",
            "outcome": "not_done",
            "current_version": 4,
            "trace_id": "00000000000000000000000000000007",
            "correlation_id": "00000000-0000-0000-0000-000000000007",
        });
        assert_eq!(body, expected);
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "2");
    }

    #[tokio::test]
    async fn a_clients_words_are_repeated_in_part() {
        let (_, body) = documented(Problem::malformed("malformed_id", "é".repeat(300))).await;
        assert_eq!(body["detail"], format!("{}…", "é".repeat(QUOTED_CHARS_MAX)));
        assert_eq!(body.get("outcome"), None);
        assert_eq!(body.get("field"), None);
    }
}
