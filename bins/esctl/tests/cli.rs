//! The command line as its callers see it: exit codes, stdout, and what it leaves in the database.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;

use database::ScyllaConfig;
use embedded_scylla::engine::EngineConfig;
use embedded_scylla::release::Release;
use embedded_scylla::server::{Server, ServerConfig};
use leases::{LeaseConfig, LeaseStore, Leases, Table};
use scylla::client::session::Session;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// A database of its own, not migrated.
struct Database {
    server: Server,
    _directory: TempDir,
}

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Database {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(configure: impl FnOnce(&mut EngineConfig)) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut config = ServerConfig::ephemeral(directory.path());
        configure(&mut config.engine);
        let server = Server::start(config).await.expect("the engine starts");
        Self { server, _directory: directory }
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }

    async fn esctl(&self, arguments: &[&str]) -> Ended {
        esctl(arguments, &[("SCYLLA_NODES", &self.address())]).await
    }

    /// A session in the migrated keyspace.
    async fn session(&self) -> Arc<Session> {
        let config = ScyllaConfig::at(self.address());
        let session = config.connect().await.expect("connect");
        let there = database::session::use_keyspace(&session, &config.keyspace).await;
        assert!(there.expect("look for the keyspace"), "no keyspace");
        Arc::new(session)
    }
}

async fn esctl(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_esctl"));
    for (name, _) in std::env::vars() {
        if name.starts_with("APP_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    let output = command
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(directory.path())
        .output()
        .await
        .expect("run esctl");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl Ended {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn json(&self) -> Vec<Value> {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

#[tokio::test]
async fn a_second_migration_finds_everything_present() {
    let database = Database::start().await;
    let planned = database.esctl(&["migrate", "--dry-run", "-o", "json"]).await.expect(0).json();
    assert!(planned.iter().all(|line| line["state"] == "pending"), "{planned:?}");

    let first = database.esctl(&["migrate", "-o", "json"]).await.expect(0).json();
    assert_eq!(first.len(), planned.len());
    assert!(first.iter().all(|line| line["state"] == "applied"), "{first:?}");
    let crates: Vec<&str> = first.iter().filter_map(|line| line["crate"].as_str()).collect();
    assert!(crates.is_sorted_by_key(|name| {
        ["leases", "event-store", "cdc", "dead-letter", "projection"]
            .iter()
            .position(|known| known == name)
    }));

    let second = database.esctl(&["migrate", "-o", "json"]).await.expect(0).json();
    assert!(second.iter().all(|line| line["state"] == "present"), "{second:?}");
    assert!(
        database.esctl(&["migrate", "--dry-run", "-o", "json"]).await.expect(0).json().is_empty()
    );
}

/// What becomes of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    OnVnodes,
    OnTablets,
    /// Refused with this, and nothing made.
    Nothing(&'static str),
}

/// One `esctl migrate` on a cluster of its own.
async fn migrated(
    release: Release,
    enforced: bool,
    tablets: Option<&str>,
    factor: &str,
    expected: Made,
) {
    let what = format!("{release:?}, enforced {enforced}, tablets {tablets:?}, factor {factor}");
    let database = Database::with(|engine| {
        engine.release = release;
        engine.tablets_enforced = enforced;
    })
    .await;
    let address = database.address();
    let mut environment =
        vec![("SCYLLA_NODES", &*address), ("APP__KEYSPACE__REPLICATION_FACTOR", factor)];
    environment.extend(tablets.map(|tablets| ("APP__KEYSPACE__TABLETS", tablets)));
    let ended = esctl(&["migrate", "-o", "json"], &environment).await;
    let config = ScyllaConfig::at(database.address());
    let session = config.connect().await.expect("connect");
    if let Made::Nothing(reason) = expected {
        assert_ne!(ended.code, Some(0), "{what}: {}", ended.stdout);
        assert!(ended.stderr.contains(reason), "{what}: {}", ended.stderr);
        let there = database::session::use_keyspace(&session, &config.keyspace).await;
        assert!(!there.expect("look for the keyspace"), "{what}: a keyspace is left behind");
        return;
    }
    let lines = ended.expect(0).json();
    assert!(lines.iter().all(|line| line["state"] == "applied"), "{what}: {lines:?}");
    let again = esctl(&["migrate", "-o", "json"], &environment).await.expect(0).json();
    assert!(again.iter().all(|line| line["state"] == "present"), "{what}: {again:?}");
    let select = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let result = session.query_unpaged(select, (&config.keyspace,)).await.expect("read");
    let rows = result.into_rows_result().expect("rows");
    let (replication,) = rows.single_row::<(HashMap<String, String>,)>().expect("the keyspace");
    assert_eq!(replication["datacenter1"], factor, "{what}");
    let select = "SELECT stream_id FROM system.cdc_streams";
    let streams = session.query_unpaged(select, ()).await.expect("read");
    let on_tablets = streams.into_rows_result().expect("rows").rows_num() > 0;
    let made = if on_tablets { Made::OnTablets } else { Made::OnVnodes };
    assert_eq!(made, expected, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyspace_is_right_on_every_release_or_not_made() {
    const TOO_OLD: Made = Made::Nothing("keyspace.tablets takes ScyllaDB 2025.4 or later");
    const INSISTS: Made = Made::Nothing("create the keyspace without tablets");
    // The release, and what becomes of tablets = true, and of false where the cluster insists on them.
    for (release, with_tablets, where_enforced) in [
        (Release::Lenient, TOO_OLD, Made::OnVnodes),
        (Release::V5_4, TOO_OLD, Made::OnVnodes),
        (Release::V6_2, TOO_OLD, INSISTS),
        (Release::V2025_1, TOO_OLD, INSISTS),
        (Release::V2025_4, Made::OnTablets, Made::OnTablets),
        (Release::V2026_2, Made::OnTablets, Made::OnTablets),
    ] {
        for factor in ["1", "3"] {
            tokio::join!(
                migrated(release, false, None, factor, Made::OnVnodes),
                migrated(release, false, Some("false"), factor, Made::OnVnodes),
                migrated(release, false, Some("true"), factor, with_tablets),
                migrated(release, true, None, factor, where_enforced),
                migrated(release, true, Some("true"), factor, with_tablets),
            );
        }
    }
}

#[tokio::test]
async fn an_edited_migration_is_a_conflict() {
    let database = Database::start().await;
    database.esctl(&["migrate"]).await.expect(0);
    database
        .session()
        .await
        .query_unpaged(
            "UPDATE schema_migrations SET fingerprint = 1 WHERE crate_name = 'leases' AND number = 1",
            (),
        )
        .await
        .expect("as if another text had been released");
    let ended = database.esctl(&["migrate"]).await.expect(4);
    assert!(ended.stderr.contains("migration leases/1 slots"), "{}", ended.stderr);
}

#[tokio::test]
async fn slots_are_listed_with_their_lag() {
    let database = Database::start().await;
    let ended = database.esctl(&["slots", "list"]).await.expect(3);
    assert!(ended.stderr.contains("`esctl migrate` creates it"), "{}", ended.stderr);
    database.esctl(&["migrate"]).await.expect(0);
    assert!(database.esctl(&["slots", "list", "-o", "json"]).await.expect(0).json().is_empty());

    let timeout = std::time::Duration::from_secs(2);
    let table = Table::open(database.session().await, "relay", 2, timeout).await.expect("open");
    let (owned, mut slots) = tokio::sync::watch::channel(std::collections::BTreeSet::new());
    let terms = LeaseConfig::default();
    let store: Arc<dyn LeaseStore> = Arc::new(table);
    let leases = Leases::new(store, "relay", 2, terms, owned, runtime::Readiness::default());
    let stop = runtime::CancellationToken::new();
    let mut agent = tokio::task::JoinSet::new();
    let (running, until) = (leases.clone(), stop.clone());
    agent.spawn(async move { running.run(&until).await });
    slots.wait_for(|slots| slots.len() == 2).await.expect("taken");
    leases.save_checkpoint(1, 1_700_000_000_000_000, Some(5)).await.expect("save");
    let lines = database.esctl(&["slots", "list", "-o", "json"]).await.expect(0).json();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["slot"], &lines[0]["checkpoint"]), (&0.into(), &Value::Null));
    assert_eq!(lines[1]["group"], "relay");
    assert_eq!(lines[1]["checkpoint"], "2023-11-14T22:13:20Z");
    assert_eq!(lines[1]["generation"], "1970-01-01T00:00:00.005Z");
    let lag = lines[1]["lag_seconds"].as_f64().expect("a number");
    assert!(lag > 86_400.0, "a checkpoint of 2023 lags by {lag} s only");

    let members = database.esctl(&["members", "list", "-o", "json"]).await.expect(0).json();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0]["member"], leases.owner().to_string());
    assert_eq!(members[0]["slots"], serde_json::json!([0, 1]));
    assert_eq!(lines[1]["owner"], members[0]["member"]);
    stop.cancel();
    leases.release_all().await;
    leases.end();
    agent.join_next().await.expect("a task").expect("the agent ends");
    assert!(database.esctl(&["members", "list", "-o", "json"]).await.expect(0).json().is_empty());

    let table = database.esctl(&["slots", "list"]).await.expect(0).stdout;
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.starts_with("GROUP"), "{table}");
}

#[tokio::test]
async fn what_cannot_be_done_has_its_exit_code() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = closed.local_addr().expect("bound").to_string();
    drop(closed);

    esctl(&[], &[]).await.expect(2);
    esctl(&["fly"], &[]).await.expect(2);
    let down = esctl(&["migrate"], &[("SCYLLA_NODES", &nobody)]).await.expect(1);
    assert!(down.stderr.contains(&nobody), "{}", down.stderr);
    let bad = esctl(&["schema"], &[("APP__SETTINGS__SLOTS", "few")]).await.expect(64);
    assert_eq!(
        bad.stderr,
        "esctl: configuration key APP__SETTINGS__SLOTS (the environment): \"few\" is not a number\n"
    );
    let down = [("REDPANDA_BROKERS", nobody.as_str()), ("APP__TOPICS__TIMEOUT_MS", "200")];
    let topics = esctl(&["topics", "create"], &down).await.expect(1);
    assert!(topics.stderr.contains(&nobody), "{}", topics.stderr);
}

#[tokio::test]
async fn the_printed_schema_is_the_applied_one() {
    let printed = esctl(&["schema"], &[]).await.expect(0).stdout;
    let tables: Vec<&str> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("CREATE TABLE IF NOT EXISTS "))
        .filter_map(|rest| rest.split([' ', '(']).next())
        .collect();
    let database = Database::start().await;
    database.esctl(&["migrate"]).await.expect(0);
    let rows = database
        .session()
        .await
        .query_unpaged(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'event_platform'",
            (),
        )
        .await
        .expect("read the schema")
        .into_rows_result()
        .expect("rows");
    let mut expected: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
    // The database makes it when CDC is on.
    expected.push("outbox_messages_scylla_cdc_log".to_owned());
    expected.sort();
    let mut found: Vec<String> =
        rows.rows::<(String,)>().expect("names").map(|row| row.expect("a name").0).collect();
    found.sort();
    assert_eq!(found, expected);
}
