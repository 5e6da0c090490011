//! Against the embedded engine.

use std::num::NonZeroU64;

use embedded_scylla::server::{Server, ServerConfig};
use runtime::{BackoffConfig, BreakerConfig};

use super::*;
use crate::TARGET;
use crate::schema::{ApplyConfig, KeyspaceConfig, Migration, MigrationSet, SettingsConfig, apply};
use crate::session::ScyllaConfig;

const SETS: [MigrationSet; 1] = [MigrationSet {
    crate_name: "first",
    migrations: &[Migration {
        number: 1,
        name: "orders",
        cql: "CREATE TABLE IF NOT EXISTS a (k int PRIMARY KEY);",
    }],
}];

const APPLY: ApplyConfig = ApplyConfig {
    keyspace: KeyspaceConfig { replication_factor: 1, tablets: false },
    settings: SettingsConfig { slots: 16, safety_interval_ms: 10_000 },
    claim_timeout: Duration::from_secs(30),
};

fn number(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).expect("not zero")
}

/// Waits until a check stands as expected and says why.
async fn becomes(readiness: &Readiness, check: &str, good: bool, why: &str) {
    let is_so = || {
        let state = readiness.check(check);
        state.is_some_and(|(is_good, reason)| is_good == good && reason.contains(why))
    };
    let seen = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = timeout(Duration::from_secs(30), seen).await;
    in_time.unwrap_or_else(|_| {
        panic!("{check} {good} {why:?} never came: {:?}", readiness.check(check))
    });
}

#[tokio::test]
async fn readiness_follows_database_and_schema() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = Server::start(ServerConfig::ephemeral(directory.path())).await;
    let server = server.expect("the engine starts");
    let scylla = ScyllaConfig::at(server.address().to_string());
    let session = Arc::new(scylla.connect().await.expect("connect"));
    apply(&session, "health_test", &APPLY, &SETS).await.expect("migrate");

    let readiness = Readiness::default();
    let pause = BackoffConfig { initial_ms: 5, max_ms: 5 };
    let opens_at_once = BreakerConfig { failing_keys_min: 1, pause };
    let breaker = Breaker::new(TARGET, opens_at_once, Some(readiness.clone()));
    breaker.try_pass().expect("closed").failed(Uuid::nil());
    let outage_ms = 500;
    let watched = Watched {
        migrations: PendingReader::new(Arc::clone(&session), &SETS),
        readiness: readiness.clone(),
        config: Health {
            interval_ms: number(5),
            timeout_ms: number(1_000),
            outage_ms: number(outage_ms),
        },
        breaker: Arc::new(OnceLock::from(breaker.clone())),
    };
    let shutdown = CancellationToken::new();
    let looks = async {
        becomes(&readiness, "schema", true, "complete").await;
        // Nobody else asks the database for anything.
        becomes(&readiness, "breaker-database", true, "closed").await;
        let forget = "DELETE FROM schema_migrations WHERE crate_name = 'first' AND number = 1";
        session.query_unpaged(forget, ()).await.expect("forget a migration");
        becomes(&readiness, "schema", false, "lacks first/1 orders").await;
        apply(&session, "health_test", &APPLY, &SETS).await.expect("migrate again");
        becomes(&readiness, "schema", true, "complete").await;
        server.shutdown().await;
        let gone = Instant::now();
        becomes(&readiness, "database", false, "").await;
        let after = gone.elapsed();
        assert!(after >= Duration::from_millis(outage_ms) / 2, "unready after {after:?} already");
        shutdown.cancel();
    };
    let (watched, ()) = tokio::join!(watch(watched, shutdown.clone()), looks);
    watched.expect("a clean end");
}
