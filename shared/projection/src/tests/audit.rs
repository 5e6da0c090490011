//! The audit in the background, against the embedded engine.

use super::database::Database;
use super::tallies::{TALLY_MODELS, Tallies, life};
use crate::audit::{AuditConfig, AuditDeps, run_audit};
use crate::metrics::{AUDITED, DRIFT};
use crate::projector::Projector;
use cdc::{Change, ChangeConsumer};
use database::Settings;
use leases::Slot;
use runtime::CancellationToken;
use scylla::value::CqlTimestamp;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const TALLY: Uuid = Uuid::from_u128(0x7A);
const VERSIONS: u64 = 3;

const INSERT: &str = "INSERT INTO event_store (aggregate_id, sequence_number, event_id, \
     aggregate_type, event_type, schema_version, event_data, metadata, recorded_at) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";

impl Database {
    /// Says that the projection has come so far.
    async fn handled(&self, id: Uuid, version: i64) {
        let cql = "INSERT INTO consumer_cursors (aggregate_id, consumer, last_version) \
             VALUES (?, 'tallies@1', ?)";
        self.session.query_unpaged(cql, (id, version)).await.expect("store the cursor");
    }

    /// Stores a life and has it projected.
    async fn store(&self, life: &[Change]) {
        let projector = Projector::<Tallies>::new(Arc::clone(&self.session));
        let mut view = None;
        for change in life {
            let stored = &change.event;
            let metadata = serde_json::to_string(&stored.metadata).expect("metadata");
            let version = i64::try_from(stored.version.0).expect("a small version");
            let values = (
                stored.aggregate_id,
                version,
                stored.event_id,
                &stored.aggregate_type,
                &stored.event_type,
                i32::try_from(stored.schema_version).expect("a small version"),
                &stored.payload,
                metadata,
                CqlTimestamp(stored.recorded_at.0),
            );
            self.session.query_unpaged(INSERT, values).await.expect("store");
            view = projector.handle(change, view.as_deref()).await.expect("projected");
        }
    }
}

fn drift() -> u64 {
    DRIFT.with_label_values(&["tallies"]).get()
}

/// Until the audit has looked at so many more aggregates.
async fn looks(count: u64) {
    let until = AUDITED.get() + count;
    let looked = async {
        while AUDITED.get() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looked).await.expect("the audit goes on");
}

#[tokio::test]
async fn a_drift_counts_once_when_it_is_still_there_at_the_second_look() {
    let database = Database::start().await;
    for id in [TALLY, Uuid::from_u128(0x77)] {
        database.store(&life(id, VERSIONS)).await;
    }
    // One whose events the projection has not come to yet.
    let versions = i64::try_from(VERSIONS).expect("a few");
    database.handled(TALLY, versions - 1).await;
    let settings = Settings { slots: 4, safety_interval: Duration::from_millis(50) };
    let config = AuditConfig {
        aggregates_per_second: 1_000,
        round_pause_ms: 20,
        recheck_ms: 50,
        ..AuditConfig::default()
    };
    let session = Arc::clone(&database.session);
    let deps = AuditDeps {
        session,
        read_models: TALLY_MODELS,
        settings,
        config,
        owned: Arc::new(|| Slot::all(4).collect()),
    };
    let shutdown = CancellationToken::new();
    let damage = async {
        looks(10).await;
        assert_eq!(drift(), 0, "nothing differs");
        let update = "UPDATE tally_read_model USING TIMESTAMP 1000 SET total = 13 \
             WHERE tally_id = ?";
        database.session.query_unpaged(update, (TALLY,)).await.expect("damage");
        looks(100).await;
        assert_eq!(drift(), 0, "who lags behind is not wrong");
        database.handled(TALLY, versions).await;
        let counted = async {
            while drift() == 0 {
                looks(1).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), counted).await.expect("it is found");
        looks(20).await;
        assert_eq!(drift(), 1, "the same drift counts once");
        shutdown.cancel();
    };
    tokio::join!(run_audit(deps, shutdown.clone()), damage);
}
