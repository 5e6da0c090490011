//! A migrated database of the embedded engine.

use super::tallies::TALLY_MODELS;
use database::ScyllaConfig;
use database::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig, apply};
use embedded_scylla::server::{Server, ServerConfig};
use scylla::client::session::Session;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub(super) struct Database {
    _server: Server,
    pub(super) session: Arc<Session>,
    _directory: TempDir,
}

impl Database {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let config = ServerConfig::ephemeral(directory.path());
        let server = Server::start(config).await.expect("the engine starts");
        let mut scylla = ScyllaConfig::at(server.address().to_string());
        scylla.request_timeout_ms = 5_000;
        let session = scylla.connect().await.expect("connect");
        let config = ApplyConfig {
            keyspace: KeyspaceConfig { replication_factor: 1, tablets: false },
            settings: SettingsConfig { slots: 4, safety_interval_ms: 10_000 },
            claim_timeout: Duration::from_secs(10),
        };
        let sets = [event_store::MIGRATIONS, cdc::MIGRATIONS, TALLY_MODELS.migrations()];
        apply(&session, "projection_test", &config, &sets).await.expect("migrate");
        Self { _server: server, session: Arc::new(session), _directory: directory }
    }
}
