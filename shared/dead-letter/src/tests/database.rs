//! A migrated database of its own, with the embedded engine in the same process.

use crate::letter::{Key, Letter, Stamp, Stored};
use crate::store::{LetterStore, Strength};
use crate::table::Table;
use cdc::{ErrorClass, EventName, Refusal};
use database::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig, apply};
use database::{ScyllaConfig, Settings};
use embedded_scylla::faults::{Answer, FaultKind, FaultRule};
use embedded_scylla::server::{Server, ServerConfig};
use scylla::client::session::Session;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

const METADATA: &str = r#"{"command_id":"00000000-0000-0000-0000-000000000001","fingerprint":"f","causation_id":"00000000-0000-0000-0000-000000000001","correlation_id":"00000000-0000-0000-0000-000000000001","commit":{"index":0,"count":1}}"#;

pub(super) const SLOTS: u32 = 4;
pub(super) const CONSUMER: &str = "orders@1";

pub(super) struct Database {
    pub(super) session: Arc<Session>,
    pub(super) table: Table,
    pub(super) settings: Settings,
    server: Server,
    _directory: TempDir,
}

impl Database {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let config = ServerConfig::ephemeral(directory.path());
        let server = Server::start(config).await.expect("the engine starts");
        let mut scylla = ScyllaConfig::at(server.address().to_string());
        scylla.request_timeout_ms = 2_000;
        let session = scylla.connect().await.expect("connect");
        let config = ApplyConfig {
            keyspace: KeyspaceConfig { replication_factor: 1, tablets: false },
            settings: SettingsConfig { slots: SLOTS, safety_interval_ms: 1000 },
            claim_timeout: Duration::from_secs(10),
        };
        let sets =
            [leases::MIGRATIONS, event_store::MIGRATIONS, cdc::MIGRATIONS, crate::MIGRATIONS];
        let applied = apply(&session, "letters_test", &config, &sets).await.expect("migrate");
        let session = Arc::new(session);
        let table = Table::open(session.clone()).await.expect("statements are valid");
        Self { session, table, settings: applied.settings, server, _directory: directory }
    }

    pub(super) async fn run(&self, cql: &str, values: impl scylla::serialize::row::SerializeRow) {
        self.session.query_unpaged(cql, values).await.unwrap_or_else(|e| panic!("{cql}: {e}"));
    }

    /// Commits versions of an aggregate.
    pub(super) async fn commit(&self, id: Uuid, versions: std::ops::RangeInclusive<i64>) {
        let cql = format!(
            "INSERT INTO event_store (aggregate_id, sequence_number, event_id, aggregate_type, \
             event_type, schema_version, event_data, metadata, recorded_at) VALUES \
             (?, ?, ?, 'order', 'OrderCreated', 1, '{{}}', '{METADATA}', 1) IF NOT EXISTS"
        );
        for version in versions {
            let event_id = Uuid::new_v5(&id, &version.to_be_bytes());
            self.run(&cql, (id, version, event_id)).await;
        }
    }

    pub(super) async fn stored(&self, key: &Key) -> Option<Stored> {
        self.table.read(key, Strength::Serial).await.expect("read")
    }

    pub(super) async fn letter(&self, key: &Key) -> Letter {
        match self.stored(key).await {
            Some(Stored::Letter(letter)) => letter,
            other => panic!("no letter: {other:?}"),
        }
    }

    /// Stores a new letter.
    pub(super) async fn put(&self, key: &Key, version: u64) -> Letter {
        let letter = Letter::new(key.clone(), &refusal(key, version), Stamp::after(None));
        assert!(self.table.insert(&letter).await.expect("insert"));
        letter
    }

    /// Makes the next `count` changes of letters go wrong.
    pub(super) fn befall(&self, kind: FaultKind, count: u64, answer: Answer) {
        let (table, answer) = (Some("dead_letter_queue".to_owned()), Some(answer));
        let rule = FaultRule { table, count, answer, ..FaultRule::new(kind) };
        self.server.faults().add(rule).expect("a good rule");
    }

    /// Whether a fault is still to strike.
    pub(super) fn is_pending(&self) -> bool {
        !self.server.faults().report().pending.is_empty()
    }
}

pub(super) fn new_key() -> Key {
    let aggregate_id = Uuid::new_v4();
    let slot = cdc::slot_of(aggregate_id, SLOTS);
    Key { consumer: CONSUMER.to_owned(), slot, aggregate_id }
}

pub(super) fn refusal(key: &Key, version: u64) -> Refusal {
    let event = EventName {
        event_id: Some(Uuid::from_u128(version.into())),
        event_type: Some("OrderCreated".to_owned()),
        ..EventName::unread(key.aggregate_id, version)
    };
    Refusal { event, class: ErrorClass::Poison, error: "decode: no such field".to_owned() }
}
