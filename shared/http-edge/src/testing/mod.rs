//! For the tests of an application: its routes against a [`MemoryStore`], and the tables of its documentation.
//!
//! ```text
//! let server = CommandServer::new(routes());
//! let answer = server.send(ask("POST", "/v1/accounts", &json!({"owner": ""}))).await;
//! answer.is_problem(422, "blank_text");
//! ```

mod command_server;
mod memory_store;
mod tables;

pub use command_server::{CommandServer, set};
pub use memory_store::{Executed, Fails, MemoryStore};
pub use tables::problem_tables;

use crate::codes::CODES;
use crate::commands::RequestLimits;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use http_server::HttpConfig;
use runtime::{Breaker, BreakerConfig, Target};
use serde_json::Value;
use std::num::{NonZeroU32, NonZeroU64};
use tower::ServiceExt;

/// A port of its own choice.
///
/// # Panics
///
/// Never.
#[must_use]
pub fn http() -> HttpConfig {
    HttpConfig::at("127.0.0.1:0".parse().expect("an address"))
}

/// The same with ten seconds for a request.
#[must_use]
pub fn unhurried() -> HttpConfig {
    let request_timeout_ms = NonZeroU64::new(10_000).unwrap_or(NonZeroU64::MIN);
    HttpConfig { request_timeout_ms, ..http() }
}

/// Bodies of one mebibyte, four at a time.
///
/// # Panics
///
/// Never.
#[must_use]
pub fn limits() -> RequestLimits {
    let number = |number| NonZeroU32::new(number).expect("not zero");
    RequestLimits {
        body_bytes_max: number(1024 * 1024),
        body_timeout_ms: number(10_000),
        full_bodies_max: number(4),
    }
}

/// A closed breaker of its own.
#[must_use]
pub fn breaker() -> Breaker {
    Breaker::new(Target::new("database"), BreakerConfig::default(), None)
}

/// Sends one request to the routes.
///
/// # Panics
///
/// If the answer breaks off.
pub async fn send(router: &Router, request: impl Into<Request<Body>>) -> Answer {
    let response = router.clone().oneshot(request.into()).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("an answer in memory").to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Asks for a representation that must be there.
///
/// # Panics
///
/// If the answer is another one than 200 with JSON.
pub async fn ok(router: &Router, path: &str) -> Answer {
    let answer = send(router, Ask::get(path)).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    answer
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The JSON, or null.
    pub body: Value,
}

impl Answer {
    /// One header.
    ///
    /// # Panics
    ///
    /// If it is no text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }

    /// Checks that this is a whole problem document of that status and code.
    ///
    /// # Panics
    ///
    /// If it is not, or if the table of codes has another status for the code.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        let told = format!("{} {}", self.status, self.body);
        let got = (self.status.as_u16(), self.body["code"].as_str());
        assert_eq!(got, (status, Some(code)), "{told}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{told}");
        assert_eq!(self.body["status"], status, "{told}");
        assert_eq!(self.body["type"], format!("urn:event-platform:problem:{code}"), "{told}");
        for member in ["title", "detail", "trace_id", "correlation_id"] {
            assert!(self.body[member].is_string(), "{member} in {told}");
        }
        assert_eq!(self.header("x-correlation-id"), self.body["correlation_id"].as_str(), "{told}");
        let later = matches!(status, 429 | 503) || code == "contended";
        assert_eq!(self.header("retry-after").is_some(), later, "{told}");
        if let Some(known) = CODES.iter().find(|known| known.code == code) {
            assert_eq!(known.status, status, "the table of codes about {told}");
        }
    }
}

/// A request in the making, a well-formed command unless told otherwise.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub path: String,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes of the body.
    pub body: Vec<u8>,
}

/// A command; `null` is no body at all.
///
/// # Panics
///
/// If `method` is none.
#[must_use]
pub fn ask(method: &str, path: &str, body: &Value) -> Ask {
    Ask {
        method: method.parse().expect("a method"),
        path: path.to_owned(),
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("idempotency-key", "key-1".to_owned()),
        ],
        body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
    }
}

impl Ask {
    /// A query.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self { headers: Vec::new(), ..ask("GET", path, &Value::Null) }
    }

    /// With a header set to another value.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value.into()));
        self
    }

    /// Without a header.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self
    }

    /// With another idempotency key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// With another body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

impl From<Ask> for Request<Body> {
    fn from(ask: Ask) -> Self {
        let mut request = Request::builder().method(ask.method).uri(ask.path);
        for (name, value) in ask.headers {
            request = request.header(name, value.as_bytes());
        }
        request.body(Body::from(ask.body)).expect("a request")
    }
}
