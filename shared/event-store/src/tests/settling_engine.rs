//! The settler's statements against the embedded engine, in real time. The dead writer is the test
//! itself: it sends the statements of an append as far as it gets, and never beats.

use crate::config::{EventStoreConfig, SettleConfig};
use crate::ids::{AttemptId, Bucket, Counter, Spread, WriterId};
use crate::ledger::{Certificate, Commit, Heartbeat, Intent, Ledger, WriterState};
use crate::scylla_ledger::ScyllaLedger;
use crate::store::EventStore;
use crate::testing::{Database, ID, TallyCommand, accepted, event, eventually, request, v};
use embedded_scylla::faults::{Answer as Seen, FaultKind};
use kernel::{CommitPlace, RecordedEvent};
use uuid::Uuid;

fn quick() -> EventStoreConfig {
    EventStoreConfig {
        heartbeat_ms: 300,
        grace_ms: 1_500,
        request_timeout_ms: 10_000,
        wait_ms_max: 30_000,
        settle: SettleConfig { interval_ms: 200, page_rows: 2, ..SettleConfig::default() },
        ..EventStoreConfig::default()
    }
}

/// A writer that never beats again.
struct Dying {
    ledger: ScyllaLedger,
    row: Heartbeat,
}

impl Dying {
    async fn register(database: &Database) -> Self {
        let row = Heartbeat {
            writer: WriterId::fresh(),
            counter: Counter::NONE,
            previous: None,
            attempt: AttemptId::fresh(),
            oldest_bucket: Bucket(3),
            newest_bucket: Bucket(5),
            intent_spread: 2,
        };
        let ledger = database.ledger().await;
        assert!(ledger.heartbeat(&row).await.expect("registered").applied);
        Self { ledger, row }
    }

    async fn intent(&self, aggregate_id: Uuid, bucket: i64, spread: i32, after: u64) {
        let intent = Intent {
            writer: self.row.writer,
            bucket: Bucket(bucket),
            spread: Spread(spread),
            aggregate_id,
            after: v(after),
            aggregate_type: "tally",
            topic: "tallies.events",
        };
        self.ledger.write_intent(&intent).await.expect("an intent");
    }

    /// Commits these versions of [`ID`] as one command's events.
    async fn commit(&self, versions: std::ops::RangeInclusive<u64>) -> bool {
        let count = u16::try_from(versions.clone().count()).expect("few");
        let place = |(index, version)| RecordedEvent {
            metadata: kernel::EventMetadata {
                commit: CommitPlace { index, count },
                ..event(ID, version).metadata
            },
            ..event(ID, version)
        };
        let events = (0..count).zip(versions).map(place).collect();
        let commit = Commit { aggregate_id: ID, fence: None, events };
        self.ledger.commit(&commit).await.is_ok_and(|answer| answer.applied)
    }
}

async fn gone(database: &Database, store: &EventStore) {
    let only_ours = async || database.count("SELECT COUNT(*) FROM writers").await == 1;
    eventually("the dead writer's row is gone", only_ours).await;
    store.close().await;
    assert_eq!(database.count("SELECT COUNT(*) FROM writers").await, 0);
}

async fn announced(database: &Database) -> Vec<u64> {
    let stored = database.stored().await;
    let rows = database.announced().await;
    let events: Vec<_> = rows.iter().map(|(event, ..)| event.clone()).collect();
    assert_eq!(events, stored, "announced as they are stored");
    assert!(rows.iter().all(|(_, topic, _)| topic == "tallies.events"));
    stored.iter().map(|event| event.version.0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_writer_committed_is_announced_whatever_the_database_answers() {
    let faults = [
        None,
        Some(("writers", FaultKind::LwtAppliedTimeout, Seen::CasUnknown)),
        Some(("writers", FaultKind::LwtNotAppliedTimeout, Seen::WriteTimeout)),
        Some(("event_store", FaultKind::LwtAppliedTimeout, Seen::WriteTimeout)),
        Some(("event_store", FaultKind::LwtNotAppliedTimeout, Seen::CasUnknown)),
    ];
    for fault in faults {
        let database = Database::start().await;
        let dying = Dying::register(&database).await;
        dying.intent(ID, 3, 1, 0).await;
        // Aggregates that nothing was committed to, enough for several pages.
        for other in 0..5 {
            dying.intent(Uuid::from_u128(0xB0 + other), 4, 0, 0).await;
        }
        assert!(dying.commit(1..=2).await);
        assert!(dying.commit(3..=3).await);
        let store = database.store_with(quick()).await;
        if let Some((table, kind, answer)) = fault {
            // The store's own heartbeats meet some of these too.
            database.befall(table, kind, 3, 0, answer);
        }
        gone(&database, &store).await;
        assert_eq!(announced(&database).await, [1, 2, 3], "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_lands_after_the_settlement_is_fenced_off() {
    let database = Database::start().await;
    let dying = Dying::register(&database).await;
    dying.intent(ID, 5, 0, 0).await;
    let late_ms = 15_000;
    database.befall("event_store", FaultKind::LwtAppliedLater, 1, late_ms, Seen::CasUnknown);
    assert!(!dying.commit(1..=1).await, "no certain answer");
    let store = database.store_with(quick()).await;
    let settled = async || database.count("SELECT COUNT(*) FROM writers").await == 1;
    eventually("the dead writer's row is gone", settled).await;
    assert_eq!(database.server.faults().report().later.waiting, 1, "settled before it lands");
    // The next command takes the fence as it is now.
    accepted(&store.execute(request(1, TallyCommand::Add(1))).await, &[1]);
    database.nothing_is_late().await;
    gone(&database, &store).await;
    assert_eq!(announced(&database).await, [1]);
    assert_eq!(database.stored().await[0].metadata.command_id, Uuid::from_u128(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_certified_and_left_is_taken_over_by_one_of_several() {
    let database = Database::start().await;
    let dying = Dying::register(&database).await;
    dying.intent(ID, 3, 0, 0).await;
    assert!(dying.commit(1..=1).await);
    let certificate = Certificate {
        writer: dying.row.writer,
        counter: Counter(1),
        previous: dying.row.attempt,
        attempt: AttemptId::fresh(),
    };
    let ledger = database.ledger().await;
    let stale = Certificate { counter: Counter::NONE, ..certificate };
    assert!(!ledger.certify(&stale).await.expect("an answer").applied, "another counter");
    assert!(ledger.certify(&certificate).await.expect("an answer").applied);
    let again = ledger.certify(&certificate).await.expect("an answer");
    let seen = (again.applied, again.state, again.counter, again.attempt);
    assert_eq!(seen, (false, Some(WriterState::Dead), Some(Counter(2)), Some(certificate.attempt)));
    let stores = [database.store_with(quick()).await, database.store_with(quick()).await];
    let two = async || database.count("SELECT COUNT(*) FROM writers").await == 2;
    eventually("the dead writer's row is gone", two).await;
    // For longer than the grace period neither takes the other for dead.
    let alive = "SELECT COUNT(*) FROM writers WHERE counter > 8 ALLOW FILTERING";
    eventually("both beat on", async || database.count(alive).await == 2).await;
    for store in &stores {
        store.close().await;
    }
    assert_eq!(announced(&database).await, [1]);
}
