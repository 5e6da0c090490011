//! The statements against the embedded engine, with the outcomes that a cluster can have.

use std::sync::Arc;
use std::time::Duration;

use database::ScyllaConfig;
use database::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig, apply};
use embedded_scylla::faults::{Answer, FaultKind, FaultRule};
use embedded_scylla::server::{Server, ServerConfig};
use scylla::client::session::Session;
use tempfile::TempDir;
use uuid::Uuid;

use crate::*;

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

    async fn table(&self, group: &str) -> Table {
        let timeout = Duration::from_secs(2);
        Table::open(self.session.clone(), group, SLOTS, timeout)
            .await
            .expect("statements are valid")
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

async fn take(table: &Table, slot: u32, owner: Uuid) -> Result<SlotState, SlotError> {
    let row = table.read(slot).await?;
    table.change(&row, row.taken(owner)).await
}

fn ids() -> [Uuid; 2] {
    [Uuid::new_v4(), Uuid::new_v4()]
}

#[tokio::test]
async fn slots_are_made_when_they_are_first_taken_and_seen_by_one_look() {
    let database = Database::start().await;
    let (table, [me, _]) = (database.table(GROUP).await, ids());
    assert_eq!(table.slots().await.expect("look"), []);
    let mut taken = Vec::new();
    for slot in 0..SLOTS {
        taken.push(take(&table, slot, me).await.expect("taken"));
    }
    for state in &taken {
        assert_eq!((state.epoch, state.crashes, state.checkpoint_us), (1, 0, None), "{state:?}");
        assert_eq!(state.owner, Some(me));
    }
    let mut seen = table.slots().await.expect("look");
    seen.sort_by_key(|state| state.slot);
    assert_eq!(seen, taken);
    assert_eq!(list(&database.session).await.expect("list"), taken);
    let other = database.table("relay").await;
    assert_eq!(other.slots().await.expect("look"), [], "groups do not share rows");
}

#[tokio::test]
async fn who_lost_a_slot_can_change_nothing_of_it() {
    let database = Database::start().await;
    let (table, [old, new]) = (database.table(GROUP).await, ids());
    let held = take(&table, 1, old).await.expect("taken");
    let to = held.settled(old, 1_000, Some(7)).expect("moves");
    let held = table.change(&held, to).await.expect("saved");

    let taken = take(&table, 1, new).await.expect("taken over");
    assert_eq!((taken.checkpoint_us, taken.generation_ms), (Some(1_000), Some(7)));
    assert_eq!((taken.epoch, taken.crashes), (2, 1));
    let late =
        [held.settled(old, 2_000, Some(7)).expect("moves"), held.renewed(old), held.released(old)];
    for to in late {
        let error = table.change(&held, to).await.expect_err("lost");
        assert!(error.is_lost(), "{error}");
        assert_eq!(database.slot(1).await, taken);
    }
    let to = taken.settled(new, 3_000, Some(8)).expect("moves");
    let moved = table.change(&taken, to).await.expect("saved");
    assert_eq!((moved.checkpoint_us, moved.generation_ms), (Some(3_000), Some(8)));
    assert_eq!(moved.crashes, 0, "a moved checkpoint clears the crash counter");
    assert_eq!(database.slot(1).await, moved);
    let released = table.change(&moved, moved.released(new)).await.expect("released");
    assert_eq!(take(&table, 1, old).await.expect("taken").crashes, 0, "{released:?}");
}

#[test]
fn a_checkpoint_never_moves_back() {
    let me = Uuid::new_v4();
    let at_five = SlotState::new(GROUP, 0).taken(me).settled(me, 5_000, Some(5)).expect("moves");
    assert_eq!(at_five.settled(me, 5_000, Some(5)), None);
    assert_eq!(at_five.settled(me, 4_000, None), None);
    let newer = at_five.settled(me, 4_000, Some(6)).expect("a generation");
    assert_eq!((newer.checkpoint_us, newer.generation_ms), (Some(5_000), Some(6)));
}

/// A renewal that was sent before a checkpoint arrives after it.
#[tokio::test]
async fn a_delayed_renewal_does_not_move_the_checkpoint_back() {
    let database = Database::start().await;
    let (table, [me, _]) = (database.table(GROUP).await, ids());
    let held = take(&table, 0, me).await.expect("taken");
    let delayed = held.renewed(me);
    let to = held.settled(me, 5_000, None).expect("moves");
    let saved = table.change(&held, to).await.expect("saved");
    // It finds that the same owner went on from there, and changes nothing.
    assert_eq!(table.change(&held, delayed).await.expect("known"), saved);
    assert_eq!(database.slot(0).await, saved);
    let next = table.change(&saved, saved.renewed(me)).await.expect("renewed");
    assert!(table.change(&held, held.renewed(me)).await.expect_err("long ago").is_lost());
    assert_eq!(database.slot(0).await, next);
}

#[tokio::test]
async fn of_several_that_race_for_all_slots_each_slot_has_one_owner() {
    let database = Database::start().await;
    let mut tables = Vec::new();
    for _ in 0..4 {
        tables.push((database.table(GROUP).await, Uuid::new_v4()));
    }
    let race = tables.iter().flat_map(|(table, owner)| {
        (0..SLOTS).map(move |slot| async move {
            let row = table.read(slot).await.expect("read");
            // All of them saw it free.
            let free = SlotState { owner: None, epoch: 0, revision: 0, ..row };
            table.change(&free, free.taken(*owner)).await
        })
    });
    let results = futures::future::join_all(race).await;
    let won: Vec<SlotState> = results.into_iter().filter_map(Result::ok).collect();
    assert_eq!(won.len(), SLOTS as usize, "{won:?}");
    for state in won {
        assert_eq!(database.slot(state.slot).await, state);
    }
}

/// Saves a checkpoint under a fault and expects that it is saved, exactly once.
async fn check_saved_once(database: &Database, kind: FaultKind, delay_ms: u64, answer: Answer) {
    let group = format!("{kind:?} {delay_ms} {answer:?}");
    let (table, [me, _]) = (database.table(&group).await, ids());
    let held = take(&table, 3, me).await.expect("taken");
    database.befall(kind, 1, delay_ms, answer);
    let to = held.settled(me, 9_000, Some(9)).expect("moves");
    let saved = table.change(&held, to).await.expect("saved in the end");
    assert_eq!(saved.checkpoint_us, Some(9_000), "{group}");
    assert_eq!(saved.revision, held.revision + 1, "{group}");
    let next = table.change(&saved, saved.renewed(me)).await.expect("still the owner");
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
async fn a_change_that_ended_in_an_error_can_be_made_again() {
    let database = Database::start().await;
    let (table, [me, _]) = (database.table(GROUP).await, ids());
    let held = take(&table, 0, me).await.expect("taken");
    database.befall(FaultKind::LwtNotAppliedTimeout, 5, 0, Answer::WriteTimeout);
    let to = held.settled(me, 1_000, None).expect("moves");
    let error = table.change(&held, to).await.expect_err("never applied");
    assert!(!error.is_lost(), "{error}");
    let to = held.settled(me, 2_000, None).expect("moves");
    let saved = table.change(&held, to).await.expect("applied");
    assert_eq!(saved.checkpoint_us, Some(2_000));
    assert_eq!(database.slot(0).await, saved);
}

#[tokio::test]
async fn a_member_that_was_removed_is_back_with_its_next_beat() {
    let database = Database::start().await;
    let (table, [me, other]) = (database.table(GROUP).await, ids());
    let first = table.beat(me, None).await.expect("beaten");
    let second = table.beat(me, Some(first)).await.expect("beaten");
    table.beat(other, None).await.expect("beaten");
    table.remove(Member { id: me, revision: first }).await.expect("nothing happens");
    let mut seen = table.members().await.expect("look");
    assert!(seen.contains(&Member { id: me, revision: second }), "{seen:?}");
    table.remove(Member { id: me, revision: second }).await.expect("removed");
    seen = table.members().await.expect("look");
    assert_eq!(seen.iter().map(|member| member.id).collect::<Vec<_>>(), [other]);
    table.beat(me, Some(second)).await.expect("back");
    // A beat whose outcome is unknown is an error; the next one goes on from what came of it.
    for kind in [FaultKind::LwtAppliedTimeout, FaultKind::LwtNotAppliedTimeout] {
        let rule = FaultRule { table: Some("members".to_owned()), ..FaultRule::new(kind) };
        database.server.faults().add(rule).expect("a good rule");
        table.beat(me, Some(1)).await.expect_err("unknown");
        table.beat(me, Some(1)).await.expect("beaten");
    }
    let members = list_members(&database.session).await.expect("list");
    assert_eq!(members.len(), 2);
}
