//! Bounds, announcements, and the end of the store.

use crate::config::EventStoreConfig;
use crate::error::{BusyReason, ExecuteError, Failure};
use crate::testing::{
    ANNOUNCE_WITHIN, Fake, Fault, ID, Op, TallyCommand, accepted, over, request, rig,
};
use futures::future::join_all;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

use TallyCommand::{Add, AddEach};

#[tokio::test(start_paused = true)]
async fn what_waits_for_announcement_is_bounded() {
    let config = EventStoreConfig { open_commands_max: 2, ..Default::default() };
    let rig = over(Fake::new(), config).await;
    rig.fake.always(Op::Announce, Fault::Dropped);
    accepted(&rig.send(1, Add(1)).await, &[1]);
    accepted(&rig.send(2, Add(1)).await, &[2]);
    match rig.send(3, Add(1)).await {
        Err(ExecuteError::Busy { reason: BusyReason::OpenCommands, .. }) => {}
        other => panic!("expected to be turned away, got {other:?}"),
    }
    rig.fake.always(Op::Announce, Fault::None);
    rig.announced().await;
    rig.store.close().await;
    assert_eq!(rig.fake.events(ID).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_one_aggregate_is_bounded_and_others_pass() {
    let config = EventStoreConfig { queue_per_aggregate_max: 3, ..Default::default() };
    let rig = over(Fake::new(), config).await;
    rig.fake.always(Op::Commit, Fault::Slow(Duration::from_millis(100)));
    let answers = join_all((1..=10).map(|id| rig.send(id, Add(1)))).await;
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    let busy = |answer: &_| {
        let reason = BusyReason::AggregateQueue;
        matches!(answer, Err(ExecuteError::Busy { reason: r, .. }) if *r == reason)
    };
    assert_eq!(accepted, 4, "one at work and three waiting");
    assert_eq!(answers.iter().filter(|answer| busy(answer)).count(), 6);
    assert_eq!(rig.fake.events(ID).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn commands_of_one_aggregate_do_not_race_each_other() {
    let rig = rig().await;
    rig.fake.always(Op::Commit, Fault::Slow(Duration::from_millis(10)));
    let answers = join_all((1..=50).map(|id| rig.send(id, Add(1)))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(rig.fake.count(Op::Commit), 50, "no commit is lost against our own");
    rig.announced().await;
    let all: Vec<u64> = (1..=50).collect();
    assert_eq!(rig.fake.announced_versions(ID), all);
}

#[tokio::test(start_paused = true)]
async fn commits_are_bounded_in_number_and_size() {
    let config = EventStoreConfig {
        events_per_commit_max: 2,
        commit_bytes_max: 1_200,
        ..Default::default()
    };
    let rig = over(Fake::new(), config).await;
    accepted(&rig.send(1, AddEach(vec![1, 2])).await, &[1, 2]);
    let many = rig.send(2, AddEach(vec![1, 2, 3])).await;
    assert!(matches!(many, Err(ExecuteError::TooLarge { events: 3, .. })), "{many:?}");
    let mut large = request(3, Add(1));
    large.actor = Some("x".repeat(1_000));
    let large = rig.store.execute(large).await;
    assert!(matches!(large, Err(ExecuteError::TooLarge { events: 1, .. })), "{large:?}");
    assert_eq!(rig.fake.events(ID).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_answer_does_not_wait_for_the_announcement() {
    let rig = rig().await;
    rig.fake.always(Op::Announce, Fault::Slow(Duration::from_secs(4)));
    let started = Instant::now();
    accepted(&rig.send(1, Add(1)).await, &[1]);
    accepted(&rig.send(2, Add(1)).await, &[2]);
    assert!(started.elapsed() < Duration::from_secs(1), "took {:?}", started.elapsed());
    rig.announced().await;
}

#[tokio::test(start_paused = true)]
async fn an_announcement_counts_only_when_acknowledged_in_time() {
    let rig = rig().await;
    let late = ANNOUNCE_WITHIN + Duration::from_millis(1);
    rig.fake.script(Op::Announce, [Fault::SlowAnswer(late), Fault::Dropped, Fault::Unanswered]);
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.store.close().await;
    assert_eq!(rig.fake.count(Op::Announce), 4);
    assert_eq!(rig.fake.announced_versions(ID), [1]);
}

#[tokio::test(start_paused = true)]
async fn an_announcement_that_never_comes_through_ends_the_process() {
    let rig = rig().await;
    rig.fake.always(Op::Announce, Fault::Refused);
    accepted(&rig.send(1, Add(1)).await, &[1]);
    let ended = tokio::time::timeout(Duration::from_secs(120), rig.store.run()).await;
    let failure = ended.expect("it ends soon").expect_err("the process has to end");
    assert!(matches!(failure, Failure::AnnouncementStuck { aggregate_id: ID, .. }), "{failure:?}");
    rig.fake.forget_requests();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.fake.count(Op::Heartbeat), 0, "so that another process settles it");
    let answer = rig.send(2, Add(1)).await;
    assert!(matches!(answer, Err(ExecuteError::Unavailable { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_database_that_does_not_answer_is_no_reason_to_end() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.announced().await;
    rig.fake.always(Op::Announce, Fault::Dropped);
    accepted(&rig.send(2, Add(1)).await, &[2]);
    rig.fake.dark(true);
    tokio::time::sleep(Duration::from_secs(600)).await;
    rig.fake.dark(false);
    rig.announced().await;
    rig.store.close().await;
    rig.store.run().await.expect("nothing is wrong with this process");
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_announcements_and_signs_off() {
    let rig = rig().await;
    rig.fake.always(Op::Announce, Fault::Slow(Duration::from_secs(3)));
    accepted(&rig.send(1, Add(1)).await, &[1]);
    assert_eq!(rig.fake.writers().len(), 1);
    rig.store.close().await;
    assert_eq!(rig.fake.announced_versions(ID), [1]);
    assert!(rig.fake.writers().is_empty(), "a clean stop removes the row");
    rig.store.run().await.expect("a clean end");
    let answer = rig.send(2, Add(1)).await;
    assert!(matches!(answer, Err(ExecuteError::Unavailable { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn intents_of_one_bucket_are_shared_and_come_before_the_commit() {
    let rig = rig().await;
    rig.fake.forget_requests();
    let other = Uuid::from_u128(0xB);
    accepted(&rig.send(1, Add(1)).await, &[1]);
    accepted(&rig.send(2, Add(1)).await, &[2]);
    let mut elsewhere = request(3, Add(1));
    elsewhere.aggregate_id = other;
    rig.store.execute(elsewhere).await.expect("accepted");
    tokio::time::sleep(Duration::from_secs(1)).await;
    accepted(&rig.send(4, Add(1)).await, &[3]);
    let intents = rig.fake.intents();
    let seen: Vec<_> = intents.iter().map(|i| (i.aggregate_id, i.bucket.0, i.after.0)).collect();
    assert_eq!(seen, [(ID, 0, 0), (other, 0, 0), (ID, 1, 2)]);
    let first = rig.fake.requests().into_iter().find(|op| matches!(op, Op::Intent | Op::Commit));
    assert_eq!(first, Some(Op::Intent));
    let writer = rig.fake.writers().keys().next().copied();
    assert!(intents.iter().all(|intent| Some(intent.writer) == writer));
}

#[test]
fn the_defaults_are_those_that_the_file_shows() {
    #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    struct File {
        event_store: EventStoreConfig,
    }
    impl runtime::config::Configuration for File {}
    let text = include_str!("../../../../config/command-api.toml");
    let file = runtime::config::load::<File>("command-api", text, &Default::default());
    let file = file.expect("a good file").config;
    assert_eq!(file.event_store, EventStoreConfig::default());
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    let default = EventStoreConfig::default();
    default.validate().expect("the defaults make sense");
    let cases = [
        ("open_commands_max", EventStoreConfig { open_commands_max: 0, ..default.clone() }),
        ("load_page_events", EventStoreConfig { load_page_events: 0, ..default.clone() }),
        ("grace_ms", EventStoreConfig { grace_ms: 7_999, ..default.clone() }),
        ("backoff_ms_max", EventStoreConfig { backoff_ms_max: 1, ..default }),
    ];
    for (expected, config) in cases {
        let bad = config.validate().expect_err(expected);
        assert_eq!(bad.key, format!("event_store.{expected}"));
    }
}
