//! A database of the embedded engine, looked at as tests need it.

use crate::MIGRATIONS;
use crate::config::EventStoreConfig;
use crate::outbox;
use crate::reader::EventReader;
use crate::scylla_ledger::ScyllaLedger;
use crate::statements::RequestBounds;
use crate::store::EventStore;
use crate::testing::{ID, v};
use database::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig, apply};
use database::{ScyllaConfig, Settings};
use embedded_scylla::faults::{Answer, FaultKind, FaultRule};
use embedded_scylla::server::{Server, ServerConfig};
use kernel::RecordedEvent;
use scylla::client::session::Session;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const KEYSPACE: &str = "event_store_test";

/// Long enough for a loaded machine.
const PATIENT_MS: u64 = 60_000;

/// A migrated database of its own.
pub(crate) struct Database {
    pub(crate) server: Server,
    scylla: ScyllaConfig,
    session: Arc<Session>,
    settings: Settings,
    _directory: TempDir,
}

impl Database {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let config = ServerConfig::ephemeral(directory.path());
        let server = Server::start(config).await.expect("the engine starts");
        let scylla = ScyllaConfig::at(server.address().to_string());
        let session = scylla.connect().await.expect("connect");
        let config = ApplyConfig {
            keyspace: KeyspaceConfig { replication_factor: 1, tablets: false },
            settings: SettingsConfig { slots: 4, safety_interval_ms: 10_000 },
            claim_timeout: Duration::from_secs(10),
        };
        apply(&session, KEYSPACE, &config, &[MIGRATIONS]).await.expect("migrate");
        let settings = Settings { slots: 4, safety_interval: Duration::from_secs(10) };
        let session = Arc::new(session);
        Self { server, scylla, session, settings, _directory: directory }
    }

    /// A store with a connection of its own, as another process has it.
    pub(crate) async fn store(&self) -> EventStore {
        self.impatient_store(PATIENT_MS).await
    }

    /// A store that takes silence for a timeout after this time.
    pub(crate) async fn impatient_store(&self, request_timeout_ms: u64) -> EventStore {
        let config =
            EventStoreConfig { request_timeout_ms, wait_ms_max: PATIENT_MS, ..Default::default() };
        self.store_with(config).await
    }

    pub(crate) async fn store_with(&self, config: EventStoreConfig) -> EventStore {
        EventStore::open(self.connect().await, config, &self.settings).await.expect("open")
    }

    /// The statements alone, for a test that is a process itself.
    pub(crate) async fn ledger(&self) -> ScyllaLedger {
        let timeout = Duration::from_millis(PATIENT_MS);
        let bounds = RequestBounds { timeout, announce_timeout: timeout, page_rows: 3 };
        ScyllaLedger::prepare(self.connect().await, bounds).await.expect("prepare")
    }

    async fn connect(&self) -> Arc<Session> {
        let session = self.scylla.connect().await.expect("connect");
        session.use_keyspace(KEYSPACE, false).await.expect("the keyspace is there");
        Arc::new(session)
    }

    pub(crate) async fn stored(&self) -> Vec<RecordedEvent> {
        let reader = EventReader::open(Arc::clone(&self.session), Duration::from_secs(5));
        reader.await.expect("open").after(ID, v(0), 10_000).await.expect("contiguous events")
    }

    /// What the outbox holds of the aggregate, ascending, with topic and key.
    pub(crate) async fn announced(&self) -> Vec<(RecordedEvent, String, String)> {
        let text = "SELECT aggregate_id, sequence_number, event_id, aggregate_type, event_type, \
             schema_version, event_data, metadata, recorded_at, topic, message_key \
             FROM outbox_messages WHERE aggregate_id = ? ORDER BY sequence_number ASC";
        let rows = self.session.query_unpaged(text, (ID,)).await.expect("read the outbox");
        let rows = rows.into_rows_result().expect("rows");
        let rows = rows.rows::<scylla::value::Row>().expect("rows").map(|row| {
            let mut columns = row.expect("a row").columns;
            let (key, topic) = (columns.pop(), columns.pop());
            let text = |value: Option<Option<scylla::value::CqlValue>>| {
                value.flatten().and_then(|value| value.as_text().cloned()).expect("a text")
            };
            (event_of(columns), text(topic), text(key))
        });
        rows.collect()
    }

    pub(crate) async fn count(&self, text: &str) -> i64 {
        let rows = self.session.query_unpaged(text, ()).await.expect(text);
        let rows = rows.into_rows_result().expect("rows");
        rows.single_row::<(i64,)>().expect("one row").0
    }

    /// The engine's counters of the append's tables.
    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        let text = self.server.metrics().render().expect("metrics");
        let of_ours = |table: &str| table.starts_with(KEYSPACE) && !table.ends_with(".writers");
        let counters = text.lines().filter_map(|line| {
            let (labels, value) = line.strip_prefix("requests_total{")?.split_once("} ")?;
            let kind = labels.split('"').nth(1)?;
            let table = labels.split('"').nth(3)?;
            let table_name = table.strip_prefix(KEYSPACE)?.trim_start_matches('.');
            let counted = of_ours(table) && kind != "ddl" && kind != "prepare";
            counted.then(|| (format!("{kind} {table_name}"), value.parse().unwrap_or(0)))
        });
        counters.collect()
    }

    /// What was requested since `before`.
    pub(crate) fn since(&self, before: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
        let now = self.requests().into_iter();
        let grown = now.map(|(what, count)| {
            let grown = count - before.get(&what).copied().unwrap_or(0);
            (what, grown)
        });
        grown.filter(|(_, count)| *count > 0).collect()
    }

    /// Waits until every commit that was to be applied later has run.
    pub(crate) async fn nothing_is_late(&self) {
        let faults = self.server.faults();
        eventually("late commits run", async || faults.report().later.waiting == 0).await;
    }

    pub(crate) fn befall(
        &self,
        table: &str,
        kind: FaultKind,
        count: u64,
        delay_ms: u64,
        answer: Answer,
    ) {
        self.rule(table, kind, count, 1.0, delay_ms, answer);
    }

    pub(crate) fn rule(
        &self,
        table: &str,
        kind: FaultKind,
        count: u64,
        probability: f64,
        delay_ms: u64,
        answer: Answer,
    ) {
        let (table, answer) = (Some(table.to_owned()), Some(answer));
        let rule =
            FaultRule { table, count, probability, delay_ms, answer, ..FaultRule::new(kind) };
        self.server.faults().add(rule).expect("a good rule");
    }
}

/// The event in the columns of an outbox row, taken as a reader of the CDC log takes them.
fn event_of(columns: Vec<Option<scylla::value::CqlValue>>) -> RecordedEvent {
    use outbox::column::*;
    let names = [
        AGGREGATE_ID,
        SEQUENCE_NUMBER,
        EVENT_ID,
        AGGREGATE_TYPE,
        EVENT_TYPE,
        SCHEMA_VERSION,
        EVENT_DATA,
        METADATA,
        RECORDED_AT,
    ];
    let mut values: BTreeMap<_, _> = names.into_iter().zip(columns).collect();
    let row = outbox::Row::take_from(|column| values.remove(column).flatten());
    row.and_then(outbox::Row::into_event).expect("a whole event")
}

/// Waits until a condition holds; panics when it does not within half a minute.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within half a minute");
        sleep(Duration::from_millis(10)).await;
    }
}
