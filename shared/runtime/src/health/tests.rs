//! Against the embedded engine.

use embedded_scylla::server::{Server, ServerConfig};

use super::*;
use crate::backoff::BackoffConfig;
use crate::breaker::{BreakerConfig, Target};
use crate::readiness::Phase;
use crate::schema::{ApplyConfig, KeyspaceConfig, Migration, SettingsConfig, apply};
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

/// Waits until readiness is as expected and says why.
async fn becomes(readiness: &Readiness, ready: bool, why: &str) {
    let seen = async {
        while readiness.is_ready() != ready || !readiness.report().contains(why) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = timeout(Duration::from_secs(30), seen).await;
    in_time.unwrap_or_else(|_| panic!("{ready} {why:?} never came: {}", readiness.report()));
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
    readiness.enter(Phase::Running);
    let pause = BackoffConfig { initial_ms: 5, max_ms: 5 };
    let opens_at_once = BreakerConfig { failing_keys_min: 1, pause };
    let breaker = Breaker::new(Target::Database, opens_at_once, Some(readiness.clone()));
    breaker.try_pass().expect("closed").failed(Uuid::nil());
    let watched = Watched {
        session: Arc::clone(&session),
        migrations: SETS.to_vec(),
        readiness: readiness.clone(),
        config: HealthConfig { interval_ms: number(5), timeout_ms: number(1_000) },
        breaker: Some(breaker.clone()),
    };
    let shutdown = CancellationToken::new();
    let looks = async {
        becomes(&readiness, true, "[+]schema complete").await;
        // Nobody else asks the database for anything.
        becomes(&readiness, true, "[+]breaker-database closed").await;
        let forget = "DELETE FROM schema_migrations WHERE crate_name = 'first' AND number = 1";
        session.query_unpaged(forget, ()).await.expect("forget a migration");
        becomes(&readiness, false, "[-]schema lacks first/1 orders").await;
        apply(&session, "health_test", &APPLY, &SETS).await.expect("migrate again");
        becomes(&readiness, true, "[+]schema complete").await;
        server.shutdown().await;
        becomes(&readiness, false, "[-]database ").await;
        shutdown.cancel();
    };
    let (watched, ()) = tokio::join!(watch(watched, shutdown.clone()), looks);
    watched.expect("a clean end");
}
