//! The routes against a store in memory, with the real rules of the domain.

mod admission;
mod bad_input;
mod bounds;
mod commands;
mod failures;
mod fake_store;
mod look_ups;
mod random;

use self::fake_store::FakeStore;
use crate::config::RequestLimits;
use crate::routes;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use http_server::HttpConfig;
use runtime::{Breaker, BreakerConfig};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use tower::ServiceExt;

const ORDER: &str = "01900000-0000-7000-8000-000000000001";
const CUSTOMER: &str = "01900000-0000-7000-8000-000000000002";
const ADDRESS: &str = "01900000-0000-7000-8000-000000000003";

fn http() -> HttpConfig {
    HttpConfig::at("127.0.0.1:0".parse().expect("an address"))
}

fn limits() -> RequestLimits {
    let number = |number| NonZeroU32::new(number).expect("not zero");
    RequestLimits {
        body_bytes_max: number(1024 * 1024),
        body_timeout_ms: number(10_000),
        full_bodies_max: number(4),
    }
}

/// The routes over a store.
struct Server {
    store: FakeStore,
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
        let store = FakeStore::default();
        let breaker = Breaker::new(database::TARGET, BreakerConfig::default(), None);
        Self { router: routes::router(store.clone(), http, limits, breaker), store }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("an answer in memory").to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
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

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }

    /// Checks that this is a whole problem document of that status and code.
    #[track_caller]
    fn is_problem(&self, status: u16, code: &str) {
        let told = format!("{} {}", self.status, self.body);
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str()),
            (status, Some(code)),
            "{told}"
        );
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{told}");
        assert_eq!(self.body["status"], status, "{told}");
        assert_eq!(self.body["type"], format!("urn:event-platform:problem:{code}"), "{told}");
        for member in ["title", "detail", "outcome", "trace_id", "correlation_id"] {
            assert!(self.body[member].is_string(), "{member} in {told}");
        }
        assert_eq!(self.header("x-correlation-id"), self.body["correlation_id"].as_str(), "{told}");
    }
}

/// A request in the making, well formed unless told otherwise.
#[derive(Debug, Clone)]
struct Ask {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn ask(method: &str, path: &str, body: &Value) -> Ask {
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
    /// With a header set to another value.
    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value.into()));
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self
    }

    fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
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

fn item() -> Value {
    json!({"product_id": "tea", "quantity": 2, "unit_price_minor": 450})
}

fn order() -> Value {
    json!({"order_id": ORDER, "customer_id": CUSTOMER, "currency": "EUR", "items": [item()]})
}

fn create() -> Ask {
    ask("POST", "/v1/orders", &order()).key("create")
}

fn on_order(method: &str, action: &str, body: &Value) -> Ask {
    ask(method, &format!("/v1/orders/{ORDER}/{action}"), body).key(action)
}

fn register() -> Ask {
    let body = json!({"customer_id": CUSTOMER, "name": "Ada", "email": "ada@example.com"});
    ask("POST", "/v1/customers", &body).key("register")
}

fn on_customer(method: &str, action: &str, body: &Value) -> Ask {
    ask(method, &format!("/v1/customers/{CUSTOMER}/{action}"), body).key(action)
}
