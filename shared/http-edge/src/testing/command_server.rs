//! Commands against a store in memory, and what must hold of every answer.

use super::{Answer, Ask, MemoryStore, breaker, http, limits, send};
use crate::commands::{CommandRoutes, RequestLimits, router};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_server::HttpConfig;
use serde_json::Value;

/// The routes of commands over a [`MemoryStore`] of their own.
#[derive(Debug)]
pub struct CommandServer {
    /// Where accepted commands go.
    pub store: MemoryStore,
    /// For requests of another kind than [`Ask`].
    pub router: Router,
}

impl CommandServer {
    /// These routes, within moderate bounds.
    #[must_use]
    pub fn new(routes: CommandRoutes<MemoryStore>) -> Self {
        Self::bounded(&http(), &limits(), routes)
    }

    /// These routes, within these bounds.
    #[must_use]
    pub fn bounded(
        http: &HttpConfig,
        limits: &RequestLimits,
        routes: CommandRoutes<MemoryStore>,
    ) -> Self {
        let store = MemoryStore::default();
        let router = router(store.clone(), http, limits, breaker(), routes);
        Self { store, router }
    }

    /// Sends one request.
    ///
    /// # Panics
    ///
    /// If a refusal does not say what became of the command, or if anything else does.
    pub async fn send(&self, request: impl Into<Request<Body>>) -> Answer {
        let answer = send(&self.router, request).await;
        let refused = answer.status.as_u16() >= 400;
        assert_eq!(answer.body["outcome"].is_string(), refused, "{}", answer.body);
        answer
    }

    /// Sends a command that must be accepted.
    ///
    /// # Panics
    ///
    /// If it is refused.
    #[track_caller]
    pub fn accepts(&self, ask: Ask) -> impl Future<Output = Answer> {
        let told = format!("{ask:?}");
        async move {
            let answer = self.send(ask).await;
            assert!(answer.status.is_success(), "{told}: {} {}", answer.status, answer.body);
            answer
        }
    }

    /// Sends a request that must not reach the store, which nothing has reached yet.
    ///
    /// # Panics
    ///
    /// If it is not refused by this status and code and about this field, or if it was executed.
    pub async fn refuses(&self, ask: Ask, status: u16, code: &str, field: Option<&str>) {
        let told = format!("{} {} {}", ask.method, ask.path, String::from_utf8_lossy(&ask.body));
        let told: String = told.chars().take(300).collect();
        let answer = self.send(ask).await;
        assert_eq!(answer.body["code"], code, "{told}: {}", answer.body);
        answer.is_problem(status, code);
        let named = answer.body.get("field").and_then(Value::as_str);
        assert_eq!(named, field, "{told}: {}", answer.body);
        assert_eq!(answer.body["outcome"], "not_done", "{told}");
        assert!(self.store.executed().is_empty(), "{told} was executed");
    }
}

/// Replaces a member of a JSON object; `null` removes it.
///
/// # Panics
///
/// If `body` is no object.
pub fn set(body: &mut Value, member: &str, value: Value) {
    let members = body.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(member);
    } else {
        members.insert(member.to_owned(), value);
    }
}
