//! What every request has, whatever becomes of it: a correlation id that comes back with the
//! answer, the trace it belongs to, a line in the log, and a problem document when it is refused.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use runtime::traces;
use tokio::time::Instant;
use tracing::{Instrument, debug, warn};
use uuid::Uuid;

use crate::config::HttpConfig;
use crate::metrics::METRICS;
use crate::principals::PrincipalHeader;
use crate::problem::Problem;

const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What all requests of a router have in common.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The outcome of requests whose problem tells none, for routers whose requests have outcomes.
    pub outcome: Option<&'static str>,
    /// How long a request may wait for its answer.
    pub within: Duration,
    /// Where the gateway names the principal.
    pub principal: PrincipalHeader,
}

impl Terms {
    /// Those of a port whose problems have this outcome where they tell none.
    #[must_use]
    pub fn of(config: &HttpConfig, outcome: Option<&'static str>) -> Self {
        let principal = config.principals.header.clone();
        Self { outcome, within: config.request_timeout(), principal }
    }
}

/// Where a request belongs. Handlers find it among the request's extensions.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The client's, else a new one.
    pub correlation_id: Uuid,
    /// The W3C trace context: of the request's own span while traces are sent, else the client's, where
    /// it sent a valid one.
    pub trace_parent: Option<String>,
    /// On whose behalf it comes, where a gateway says so.
    pub principal: Option<Arc<str>>,
    /// When the client stops waiting. Whatever waits for something on its behalf stops then, and
    /// says whether anything was done.
    pub deadline: Instant,
}

impl RequestContext {
    /// Of a request that nobody sent over HTTP.
    #[cfg(test)]
    pub(crate) fn until(deadline: Instant) -> Self {
        let correlation_id = Uuid::from_u128(7);
        Self { correlation_id, trace_parent: None, principal: None, deadline }
    }

    /// What a person searches for: the trace, or what stands for it when there is none.
    #[must_use]
    pub fn trace_id(&self) -> String {
        traces::trace_id(self.trace_parent.as_deref(), self.correlation_id)
    }
}

/// The outermost layer of a router, for `axum::middleware::from_fn_with_state`. Takes
/// `X-Correlation-Id` and `traceparent`, counts the deadline from here (sooner with `Prefer:
/// wait=<seconds>`, RFC 7240), and makes the document of every [`Problem`].
pub async fn in_context(State(terms): State<Terms>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let given = correlation_id(request.headers());
    let wait = preferred_wait(request.headers()).filter(|wait| *wait <= terms.within);
    let correlation_id = given.as_ref().ok().copied().flatten().unwrap_or_else(Uuid::now_v7);
    let clients = trace_parent(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let span = traces::request(method.as_str(), &path, correlation_id, clients.as_deref());
    let principal = terms.principal.read(request.headers());
    let context = RequestContext {
        deadline: started + wait.unwrap_or(terms.within),
        correlation_id,
        trace_parent: traces::trace_parent(&span).or(clients),
        principal: principal.as_ref().ok().cloned().flatten(),
    };
    if !span.is_disabled() {
        traces::belongs_to(&span, &context.trace_id());
    }
    let answer = async {
        let response = match given.and(principal) {
            Ok(_) => {
                request.extensions_mut().insert(context.clone());
                next.run(request).await
            }
            Err(problem) => problem.into_response(),
        };
        documented(response, &context, terms.outcome)
    };
    let mut response = answer.instrument(span.clone()).await;
    traces::answered(&span, response.status().as_u16());
    if let Some(wait) = wait {
        let applied = HeaderValue::from_str(&format!("wait={}", wait.as_secs()));
        response.headers_mut().insert(PREFERENCE_APPLIED, applied.expect("visible ASCII"));
    }
    let id = HeaderValue::from_str(&context.correlation_id.to_string());
    response.headers_mut().insert(CORRELATION_ID, id.expect("a uuid is visible ASCII"));
    let status = response.status().as_u16();
    let elapsed_ms = started.elapsed().as_millis();
    debug!(%method, path, status, elapsed_ms, %correlation_id, trace_id = context.trace_id(), "answered");
    response
}

/// Gives a refusal its document, its count and its line in the log.
fn documented(
    mut response: Response,
    context: &RequestContext,
    outcome: Option<&'static str>,
) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    METRICS.problems.with_label_values(&[problem.code()]).inc();
    let (code, correlation_id) = (problem.code(), context.correlation_id);
    // What is refused for want of capacity or time is counted. A line for each would cost as much as
    // the work that it is spared.
    let failed = problem.cause().is_some() || problem.status() == StatusCode::INTERNAL_SERVER_ERROR;
    if problem.status().is_server_error() && failed {
        let error = problem.cause().unwrap_or_else(|| problem.detail());
        warn!(code, error, %correlation_id, "request failed");
    } else {
        debug!(code, detail = problem.detail(), "request refused");
    }
    problem.document(response, context, outcome)
}

fn correlation_id(headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    let mut values = headers.get_all(CORRELATION_ID).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let id = value.to_str().ok().and_then(parse_id);
            id.map(Some).ok_or_else(malformed_correlation_id)
        }
        (Some(_), Some(_)) => Err(malformed_correlation_id()),
    }
}

fn malformed_correlation_id() -> Problem {
    Problem::malformed("malformed_correlation_id", "X-Correlation-Id must be one UUID")
}

/// How long the client says that it waits. What cannot be understood is passed over, as the RFC says.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    let wait = preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"'))
    })?;
    wait.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

/// Reads a UUID in its usual form, with hyphens: what has one id has one address.
#[must_use]
pub fn parse_id(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// A header that is not valid is passed over, as the W3C's text says, for the sake of the request.
fn trace_parent(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(TRACE_PARENT).iter();
    let value = values.next()?.to_str().ok()?;
    (values.next().is_none() && is_trace_parent(value)).then(|| value.to_owned())
}

/// `version-traceid-parentid-flags`. A version later than 00 may add more parts; those are not
/// understood here, so only the known form is taken.
fn is_trace_parent(value: &str) -> bool {
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    let parts: Vec<_> = value.splitn(5, '-').collect();
    let [version, trace_id, parent_id, flags] = parts[..] else { return false };
    hex(version, 2)
        && version != "ff"
        && hex(trace_id, 32)
        && some(trace_id)
        && hex(parent_id, 16)
        && some(parent_id)
        && hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_parent_is_valid_or_passed_over() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_trace_parent(valid));
        for invalid in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert!(!is_trace_parent(invalid), "{invalid}");
        }
    }

    #[test]
    fn an_id_has_one_form() {
        let id = Uuid::from_u128(0xABCD);
        assert_eq!(parse_id(&id.to_string()), Some(id));
        let braced = id.braced().to_string();
        for other in ["", "7", &id.simple().to_string(), &braced, &"é".repeat(18)] {
            assert_eq!(parse_id(other), None, "{other}");
        }
    }

    #[test]
    fn a_preference_to_wait_is_understood_or_passed_over() {
        let cases = [
            (vec!["wait=2"], Some(2)),
            (vec!["respond-async, Wait = \"7\" ; foo"], Some(7)),
            (vec!["return=minimal", "wait=0"], Some(0)),
            (vec!["wait=soon"], None),
            (vec!["wait=-1"], None),
            (vec!["wait"], None),
            (vec![], None),
        ];
        for (values, seconds) in cases {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(PREFER, HeaderValue::from_static(value));
            }
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(preferred_wait(&headers), expected, "{values:?}");
        }
    }
}
