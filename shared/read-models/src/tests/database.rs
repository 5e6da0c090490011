//! A migrated database of the embedded engine.

use crate::READ_MODELS;
use database::ScyllaConfig;
use database::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig, apply};
use embedded_scylla::server::{Server, ServerConfig};
use scylla::client::session::Session;
use scylla::value::Row;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub(super) struct Database {
    pub(super) server: Server,
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
        let sets = [event_store::MIGRATIONS, cdc::MIGRATIONS, READ_MODELS.migrations()];
        apply(&session, "projection_test", &config, &sets).await.expect("migrate");
        Self { server, session: Arc::new(session), _directory: directory }
    }

    /// Every row of a table, as text, sorted.
    pub(super) async fn dump(&self, table: &str) -> Vec<String> {
        let text = format!("SELECT * FROM {table}");
        let rows = self.session.query_unpaged(text, ()).await.expect(table);
        let rows = rows.into_rows_result().expect("rows");
        let rows = rows.rows::<Row>().expect("rows");
        let mut rows: Vec<_> = rows.map(|row| format!("{:?}", row.expect("a row"))).collect();
        rows.sort();
        rows
    }

    /// Every row of every read model.
    pub(super) async fn dump_all(&self) -> Vec<String> {
        let mut all = Vec::new();
        for table in READ_MODELS.iter().flat_map(|model| model.tables).map(|table| table.name) {
            let rows = self.dump(table).await;
            all.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
        }
        all
    }
}
