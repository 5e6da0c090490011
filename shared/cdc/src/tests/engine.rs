//! The real statements, against the embedded engine, in real time. Compiled twice: for a keyspace on
//! vnodes and for one on tablets.

#[path = "engine/scans.rs"]
mod scans;

use super::world::World;
use crate::{CdcConfig, Change, ChangeConsumer, GroupDeps, GroupError, HandleError, run_group};
use async_trait::async_trait;
use database::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig, apply};
use database::{ScyllaConfig, Settings};
use embedded_scylla::release::Release;
use embedded_scylla::server::{Server, ServerConfig};
use runtime::CancellationToken;
use scylla::client::session::Session;
use scylla::value::CqlTimestamp;
use scylla_cdc::consumer::{CDCRow, Consumer, ConsumerFactory};
use scylla_cdc::log_reader::CDCLogReaderBuilder;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use uuid::Uuid;

const KEYSPACE: &str = "cdc_test";
const METADATA: &str = r#"{"command_id":"00000000-0000-0000-0000-000000000001","fingerprint":"f","causation_id":"00000000-0000-0000-0000-000000000001","correlation_id":"00000000-0000-0000-0000-000000000001","commit":{"index":0,"count":1}}"#;
const COLUMNS: &str = "aggregate_id, sequence_number, event_id, aggregate_type, event_type, \
     schema_version, event_data, metadata, recorded_at";

/// A migrated database of its own.
struct Database {
    session: Arc<Session>,
    settings: Settings,
    server: Server,
    _directory: TempDir,
}

impl Database {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut config = ServerConfig::ephemeral(directory.path());
        let tablets = module_path!().ends_with("on_tablets");
        if tablets {
            config.engine.release = Release::V2025_4;
        }
        let server = Server::start(config).await.expect("the engine starts");
        let scylla = ScyllaConfig::at(server.address().to_string());
        let session = scylla.connect().await.expect("connect");
        let config = ApplyConfig {
            keyspace: KeyspaceConfig { replication_factor: 1, tablets },
            settings: SettingsConfig { slots: 4, safety_interval_ms: 1_000 },
            claim_timeout: Duration::from_secs(10),
        };
        let sets = [leases::MIGRATIONS, event_store::MIGRATIONS, crate::MIGRATIONS];
        let applied = apply(&session, KEYSPACE, &config, &sets).await.expect("migrate");
        session.refresh_metadata().await.expect("metadata");
        let (session, settings) = (Arc::new(session), applied.settings);
        Self { session, settings, server, _directory: directory }
    }

    async fn run(&self, cql: &str, values: impl scylla::serialize::row::SerializeRow) {
        self.session.query_unpaged(cql, values).await.unwrap_or_else(|e| panic!("{cql}: {e}"));
    }

    /// Commits versions of an aggregate, each by a lightweight transaction.
    async fn commit(&self, id: Uuid, versions: std::ops::RangeInclusive<i64>) {
        let cql = format!(
            "INSERT INTO event_store ({COLUMNS}) VALUES (?, ?, ?, 'tally', 'TallyAdded', 1, '{{}}', '{METADATA}', ?) IF NOT EXISTS"
        );
        for version in versions {
            self.run(&cql, (id, version, event_id(id, version), CqlTimestamp(1))).await;
        }
    }

    /// Announces versions of an aggregate in one write.
    async fn announce(&self, id: Uuid, versions: std::ops::RangeInclusive<i64>) {
        self.announce_with(id, versions, METADATA).await;
    }

    async fn announce_with(
        &self,
        id: Uuid,
        versions: std::ops::RangeInclusive<i64>,
        metadata: &str,
    ) {
        let rows = versions.map(|version| {
            let event = event_id(id, version);
            format!(
                "INSERT INTO outbox_messages ({COLUMNS}, topic) VALUES ({id}, {version}, {event}, \
                 'tally', 'TallyAdded', 1, '{{}}', '{metadata}', 1, 'tallies.events');"
            )
        });
        let rows: String = rows.collect();
        self.run(&format!("BEGIN UNLOGGED BATCH {rows} APPLY BATCH"), ()).await;
    }

    async fn append(&self, id: Uuid, versions: std::ops::RangeInclusive<i64>) {
        self.commit(id, versions.clone()).await;
        self.announce(id, versions).await;
    }

    fn start_group(&self, seen: &Arc<Seen>) -> Running {
        let config = CdcConfig {
            confirm_interval_ms: 200,
            checkpoint_interval_ms: 300,
            ..CdcConfig::default()
        };
        let deps = GroupDeps {
            session: self.session.clone(),
            keyspace: KEYSPACE.to_owned(),
            group: "test",
            consumers: vec![Arc::new(Collector(seen.clone()))],
            letters: Arc::new(World::new()),
            settings: self.settings,
            config,
            leases: leases::LeaseConfig::default(),
            owned: tokio::sync::watch::Sender::default(),
            readiness: runtime::Readiness::default(),
        };
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(run_group(deps, stop.clone()));
        Running { stop, task }
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinSet<Result<(), GroupError>>,
}

impl Running {
    async fn end(mut self) {
        self.stop.cancel();
        let ended = self.task.join_next().await.expect("one task").expect("no panic");
        ended.expect("a clean end");
    }
}

fn event_id(id: Uuid, version: i64) -> Uuid {
    Uuid::new_v5(&id, &version.to_be_bytes())
}

/// An event as the consumer got it.
struct Handled {
    aggregate_id: Uuid,
    version: u64,
    at: Instant,
    topic: Option<String>,
}

/// What a consumer was handed, in order.
#[derive(Default)]
struct Seen {
    events: Mutex<Vec<Handled>>,
    news: Notify,
}

impl Seen {
    fn versions(&self, id: Uuid) -> Vec<u64> {
        let events = self.events.lock().expect("not poisoned");
        let of = events.iter().filter(|event| event.aggregate_id == id);
        of.map(|event| event.version).collect()
    }

    /// Waits until a version was handled; gives the time and the topic that came with it.
    async fn wait(&self, id: Uuid, version: u64) -> (Instant, Option<String>) {
        let found = async {
            loop {
                let news = self.news.notified();
                let found = {
                    let events = self.events.lock().expect("not poisoned");
                    let of = events.iter().find(|e| e.aggregate_id == id && e.version == version);
                    of.map(|event| (event.at, event.topic.clone()))
                };
                match found {
                    Some(found) => return found,
                    None => news.await,
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), found).await {
            Ok(found) => found,
            Err(_) => panic!("version {version} of {id} never came: {:?}", self.versions(id)),
        }
    }
}

struct Collector(Arc<Seen>);

#[async_trait]
impl ChangeConsumer for Collector {
    fn name(&self) -> &str {
        "collector"
    }

    fn wants(&self, aggregate_type: &str) -> bool {
        aggregate_type == "tally"
    }

    async fn handle(
        &self,
        change: &Change,
        view: Option<&str>,
    ) -> Result<Option<String>, HandleError> {
        let (id, version) = (change.event.aggregate_id, change.event.version.0);
        assert_eq!(change.event.event_id, event_id(id, i64::try_from(version).expect("small")));
        let expected = (version > 1).then(|| format!("after {}", version - 1));
        assert_eq!(view, expected.as_deref(), "the view of {id}");
        let topic = change.topic.clone();
        let seen = Handled { aggregate_id: id, version, at: Instant::now(), topic };
        self.0.events.lock().expect("not poisoned").push(seen);
        self.0.news.notify_waiters();
        Ok(Some(format!("after {version}")))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_events_are_handled_in_order_within_milliseconds() {
    let database = Database::start().await;
    let seen = Arc::new(Seen::default());
    let group = database.start_group(&seen);
    let ids: Vec<Uuid> = (0..8).map(|_| Uuid::new_v4()).collect();
    database.append(ids[0], 1..=1).await;
    seen.wait(ids[0], 1).await;
    let mut latencies = Vec::new();
    let mut from_log = 0;
    for version in 1..=15 {
        for id in &ids[1..] {
            database.commit(*id, version..=version).await;
            let began = Instant::now();
            database.announce(*id, version..=version).await;
            let (at, topic) = seen.wait(*id, version as u64).await;
            latencies.push(at.saturating_duration_since(began));
            from_log += usize::from(topic.as_deref() == Some("tallies.events"));
        }
    }
    group.end().await;
    for id in &ids[1..] {
        assert_eq!(seen.versions(*id), (1..=15).collect::<Vec<_>>());
    }
    latencies.sort_unstable();
    let median = latencies[latencies.len() / 2];
    assert!(from_log > latencies.len() / 2, "only {from_log} not healed");
    println!("from before the announcement to the handler: median {median:?}");
    // In truth about 10 ms; the rest is for machines that do much else.
    assert!(median < Duration::from_millis(150), "{latencies:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_announcement_of_many_events_is_handled_in_order() {
    let database = Database::start().await;
    let seen = Arc::new(Seen::default());
    let group = database.start_group(&seen);
    let id = Uuid::new_v4();
    database.append(id, 1..=5).await;
    database.announce(id, 3..=5).await;
    database.append(id, 6..=9).await;
    seen.wait(id, 9).await;
    group.end().await;
    assert_eq!(seen.versions(id), (1..=9).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_lacks_or_garbles_comes_from_the_event_store() {
    let database = Database::start().await;
    let seen = Arc::new(Seen::default());
    let group = database.start_group(&seen);
    let (lost, garbled) = (Uuid::new_v4(), Uuid::new_v4());
    database.commit(lost, 1..=150).await;
    database.announce(lost, 150..=150).await;
    database.commit(garbled, 1..=1).await;
    database.announce_with(garbled, 1..=1, "{not json").await;
    seen.wait(lost, 150).await;
    seen.wait(garbled, 1).await;
    group.end().await;
    assert_eq!(seen.versions(lost), (1..=150).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_continues_and_handles_nothing_twice() {
    let database = Database::start().await;
    let seen = Arc::new(Seen::default());
    let ids: Vec<Uuid> = (0..20).map(|_| Uuid::new_v4()).collect();
    let group = database.start_group(&seen);
    for id in &ids {
        database.append(*id, 1..=2).await;
    }
    for id in &ids {
        seen.wait(*id, 2).await;
    }
    group.end().await;
    for id in &ids {
        database.append(*id, 3..=4).await;
    }
    let group = database.start_group(&seen);
    for id in &ids {
        seen.wait(*id, 4).await;
        assert_eq!(seen.versions(*id), [1, 2, 3, 4]);
    }
    // The confirm pass settles everything: the checkpoints pass what was announced.
    let announced = now_us();
    wait_for_checkpoints(&database, announced).await;
    group.end().await;
    let slots = leases::list(&database.session).await.expect("list");
    assert!(slots.iter().all(|slot| slot.owner.is_none()), "released: {slots:?}");
    assert!(slots.iter().all(|slot| slot.generation_ms.is_some()), "accounted: {slots:?}");
}

fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_micros()).expect("before the year 294,000")
}

async fn wait_for_checkpoints(database: &Database, at_us: i64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let slots = leases::list(&database.session).await.expect("list");
        if slots.iter().all(|slot| slot.checkpoint_us > Some(at_us)) {
            return;
        }
        assert!(Instant::now() < deadline, "checkpoints stand still: {slots:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_without_a_place_in_the_log_catches_up_from_the_ledger() {
    let database = Database::start().await;
    let ids: Vec<Uuid> = (0..300).map(|_| Uuid::new_v4()).collect();
    for id in &ids {
        database.commit(*id, 1..=2).await;
    }
    // A partition that holds nothing but its fence.
    let fence = "UPDATE event_store SET fence = ? WHERE aggregate_id = ? IF fence = null";
    database.run(fence, (Uuid::new_v4(), Uuid::new_v4())).await;
    let seen = Arc::new(Seen::default());
    let group = database.start_group(&seen);
    for id in &ids {
        seen.wait(*id, 2).await;
        assert_eq!(seen.versions(*id), [1, 2]);
    }
    database.append(ids[7], 3..=3).await;
    seen.wait(ids[7], 3).await;
    let undone =
        "SELECT slot FROM catch_ups WHERE consumer = 'collector' AND done = false ALLOW FILTERING";
    let deadline = Instant::now() + Duration::from_secs(30);
    while database
        .session
        .query_unpaged(undone, ())
        .await
        .expect("read")
        .into_rows_result()
        .expect("rows")
        .rows_num()
        > 0
    {
        assert!(Instant::now() < deadline, "the scan does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    group.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_handled_in_order_across_generations() {
    let database = Database::start().await;
    let seen = Arc::new(Seen::default());
    let group = database.start_group(&seen);
    let ids: Vec<Uuid> = (0..8).map(|_| Uuid::new_v4()).collect();
    let mut version = 0;
    let mut newest_ms = 0;
    for _ in 0..3 {
        let opened = database.server.open_generation(None, Duration::from_millis(300)).await;
        let opened = opened.expect("a new generation");
        let table = format!("{KEYSPACE}.{}", event_store::outbox::TABLE);
        newest_ms = opened.tables.get(&table).copied().unwrap_or(opened.timestamp);
        // Some are announced before the change, some after it.
        loop {
            version += 1;
            let before_us = now_us();
            for id in &ids {
                database.append(*id, version..=version).await;
            }
            if before_us > newest_ms * 1000 {
                break;
            }
        }
    }
    let version = u64::try_from(version).expect("positive");
    let mut from_new_streams = 0;
    for id in &ids {
        let (_, topic) = seen.wait(*id, version).await;
        from_new_streams += usize::from(topic.is_some());
        assert_eq!(seen.versions(*id), (1..=version).collect::<Vec<_>>());
    }
    // What comes from the event store has no topic with it.
    assert!(from_new_streams > 0, "nothing came from the newest streams");
    wait_for_checkpoints(&database, now_us()).await;
    group.end().await;
    for slot in leases::list(&database.session).await.expect("list") {
        assert_eq!(slot.generation_ms, Some(newest_ms), "{slot:?}");
    }
}

/// Versions that the official reader was given, by aggregate.
#[derive(Clone, Default)]
struct Official(Arc<Mutex<BTreeMap<Uuid, BTreeSet<i64>>>>);

#[async_trait]
impl Consumer for Official {
    async fn consume_cdc(&mut self, mut row: CDCRow<'_>) -> anyhow::Result<()> {
        let id = row.take_value("aggregate_id").and_then(|value| value.as_uuid());
        let version = row.take_value("sequence_number").and_then(|value| value.as_bigint());
        let (Some(id), Some(version)) = (id, version) else { anyhow::bail!("a row without a key") };
        self.0.lock().expect("not poisoned").entry(id).or_default().insert(version);
        Ok(())
    }
}

#[async_trait]
impl ConsumerFactory for Official {
    async fn new_consumer(&self) -> Box<dyn Consumer> {
        Box::new(self.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_reader_sees_what_ours_sees() {
    let database = Database::start().await;
    let began_ms = u64::try_from(now_us() / 1000).expect("after 1970");
    let seen = Arc::new(Seen::default());
    let group = database.start_group(&seen);
    let ids: Vec<Uuid> = (0..30).map(|_| Uuid::new_v4()).collect();
    for id in &ids {
        database.append(*id, 1..=3).await;
    }
    for id in &ids {
        seen.wait(*id, 3).await;
    }
    group.end().await;

    let official = Official::default();
    let (mut reader, handle) = CDCLogReaderBuilder::new()
        .session(database.session.clone())
        .keyspace(KEYSPACE)
        .table_name(event_store::outbox::TABLE)
        .start_timestamp(Duration::from_millis(began_ms - 1_000))
        .end_timestamp(Duration::from_millis(began_ms + 600_000))
        .window_size(Duration::from_secs(60))
        .safety_interval(Duration::from_millis(20))
        .sleep_interval(Duration::from_millis(50))
        .consumer_factory(Arc::new(official.clone()))
        .build()
        .await
        .expect("the official reader starts");
    let expected: BTreeMap<Uuid, BTreeSet<i64>> =
        ids.iter().map(|id| (*id, BTreeSet::from([1, 2, 3]))).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while *official.0.lock().expect("not poisoned") != expected {
        let found = official.0.lock().expect("not poisoned").clone();
        assert!(Instant::now() < deadline, "the official reader saw {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    reader.stop();
    handle.await.expect("the official reader ends");
}
