//! Commands of a small domain against a store in memory.

mod admission;
mod bad_input;
mod bounds;
mod commands;
mod failures;
mod jar;
mod look_ups;
mod registration;

use super::{RequestLimits, router};
use crate::testing::{Answer, Ask, MemoryStore, ask, breaker, http, limits, send};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_server::HttpConfig;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use tower::ServiceExt;

const JAR: &str = "01900000-0000-7000-8000-000000000001";
const TALLY: &str = "01900000-0000-7000-8000-000000000002";
const COIN: &str = "01900000-0000-7000-8000-000000000003";

/// The routes over a store.
struct Server {
    store: MemoryStore,
    router: Router,
}

impl Server {
    fn new() -> Self {
        Self::within(&limits())
    }

    fn within(limits: &RequestLimits) -> Self {
        Self::bounded(&http(), limits)
    }

    fn bounded(http: &HttpConfig, limits: &RequestLimits) -> Self {
        let store = MemoryStore::default();
        let router = router(store.clone(), http, limits, breaker(), jar::routes());
        Self { router, store }
    }

    /// Every refusal of a command says what became of it.
    async fn send(&self, request: Request<Body>) -> Answer {
        let answer = send(&self.router, request).await;
        let refused = answer.status.as_u16() >= 400;
        assert_eq!(answer.body["outcome"].is_string(), refused, "{}", answer.body);
        answer
    }

    /// Sends a command that must be accepted.
    #[track_caller]
    fn accepts(&self, ask: Ask) -> impl Future<Output = Answer> {
        let told = format!("{ask:?}");
        async move {
            let answer = self.send(ask.into()).await;
            assert!(answer.status.is_success(), "{told}: {} {}", answer.status, answer.body);
            answer
        }
    }
}

fn coin() -> Value {
    json!({"name": "tea", "count": 2})
}

fn jar() -> Value {
    json!({"jar_id": JAR, "owner_id": TALLY, "label": "EUR", "coins": [coin()]})
}

fn create() -> Ask {
    ask("POST", "/v1/jars", &jar()).key("create")
}

fn on_jar(method: &str, action: &str, body: &Value) -> Ask {
    ask(method, &format!("/v1/jars/{JAR}/{action}"), body).key(action)
}

fn start() -> Ask {
    ask("POST", "/v1/tallies", &json!({"tally_id": TALLY, "number": 1})).key("start")
}
