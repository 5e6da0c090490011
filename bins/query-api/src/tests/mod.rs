//! The routes against the embedded engine.

mod bad_input;
mod failures;
mod history;
mod rows;

use crate::config::QueriesConfig;
use crate::routes;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use embedded_scylla::server::{Server, ServerConfig};
use event_store::EventReader;
use http_body_util::BodyExt;
use read_models::queries::Queries;
use runtime::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig, apply};
use runtime::{Breaker, BreakerConfig, HttpConfig, ScyllaConfig, Settings, Target};
use scylla::client::session::Session;
use serde_json::Value;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

const ORDER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
const CUSTOMER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002);
const NOBODY: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_000F);

pub(crate) fn config() -> QueriesConfig {
    QueriesConfig {
        page_size: 3,
        page_size_max: 5,
        events_page_size_max: 4,
        orders_by_customer_days_max: 200,
        orders_by_status_days_max: 30,
    }
}

fn http() -> HttpConfig {
    let config = HttpConfig::at("127.0.0.1:0".parse().expect("an address"));
    HttpConfig { request_timeout_ms: NonZeroU64::new(10_000).expect("not zero"), ..config }
}

fn breaker() -> Breaker {
    Breaker::new(Target::Database, BreakerConfig::default(), None)
}

/// The routes over a database of their own.
struct Api {
    server: Server,
    session: Arc<Session>,
    settings: Settings,
    router: Router,
    _directory: TempDir,
}

impl Api {
    async fn start() -> Self {
        Self::within(http()).await
    }

    async fn within(http: HttpConfig) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let server = Server::start(ServerConfig::ephemeral(directory.path())).await;
        let server = server.expect("the engine starts");
        let scylla = ScyllaConfig::at(server.address().to_string());
        let session = scylla.connect().await.expect("connect");
        let migrate = ApplyConfig {
            keyspace: KeyspaceConfig { replication_factor: 1, tablets: false },
            settings: SettingsConfig { slots: 4, safety_interval_ms: 10_000 },
            claim_timeout: Duration::from_secs(10),
        };
        let sets = [event_store::MIGRATIONS, read_models::READ_MODELS.migrations()];
        let applied = apply(&session, "query_test", &migrate, &sets).await.expect("migrate");
        let session = Arc::new(session);
        let queries = Queries::open(Arc::clone(&session)).await.expect("prepare");
        let events = EventReader::open(Arc::clone(&session), http.request_timeout()).await;
        let state = routes::State { queries, events: events.expect("prepare"), config: config() };
        let router = routes::router(state, &http, breaker());
        Self { server, session, settings: applied.settings, router, _directory: directory }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.router, request).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path)).await
    }

    /// A representation that must be there.
    async fn ok(&self, path: &str) -> Answer {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        answer
    }

    async fn execute(&self, statement: &str) {
        self.session.query_unpaged(statement, ()).await.expect(statement);
    }
}

fn request(method: &str, path: &str) -> Request<Body> {
    let method: Method = method.parse().expect("a method");
    Request::builder().method(method).uri(path).body(Body::empty()).expect("a request")
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("an answer in memory").to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status: parts.status, headers: parts.headers, body }
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
        let got = (self.status.as_u16(), self.body["code"].as_str());
        assert_eq!(got, (status, Some(code)), "{told}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{told}");
        assert_eq!(self.body["status"], status, "{told}");
        assert_eq!(self.body["type"], format!("urn:event-platform:problem:{code}"), "{told}");
        for member in ["title", "detail", "trace_id", "correlation_id"] {
            assert!(self.body[member].is_string(), "{member} in {told}");
        }
        assert_eq!(self.header("x-correlation-id"), self.body["correlation_id"].as_str(), "{told}");
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503), "{told}");
    }
}
