//! The statements against the embedded engine, in real time: what they store, what they cost, and
//! what they make of its faults.

use crate::error::{Effect, ExecuteError};
use crate::store::EventStore;
use crate::testing::{Answer, Database, ID, TallyCommand, accepted, eventually, request, versions};
use embedded_scylla::faults::{Answer as Seen, FaultKind};
use futures::future::join_all;
use kernel::RecordedEvent;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

use TallyCommand::{Add, AddBelow, AddEach};

async fn send(store: &EventStore, id: u128, command: TallyCommand) -> Answer {
    store.execute(request(id, command)).await
}

/// Everything stored is announced, as it is stored; to be asked after the stores were closed.
async fn check_announced(database: &Database, stored: &[RecordedEvent], case: &str) {
    let announced = database.announced().await;
    let events: Vec<_> = announced.iter().map(|(event, ..)| event.clone()).collect();
    assert_eq!(events, stored, "{case}");
    for (event, topic, key) in announced {
        assert_eq!((topic.as_str(), key), ("tallies.events", event.aggregate_id.to_string()));
    }
}

#[tokio::test]
async fn events_are_stored_and_announced_as_they_were_recorded() {
    let database = Database::start().await;
    let store = database.store().await;
    let mut first = request(1, AddEach(vec![1, 2, 3]));
    first.trace_parent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    accepted(&store.execute(first).await, &[1, 2, 3]);
    accepted(&send(&store, 2, Add(1)).await, &[4]);
    let again = send(&store, 1, AddEach(vec![1, 2, 3])).await;
    assert_eq!(versions(&again), (vec![1, 2, 3], true));
    assert_eq!(database.count("SELECT COUNT(*) FROM writers").await, 1);
    store.close().await;
    assert_eq!(database.count("SELECT COUNT(*) FROM writers").await, 0, "signed off");

    let stored = database.stored().await;
    assert_eq!(stored.len(), 4);
    assert_eq!(stored[1].metadata.commit.index, 1);
    assert!(stored[0].metadata.trace_parent.is_some());
    check_announced(&database, &stored, "two commands").await;
    let tail = store.reader().tail(ID, 2).await.expect("the tail");
    assert_eq!(tail, stored[2..]);
    assert!(store.reader().tail(Uuid::from_u128(0xB), 2).await.expect("nothing").is_empty());
}

#[tokio::test]
async fn the_engine_counts_what_the_cost_model_says() {
    let database = Database::start().await;
    let store = database.store().await;
    let announced = async |events: usize| {
        let all = async || database.announced().await.len() >= events;
        eventually("everything is announced", all).await;
    };
    let cost = |parts: &[&str]| -> Vec<(String, u64)> {
        parts.iter().map(|part| ((*part).to_owned(), 1)).collect()
    };
    let asked = "select outbox_messages";
    let without_ours = |mut seen: Vec<(String, u64)>| {
        seen.retain(|(what, _)| what != asked);
        seen
    };

    let before = database.requests();
    accepted(&send(&store, 1, Add(1)).await, &[1]);
    announced(1).await;
    let cold = cost(&[
        "insert append_intents",
        "insert outbox_messages",
        "lwt event_store",
        "select event_store",
    ]);
    assert_eq!(without_ours(database.since(&before)), cold, "a cold aggregate");

    // At most one intent each; how many buckets these fall into depends on the clock.
    let before = database.requests();
    for id in 2..=21 {
        send(&store, id, Add(1)).await.expect("accepted");
    }
    announced(21).await;
    let seen: BTreeMap<_, _> = database.since(&before).into_iter().collect();
    let of = |what: &str| seen.get(what).copied().unwrap_or(0);
    assert_eq!((of("lwt event_store"), of("insert outbox_messages")), (20, 20), "{seen:?}");
    assert_eq!(of("select event_store") + of("serial_select event_store"), 0, "{seen:?}");
    assert!(of("insert append_intents") < 20, "{seen:?}");

    let before = database.requests();
    let refused = send(&store, 30, AddBelow(0)).await;
    assert!(matches!(refused, Err(ExecuteError::Refused { .. })), "{refused:?}");
    assert_eq!(database.since(&before), cost(&["serial_select event_store"]), "a refusal");

    let before = database.requests();
    accepted(&send(&store, 31, AddEach(vec![1, 1])).await, &[22, 23]);
    announced(23).await;
    let seen: BTreeMap<_, _> = database.since(&before).into_iter().collect();
    let of = |what: &str| seen.get(what).copied().unwrap_or(0);
    assert_eq!((of("lwt_batch event_store"), of("batch outbox_messages")), (1, 1), "{seen:?}");
    store.close().await;
}

/// Sends `each` commands from each of `writers` tasks per store; gives the answers.
async fn storm(stores: &[EventStore], writers: u128, each: u128) -> Vec<(Uuid, Answer)> {
    let tasks = stores.iter().enumerate().flat_map(|(number, store)| {
        (0..writers).map(move |writer| async move {
            let mut answers = Vec::new();
            for nth in 0..each {
                let id = (number as u128 * writers + writer) * each + nth + 1;
                answers.push((Uuid::from_u128(id), send(store, id, Add(1)).await));
            }
            answers
        })
    });
    join_all(tasks).await.into_iter().flatten().collect()
}

/// Accepted commands are stored exactly once, at the version that was answered; refused ones are
/// not stored; everything stored is announced.
async fn check_storm(database: &Database, answers: &[(Uuid, Answer)], case: &str) {
    let stored = database.stored().await;
    let by_command: BTreeMap<_, _> =
        stored.iter().map(|event| (event.metadata.command_id, event.version)).collect();
    assert_eq!(by_command.len(), stored.len(), "{case}: a command has one effect");
    for (command_id, answer) in answers {
        let at = by_command.get(command_id);
        match answer {
            Ok(outcome) => assert_eq!(at, Some(&outcome.version), "{case}"),
            Err(error) if error.effect() == Effect::NotDone => {
                assert_eq!(at, None, "{case}: {error:?}");
            }
            Err(_) => {}
        }
    }
    let sent: BTreeSet<_> = answers.iter().map(|(id, _)| *id).collect();
    assert!(by_command.keys().all(|id| sent.contains(id)), "{case}: nobody sent some of these");
    check_announced(database, &stored, case).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_several_processes_share_one_aggregate() {
    let database = Database::start().await;
    let stores = [database.store().await, database.store().await, database.store().await];
    let answers = storm(&stores, 8, 5).await;
    join_all(stores.iter().map(EventStore::close)).await;
    let done = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
    assert!(done > answers.len() / 2, "{done} of {} were accepted", answers.len());
    check_storm(&database, &answers, "three processes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_commit_is_resolved_to_the_right_answer() {
    let database = Database::start().await;
    // Short, so that silence is found out soon.
    let request_timeout_ms = 500;
    let store = database.impatient_store(request_timeout_ms).await;
    let late = 2 * request_timeout_ms;
    let mut id = 0;
    let mut version = 0;
    let cases = [
        (FaultKind::LwtAppliedTimeout, 0, Seen::WriteTimeout),
        (FaultKind::LwtAppliedTimeout, 0, Seen::CasUnknown),
        (FaultKind::LwtAppliedTimeout, 0, Seen::Silence),
        (FaultKind::LwtAppliedLate, late, Seen::default()),
        (FaultKind::LwtNotAppliedTimeout, 0, Seen::WriteTimeout),
        (FaultKind::LwtNotAppliedTimeout, 0, Seen::CasUnknown),
        (FaultKind::LwtNotAppliedTimeout, 0, Seen::Silence),
        (FaultKind::LwtAppliedLater, 0, Seen::WriteTimeout),
        (FaultKind::LwtAppliedLater, 0, Seen::CasUnknown),
        (FaultKind::LwtAppliedLater, 30, Seen::WriteTimeout),
        (FaultKind::LwtAppliedLater, late, Seen::CasUnknown),
    ];
    for (kind, delay_ms, answer) in cases {
        for events in [1, 2] {
            let case = format!("{kind:?} after {delay_ms} ms, {answer:?}, {events} events");
            database.befall("event_store", kind, 1, delay_ms, answer);
            id += 1;
            let outcome = send(&store, id, AddEach(vec![1; events])).await;
            let expected: Vec<u64> = (version + 1..=version + events as u64).collect();
            assert_eq!(versions(&outcome), (expected, false), "{case}");
            version += events as u64;
        }
    }
    database.nothing_is_late().await;
    store.close().await;
    let stored = database.stored().await;
    assert_eq!(stored.len() as u64, version);
    check_announced(&database, &stored, "after all faults").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_race_while_every_third_commit_is_faulty() {
    let database = Database::start().await;
    let stores = [database.store().await, database.store().await];
    let kinds = [
        (FaultKind::LwtAppliedTimeout, 0, Seen::CasUnknown),
        (FaultKind::LwtNotAppliedTimeout, 0, Seen::WriteTimeout),
        (FaultKind::LwtAppliedLater, 0, Seen::CasUnknown),
        (FaultKind::LwtAppliedLater, 5, Seen::WriteTimeout),
    ];
    for (kind, delay_ms, answer) in kinds {
        database.rule("event_store", kind, 1_000, 0.1, delay_ms, answer);
    }
    let answers = storm(&stores, 6, 6).await;
    let fired = database.server.faults().report().fired;
    let faults =
        fired.lwt_applied_timeout + fired.lwt_not_applied_timeout + fired.lwt_applied_later;
    assert!(faults >= 10, "the run is void with {faults} faults");
    database.server.faults().clear();
    join_all(stores.iter().map(EventStore::close)).await;
    database.nothing_is_late().await;
    check_storm(&database, &answers, "two processes with faults").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_of_unknown_outcome_are_recognised() {
    let database = Database::start().await;
    let store = database.store().await;
    let beats = [
        (FaultKind::LwtAppliedTimeout, 0, Seen::CasUnknown),
        (FaultKind::LwtNotAppliedTimeout, 0, Seen::WriteTimeout),
        (FaultKind::LwtAppliedLater, 0, Seen::WriteTimeout),
    ];
    for (kind, delay_ms, answer) in beats {
        database.befall("writers", kind, 1, delay_ms, answer);
    }
    let all_fired = async || {
        let fired = database.server.faults().report().fired;
        fired.lwt_applied_timeout + fired.lwt_not_applied_timeout + fired.lwt_applied_later == 3
    };
    eventually("three heartbeats meet faults", all_fired).await;
    accepted(&send(&store, 1, Add(1)).await, &[1]);
    assert_eq!(database.count("SELECT COUNT(*) FROM writers").await, 1, "still the same writer");
    // A store that closes while a heartbeat is uncertain leaves its row to be settled.
    let counter = database.count("SELECT counter FROM writers").await;
    let beats_on = async || database.count("SELECT counter FROM writers").await >= counter + 2;
    eventually("the heartbeats go on", beats_on).await;
    store.close().await;
    assert_eq!(database.count("SELECT COUNT(*) FROM writers").await, 0);
}
