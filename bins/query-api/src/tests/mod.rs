//! The routes against the embedded engine.

mod bad_input;
mod failures;
mod history;
mod rows;

use crate::config::QueriesConfig;
use crate::routes::Shop;
use axum::Router;
use database::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig, apply};
use database::{ScyllaConfig, Settings};
use embedded_scylla::server::{Server, ServerConfig};
use event_store::EventReader;
use http_edge::queries::router;
use http_edge::testing::{Answer, Ask, breaker, ok, send, unhurried};
use processes::query_api::{Queries, QueryConfig};
use scylla::client::session::Session;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

const ORDER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
const CUSTOMER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002);
const NOBODY: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_000F);

fn config() -> QueriesConfig {
    QueriesConfig {
        page_size: 3,
        page_size_max: 5,
        events_page_size_max: 4,
        orders_by_customer_days_max: 200,
        orders_by_status_days_max: 30,
    }
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
        let shop = Shop::open(Arc::clone(&session), &config()).await.expect("prepare");
        let http = unhurried();
        let events = EventReader::open(Arc::clone(&session), http.request_timeout()).await;
        let events = events.expect("prepare");
        let limits = config().limits();
        let router = router(shop, events, &http, limits, breaker(), Shop::routes());
        Self { server, session, settings: applied.settings, router, _directory: directory }
    }

    async fn get(&self, path: &str) -> Answer {
        send(&self.router, Ask::get(path)).await
    }

    /// A representation that must be there.
    async fn ok(&self, path: &str) -> Answer {
        ok(&self.router, path).await
    }

    async fn execute(&self, statement: &str) {
        self.session.query_unpaged(statement, ()).await.expect(statement);
    }
}
