//! The scanner beside a running group.

use super::{Database, Seen, now_us, wait_for_checkpoints};
use crate::{OwnedSlots, ScannerConfig, ScannerDeps, run_scanner};
use kernel::testing::tally::TALLIES;
use leases::Slot;
use runtime::CancellationToken;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use uuid::Uuid;

fn deps(database: &Database, seen: &Arc<Seen>) -> ScannerDeps {
    let slots = database.settings.slots;
    let owned: OwnedSlots = Arc::new(move || Slot::all(slots).collect());
    ScannerDeps {
        group: database.group(seen),
        owned,
        aggregates: TALLIES,
        config: ScannerConfig {
            outbox_interval_ms: 100,
            ledger_interval_ms: 300,
            page_aggregates: 3,
            age_ms_min: 500,
            requests_per_second: 2_000,
            ..ScannerConfig::default()
        },
    }
}

async fn wait_for_catch_ups(database: &Database) {
    let done = "SELECT COUNT(*) FROM catch_ups WHERE consumer = 'collector' AND done = true ALLOW FILTERING";
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let rows = database.session.query_unpaged(done, ()).await.expect("read");
        let rows = rows.into_rows_result().expect("rows");
        let (count,) = rows.single_row::<(i64,)>().expect("a count");
        if count == i64::from(database.settings.slots) {
            return;
        }
        assert!(Instant::now() < deadline, "{count} slots caught up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_announced_or_never_heard_is_announced_and_handled() {
    let database = Database::start().await;
    let seen = Arc::new(Seen::default());
    let group = database.start_group(&seen);
    wait_for_catch_ups(&database).await;
    let early = now_us();
    let stop = CancellationToken::new();
    let mut scanner = JoinSet::new();
    scanner.spawn(run_scanner(deps(&database, &seen), stop.clone()));

    let (silent, unheard) = (Uuid::new_v4(), Uuid::new_v4());
    let ids: Vec<Uuid> = (0..20).map(|_| Uuid::new_v4()).collect();
    for id in &ids {
        database.append(*id, 1..=2).await;
    }
    // Stored, and its writer forgot to announce the tail.
    database.append(silent, 1..=1).await;
    database.commit(silent, 2..=3).await;
    // Announced, but its log row comes out behind what is confirmed already.
    wait_for_checkpoints(&database, early + 1_500_000).await;
    database.commit(unheard, 1..=1).await;
    let late = format!(
        "INSERT INTO outbox_messages ({}, topic) VALUES (?, 1, ?, 'tally', 'TallyAdded', 1, '{{}}', \
         '{}', 1, 'tallies.events') USING TIMESTAMP ?",
        super::COLUMNS,
        super::METADATA,
    );
    database.run(&late, (unheard, super::event_id(unheard, 1), early)).await;

    seen.wait(silent, 3).await;
    seen.wait(unheard, 1).await;
    group.end().await;
    stop.cancel();
    scanner.join_next().await.expect("one task").expect("no panic").expect("a clean end");
    assert_eq!(seen.versions(silent), [1, 2, 3]);
    assert_eq!(seen.versions(unheard), [1]);
    for id in &ids {
        assert_eq!(seen.versions(*id), [1, 2]);
    }
    let rows = "SELECT COUNT(*) FROM outbox_messages WHERE aggregate_id = ?";
    let rows = database.session.query_unpaged(rows, (silent,)).await.expect("read");
    let rows = rows.into_rows_result().expect("rows");
    assert_eq!(rows.single_row::<(i64,)>().expect("a count").0, 3, "all of it is announced");
}
