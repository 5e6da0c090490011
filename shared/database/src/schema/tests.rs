//! Migrations against the embedded engine.

use std::time::Duration;

use embedded_scylla::server::{Server, ServerConfig};
use futures::future::try_join_all;
use runtime::BackoffConfig;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::session::{ScyllaConfig, connect_when_up};

const SETS: [MigrationSet; 2] = [
    MigrationSet {
        crate_name: "first",
        migrations: &[
            Migration {
                number: 1,
                name: "orders",
                cql: "-- a; comment\nCREATE TABLE IF NOT EXISTS a (k int PRIMARY KEY);\n\
                      CREATE TABLE IF NOT EXISTS b (k int PRIMARY KEY, v text);\n",
            },
            Migration {
                number: 2,
                name: "more",
                cql: "CREATE TABLE IF NOT EXISTS c (k int PRIMARY KEY);",
            },
        ],
    },
    MigrationSet {
        crate_name: "second",
        migrations: &[Migration {
            number: 1,
            name: "late",
            cql: "CREATE TABLE IF NOT EXISTS d (k int PRIMARY KEY);",
        }],
    },
];

const CONFIG: ApplyConfig = ApplyConfig {
    keyspace: KeyspaceConfig { replication_factor: 1, tablets: false },
    settings: SettingsConfig { slots: 16, safety_interval_ms: 10_000 },
    claim_timeout: Duration::from_secs(30),
};

/// A database of its own, not migrated.
struct Database {
    config: ScyllaConfig,
    _server: Server,
    _directory: TempDir,
}

impl Database {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let config = ServerConfig::ephemeral(directory.path());
        let server = Server::start(config).await.expect("the engine starts");
        let config = ScyllaConfig::at(server.address().to_string());
        Self { config, _server: server, _directory: directory }
    }

    async fn session(&self) -> Session {
        self.config.connect().await.expect("connect")
    }

    async fn migrate(&self, sets: &[MigrationSet]) -> anyhow::Result<Applied> {
        apply(&self.session().await, &self.config.keyspace, &CONFIG, sets).await
    }
}

fn outcomes(applied: &Applied) -> Vec<(String, Outcome)> {
    applied.migrations.iter().map(|(id, outcome)| (id.to_string(), *outcome)).collect()
}

async fn pending(session: &Arc<Session>) -> Vec<MigrationId> {
    PendingReader::new(Arc::clone(session), &SETS).pending().await.expect("pending")
}

fn names(ids: &[MigrationId]) -> Vec<String> {
    ids.iter().map(MigrationId::to_string).collect()
}

#[tokio::test]
async fn a_second_migration_changes_nothing() {
    let database = Database::start().await;
    let first = database.migrate(&SETS).await.expect("migrate");
    assert!(first.keyspace_created);
    let named = ["first/1 orders", "first/2 more", "second/1 late"];
    assert_eq!(outcomes(&first), named.map(|name| (name.to_owned(), Outcome::Applied)));
    assert_eq!(first.settings.slots, 16);
    assert_eq!(first.settings.safety_interval, Duration::from_secs(10));

    let second = database.migrate(&SETS).await.expect("migrate again");
    assert!(!second.keyspace_created);
    assert_eq!(outcomes(&second), named.map(|name| (name.to_owned(), Outcome::Present)));
}

#[tokio::test]
async fn what_is_pending_is_named() {
    let database = Database::start().await;
    database.migrate(&[]).await.expect("keyspace only");
    let session = Arc::new(database.session().await);
    crate::session::use_keyspace(&session, &database.config.keyspace).await.expect("keyspace");
    let all = ["first/1 orders", "first/2 more", "second/1 late"];
    assert_eq!(names(&pending(&session).await), all);

    database.migrate(&SETS[..1]).await.expect("the first set");
    assert_eq!(names(&pending(&session).await), ["second/1 late"]);
    session
        .query_unpaged("DROP TABLE schema_migrations", ())
        .await
        .expect("as if it had never been migrated");
    assert_eq!(names(&pending(&session).await), all);
}

#[tokio::test]
async fn several_processes_migrate_at_once() {
    let database = Database::start().await;
    let all = try_join_all((0..4).map(|_| database.migrate(&SETS))).await.expect("all succeed");
    for place in 0..3 {
        let applied =
            all.iter().filter(|applied| applied.migrations[place].1 == Outcome::Applied).count();
        assert_eq!(applied, 1, "{} was applied {applied} times", all[0].migrations[place].0);
    }
}

#[tokio::test]
async fn the_claim_of_a_dead_process_is_taken_over() {
    let database = Database::start().await;
    database.migrate(&[]).await.expect("keyspace and ledger");
    let session = database.session().await;
    crate::session::use_keyspace(&session, &database.config.keyspace).await.expect("keyspace");
    let (id, migration) = SETS[0].ids().next().expect("a first migration");
    assert!(
        ledger::insert_claim(&session, id, migration, Uuid::new_v4()).await.expect("claim"),
        "nobody else has it"
    );

    let impatient = ApplyConfig { claim_timeout: Duration::from_millis(100), ..CONFIG };
    let applied = apply(&session, &database.config.keyspace, &impatient, &SETS[..1])
        .await
        .expect("taken over");
    assert_eq!(applied.migrations[0].1, Outcome::Applied);
    let claim = ledger::claim(&session, id).await.expect("read").expect("a row");
    assert!(claim.done, "{claim:?}");
}

#[tokio::test]
async fn a_released_migration_is_not_edited() {
    let database = Database::start().await;
    database.migrate(&SETS[1..]).await.expect("migrate");
    let edited = MigrationSet {
        crate_name: "second",
        migrations: &[Migration {
            number: 1,
            name: "late",
            cql: "CREATE TABLE IF NOT EXISTS d (k bigint PRIMARY KEY);",
        }],
    };
    let error = database.migrate(&[edited]).await.expect_err("edited");
    assert!(error.is::<Edited>(), "{error:#}");
    assert!(format!("{error:#}").starts_with("migration second/1 late: "), "{error:#}");
}

#[tokio::test]
async fn settings_stay_as_they_were_first_stored() {
    let database = Database::start().await;
    let first = database.migrate(&[]).await.expect("migrate").settings;
    let other =
        ApplyConfig { settings: SettingsConfig { slots: 32, safety_interval_ms: 500 }, ..CONFIG };
    let session = database.session().await;
    let second = apply(&session, &database.config.keyspace, &other, &[]).await.expect("migrate");
    assert_eq!(second.settings, first);
    assert_eq!(settings(&session).await.expect("settings"), first);
}

#[tokio::test]
async fn a_worker_waits_for_keyspace_and_tables_and_says_so() {
    let database = Database::start().await;
    let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
    let worker = async {
        let session = connect_when_up(&database.config, &readiness, &shutdown).await?;
        let backoff = Backoff::new(BackoffConfig { initial_ms: 5, max_ms: 20 });
        let migrations = PendingReader::new(Arc::clone(&session), &SETS);
        wait(&session, &migrations, backoff, &readiness, &shutdown).await
    };
    let operator = async {
        awaits(&readiness, "database", "keyspace event_platform does not exist").await;
        database.migrate(&SETS[..1]).await.expect("one set");
        awaits(&readiness, "schema", "`esctl migrate` has not applied second/1 late").await;
        database.migrate(&SETS).await.expect("the other set");
    };
    let (settings, ()) = tokio::join!(worker, operator);
    assert_eq!(settings.expect("in the end").slots, 16);
    for check in ["schema", "database"] {
        let state = readiness.check(check);
        assert!(state.as_ref().is_some_and(|(good, _)| *good), "{check}: {state:?}");
    }
}

#[tokio::test]
async fn without_a_database_a_worker_waits_and_says_where_it_is_to_be() {
    // Nobody listens on a port that was free a moment ago, or what does is no database.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = closed.local_addr().expect("bound").to_string();
    drop(closed);
    let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
    let config = ScyllaConfig::at(&address);
    let operator = async {
        awaits(&readiness, "database", &format!("connecting to {address}: ")).await;
        shutdown.cancel();
    };
    let (session, ()) = tokio::join!(connect_when_up(&config, &readiness, &shutdown), operator);
    let error = session.expect_err("there is no database");
    assert!(error.is::<runtime::Stopped>(), "{error:#}");
}

#[tokio::test]
async fn waiting_ends_with_the_process() {
    let database = Database::start().await;
    let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
    let operator = async {
        awaits(&readiness, "database", "keyspace").await;
        shutdown.cancel();
    };
    let (session, ()) =
        tokio::join!(connect_when_up(&database.config, &readiness, &shutdown), operator);
    let error = session.expect_err("there is no keyspace");
    assert!(error.is::<runtime::Stopped>(), "{error:#}");
}

/// Waits until a check is not good, and its reason begins so.
async fn awaits(readiness: &Readiness, check: &str, why: &str) {
    let is_so = || {
        let state = readiness.check(check);
        state.is_some_and(|(good, reason)| !good && reason.starts_with(why))
    };
    let said = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), said).await.is_err() {
        panic!("{check} is not waiting because {why:?}: {:?}", readiness.check(check));
    }
}
