//! The statements against the embedded engine, with the outcomes that a cluster can have.

use std::sync::Arc;
use std::time::Duration;

use embedded_scylla::faults::{Answer, FaultKind, FaultRule};
use embedded_scylla::server::{Server, ServerConfig};
use runtime::ScyllaConfig;
use runtime::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig, apply};
use scylla::client::session::Session;
use tempfile::TempDir;

use super::*;

const SLOTS: u32 = 4;
const GROUP: &str = "projections";

/// A migrated database of its own.
struct Database {
    server: Server,
    session: Arc<Session>,
    _directory: TempDir,
}

impl Database {
    async fn start() -> Self {
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
        apply(&session, "leases_test", &config, &[MIGRATIONS]).await.expect("migrate");
        Self { server, session: Arc::new(session), _directory: directory }
    }

    async fn owner(&self, group: &str) -> Slots {
        Slots::open(self.session.clone(), group, SLOTS).await.expect("statements are valid")
    }

    async fn slot(&self, slot: u32) -> SlotState {
        self.slot_of(GROUP, slot).await
    }

    async fn slot_of(&self, group: &str, slot: u32) -> SlotState {
        let mut states = list(&self.session).await.expect("list");
        states.retain(|state| state.group == group && state.slot == slot);
        states.pop().expect("the slot has a row")
    }

    /// Makes the next `count` changes of `slots` go wrong.
    fn befall(&self, kind: FaultKind, count: u64, delay_ms: u64, answer: Answer) {
        let (table, answer) = (Some("slots".to_owned()), Some(answer));
        let rule = FaultRule { table, count, delay_ms, answer, ..FaultRule::new(kind) };
        self.server.faults().add(rule).expect("a good rule");
    }
}

#[tokio::test]
async fn slots_are_made_when_they_are_first_taken() {
    let database = Database::start().await;
    let taken = database.owner(GROUP).await.load_all().await.expect("take");
    assert_eq!(taken.iter().map(|state| state.slot).collect::<Vec<_>>(), [0, 1, 2, 3]);
    for state in &taken {
        assert_eq!((state.epoch, state.crashes, state.checkpoint_us), (1, 0, None), "{state:?}");
        assert!(state.owner.is_some(), "{state:?}");
    }
    assert_eq!(list(&database.session).await.expect("list"), taken);
}

#[tokio::test]
async fn groups_do_not_share_rows() {
    let database = Database::start().await;
    let first = database.owner("relay").await.load_all().await.expect("take");
    let second = database.owner(GROUP).await.load_all().await.expect("take");
    let both: Vec<SlotState> = second.into_iter().chain(first).collect();
    assert_eq!(list(&database.session).await.expect("list"), both);
}

#[tokio::test]
async fn who_lost_a_slot_cannot_move_its_checkpoint() {
    let database = Database::start().await;
    let old = database.owner(GROUP).await;
    let held = old.load_all().await.expect("take").remove(1);
    let held = old.save_checkpoint(&held, 1_000, Some(7)).await.expect("save");

    let new = database.owner(GROUP).await;
    let taken = new.load_all().await.expect("take over").remove(1);
    assert_eq!((taken.checkpoint_us, taken.generation_ms), (Some(1_000), Some(7)));
    assert_eq!((taken.epoch, taken.crashes), (2, 1));

    let error = old.save_checkpoint(&held, 2_000, Some(7)).await.expect_err("lost");
    assert!(error.is_lost(), "{error}");
    assert_eq!(database.slot(1).await, taken);

    let moved = new.save_checkpoint(&taken, 3_000, Some(8)).await.expect("save");
    assert_eq!((moved.checkpoint_us, moved.generation_ms), (Some(3_000), Some(8)));
    assert_eq!(moved.crashes, 0, "a moved checkpoint clears the crash counter");
    assert_eq!(database.slot(1).await, moved);
}

#[tokio::test]
async fn a_checkpoint_never_moves_back() {
    let database = Database::start().await;
    let owner = database.owner(GROUP).await;
    let held = owner.load_all().await.expect("take").remove(0);
    let at_five = owner.save_checkpoint(&held, 5_000, Some(5)).await.expect("save");

    let same = owner.save_checkpoint(&at_five, 5_000, Some(5)).await.expect("nothing to do");
    assert_eq!(same, at_five, "nothing moved, yet something was written");
    let lower = owner.save_checkpoint(&at_five, 4_000, None).await.expect("nothing to do");
    assert_eq!(lower, at_five, "nothing moved, yet something was written");

    let newer = owner.save_checkpoint(&at_five, 4_000, Some(6)).await.expect("a generation");
    assert_eq!((newer.checkpoint_us, newer.generation_ms), (Some(5_000), Some(6)));
    assert_eq!(database.slot(0).await, newer);
}

#[tokio::test]
async fn a_released_slot_was_not_lost_in_a_crash() {
    let database = Database::start().await;
    let first = database.owner(GROUP).await;
    first.load_all().await.expect("take");
    first.release().await.expect("release");
    assert_eq!(database.slot(2).await.owner, None);

    let second = database.owner(GROUP).await;
    let taken = second.load_all().await.expect("take");
    assert!(taken.iter().all(|state| state.crashes == 0), "{taken:?}");
    first.release().await.expect("nothing is left to release");
    assert_eq!(list(&database.session).await.expect("list"), taken);
}

#[tokio::test]
async fn of_two_that_take_at_once_each_slot_has_one_owner() {
    let database = Database::start().await;
    let (left, right) = (database.owner(GROUP).await, database.owner(GROUP).await);
    let (of_left, of_right) = tokio::join!(left.load_all(), right.load_all());
    let (of_left, of_right) = (of_left.expect("left"), of_right.expect("right"));
    for (of_left, of_right) in of_left.iter().zip(&of_right) {
        let now = database.slot(of_left.slot).await;
        let winners = [of_left, of_right].iter().filter(|state| ***state == now).count();
        assert_eq!(winners, 1, "slot {} is now {now:?}", now.slot);
        let saves = [
            left.save_checkpoint(of_left, 1, None).await.is_ok(),
            right.save_checkpoint(of_right, 1, None).await.is_ok(),
        ];
        assert_eq!(saves.iter().filter(|saved| **saved).count(), 1, "slot {}", now.slot);
    }
}

/// Saves a checkpoint under a fault and expects that it is saved, exactly once.
async fn check_saved_once(database: &Database, kind: FaultKind, delay_ms: u64, answer: Answer) {
    let group = format!("{kind:?} {delay_ms} {answer:?}");
    let owner = database.owner(&group).await;
    let held = owner.load_all().await.expect("take").remove(3);
    database.befall(kind, 1, delay_ms, answer);
    let saved = owner.save_checkpoint(&held, 9_000, Some(9)).await.expect("saved in the end");
    assert_eq!(saved.checkpoint_us, Some(9_000), "{group}");
    assert_eq!(saved.revision, held.revision + 1, "{group}");
    let next = owner.save_checkpoint(&saved, 9_500, Some(9)).await.expect("still the owner");
    assert_eq!(database.slot_of(&group, 3).await, next, "{group}");

    let pending = database.server.faults().report().pending;
    assert!(pending.is_empty(), "{group}: the fault never struck");
}

#[tokio::test]
async fn an_unknown_outcome_is_looked_up() {
    let database = Database::start().await;
    for answer in [Answer::WriteTimeout, Answer::CasUnknown] {
        check_saved_once(&database, FaultKind::LwtAppliedTimeout, 0, answer).await;
        check_saved_once(&database, FaultKind::LwtNotAppliedTimeout, 0, answer).await;
        check_saved_once(&database, FaultKind::LwtAppliedLater, 0, answer).await;
        check_saved_once(&database, FaultKind::LwtAppliedLater, 30, answer).await;
    }
    check_saved_once(&database, FaultKind::LwtAppliedLate, 30, Answer::WriteTimeout).await;
}

#[tokio::test]
async fn a_save_that_ended_in_an_error_can_be_made_again() {
    let database = Database::start().await;
    let owner = database.owner(GROUP).await;
    let held = owner.load_all().await.expect("take").remove(0);
    database.befall(FaultKind::LwtNotAppliedTimeout, 5, 0, Answer::WriteTimeout);
    let error = owner.save_checkpoint(&held, 1_000, None).await.expect_err("never applied");
    assert!(!error.is_lost(), "{error}");
    let saved = owner.save_checkpoint(&held, 2_000, None).await.expect("applied");
    assert_eq!(saved.checkpoint_us, Some(2_000));
    assert_eq!(database.slot(0).await, saved);
}

#[tokio::test]
async fn a_slot_is_taken_under_faults_too() {
    let database = Database::start().await;
    for kind in
        [FaultKind::LwtAppliedTimeout, FaultKind::LwtNotAppliedTimeout, FaultKind::LwtAppliedLater]
    {
        // The first changes make the rows, the others take them.
        for count in [3, 6] {
            let group = format!("{kind:?} {count}");
            database.befall(kind, count, 0, Answer::WriteTimeout);
            let taken = database.owner(&group).await.load_all().await.expect("taken in the end");
            for state in taken {
                assert_eq!((state.epoch, state.crashes), (1, 0), "{group}: {state:?}");
                assert_eq!(database.slot_of(&group, state.slot).await, state, "{group}");
            }
        }
    }
}
