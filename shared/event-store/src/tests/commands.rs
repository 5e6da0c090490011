//! Commands when the database answers: what they cost, who wins, what is remembered.

use crate::config::EventStoreConfig;
use crate::error::{Effect, ExecuteError};
use crate::ids::Fence;
use crate::testing::{
    Fake, Fault, ID, Op, TallyCommand, accepted, event, over, request, rig, v, versions,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use uuid::Uuid;

use TallyCommand::{Add, AddBelow, AddEach, AddFrom, RaiseTo};

#[tokio::test(start_paused = true)]
async fn a_command_costs_what_the_cost_model_says() {
    let rig = rig().await;
    rig.fake.forget_requests();
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.announced().await;
    let cold = [Op::Read, Op::Intent, Op::Commit, Op::Announce];
    assert_eq!(rig.fake.requests(), cold, "a cold aggregate");

    rig.fake.forget_requests();
    accepted(&rig.send(2, Add(1)).await, &[2]);
    rig.announced().await;
    let same_bucket = [Op::Commit, Op::Announce];
    assert_eq!(rig.fake.requests(), same_bucket, "a cached aggregate in the same bucket");

    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.fake.forget_requests();
    accepted(&rig.send(3, Add(1)).await, &[3]);
    rig.announced().await;
    let new_bucket = [Op::Intent, Op::Commit, Op::Announce];
    assert_eq!(rig.fake.requests(), new_bucket, "a cached aggregate in a new bucket");

    rig.fake.forget_requests();
    let refused = rig.send(4, AddBelow(3)).await;
    assert!(matches!(refused, Err(ExecuteError::Refused { version, .. }) if version == v(3)));
    assert_eq!(rig.fake.requests(), [Op::SerialRead], "a refusal");
}

#[tokio::test(start_paused = true)]
async fn several_events_are_one_commit_and_one_announcement() {
    let rig = rig().await;
    accepted(&rig.send(1, AddEach(vec![1, 2, 3])).await, &[1, 2, 3]);
    rig.announced().await;
    assert_eq!((rig.fake.count(Op::Commit), rig.fake.count(Op::Announce)), (1, 1));
    let outbox = rig.fake.outbox();
    assert_eq!(outbox[0].0, rig.fake.events(ID), "what is announced is what is stored");
    assert_eq!(outbox[0].1, "tallies.events");
    let places: Vec<_> = outbox[0].0.iter().map(|event| event.metadata.commit.index).collect();
    assert_eq!(places, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_decided_again() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.fake.store([event(ID, 2), event(ID, 3)]);
    accepted(&rig.send(2, Add(1)).await, &[4]);
    // Only one of these two may pass: the other process used up what was left.
    rig.fake.store([event(ID, 5)]);
    let refused = rig.send(3, AddBelow(5)).await;
    assert!(matches!(refused, Err(ExecuteError::Refused { version, .. }) if version == v(5)));
}

#[tokio::test(start_paused = true)]
async fn who_keeps_losing_gives_up_and_says_not_done() {
    let config = EventStoreConfig { conflict_retries_max: 3, ..Default::default() };
    let rig = over(Fake::new(), config).await;
    let rival = async {
        for version in 1.. {
            let commits = usize::try_from(version).unwrap_or_default();
            rig.fake.until(|fake| fake.count(Op::Commit) >= commits).await;
            rig.fake.store([event(ID, version)]);
        }
    };
    rig.fake.always(Op::Commit, Fault::Slow(Duration::from_millis(10)));
    let answer = tokio::select! {
        () = rival => unreachable!("the rival never ends"),
        answer = rig.send(1, Add(1)) => answer,
    };
    let Err(ExecuteError::Conflict { attempts: 4, .. }) = &answer else {
        panic!("expected to give up after the first attempt and three more, got {answer:?}")
    };
    let ours = |fake: &Fake| fake.events(ID).iter().any(|e| e.metadata.fingerprint != "another");
    assert!(!ours(&rig.fake), "not done");
}

#[tokio::test(start_paused = true)]
async fn a_moved_fence_costs_one_more_commit_and_no_read() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.announced().await;
    rig.fake.set_fence(ID, Fence(Uuid::from_u128(0xF1)));
    rig.fake.forget_requests();
    accepted(&rig.send(2, Add(1)).await, &[2]);
    rig.announced().await;
    assert_eq!(rig.fake.requests(), [Op::Commit, Op::Commit, Op::Announce]);
    rig.fake.forget_requests();
    accepted(&rig.send(3, Add(1)).await, &[3]);
    assert_eq!(rig.fake.count(Op::Commit), 1, "the new fence is remembered");
}

#[tokio::test(start_paused = true)]
async fn the_fence_of_a_partition_without_events_is_seen() {
    let rig = rig().await;
    rig.fake.set_fence(ID, Fence(Uuid::from_u128(0xF1)));
    accepted(&rig.send(1, Add(1)).await, &[1]);
    assert_eq!(rig.fake.count(Op::Commit), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_command_gets_its_first_answer_also_after_a_restart() {
    let first = rig().await;
    let answer = first.send(1, AddEach(vec![1, 2])).await;
    accepted(&answer, &[1, 2]);
    accepted(&first.send(2, Add(1)).await, &[3]);
    let again = first.send(1, AddEach(vec![1, 2])).await;
    assert_eq!(versions(&again), (vec![1, 2], true));

    let second = over(Arc::clone(&first.fake), EventStoreConfig::default()).await;
    second.fake.forget_requests();
    let after_restart = second.send(1, AddEach(vec![1, 2])).await;
    assert_eq!(versions(&after_restart), (vec![1, 2], true));
    let ids = |answer: &crate::testing::Answer| {
        answer.as_ref().map(|outcome| outcome.events.clone()).unwrap_or_default()
    };
    assert_eq!(ids(&after_restart), ids(&answer));
    assert_eq!(second.fake.requests(), [Op::Read], "a replay rests on stored facts");
}

#[tokio::test(start_paused = true)]
async fn the_same_id_for_another_command_is_refused() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(1)).await, &[1]);
    let reused = rig.send(1, Add(2)).await;
    assert!(matches!(reused, Err(ExecuteError::CommandReused { .. })), "{reused:?}");
    assert_eq!(rig.fake.events(ID).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_id_for_another_command_is_refused_also_when_it_loses_the_race() {
    let first = rig().await;
    let second = over(Arc::clone(&first.fake), EventStoreConfig::default()).await;
    accepted(&first.send(1, Add(1)).await, &[1]);
    accepted(&second.send(2, Add(1)).await, &[2]);
    // The first process does not know of version 2 yet, nor of the id.
    let reused = first.send(2, Add(7)).await;
    assert!(matches!(reused, Err(ExecuteError::CommandReused { .. })), "{reused:?}");
    assert_eq!(first.fake.events(ID).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_processes_with_the_same_command_have_one_effect_and_one_answer() {
    let first = rig().await;
    let second = over(Arc::clone(&first.fake), EventStoreConfig::default()).await;
    // Both know the aggregate from before the command.
    accepted(&first.send(1, Add(1)).await, &[1]);
    accepted(&second.send(2, Add(1)).await, &[2]);
    accepted(&first.send(3, Add(1)).await, &[3]);
    first.fake.always(Op::Commit, Fault::Slow(Duration::from_millis(20)));
    let (one, other) = tokio::join!(first.send(4, Add(1)), second.send(4, Add(1)));
    assert_eq!(versions(&one).0, [4]);
    assert_eq!(versions(&other).0, [4]);
    assert_eq!(first.fake.events(ID).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_never_rests_on_the_cache() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(5)).await, &[1]);
    // The cached state refuses both; the stored one accepts them.
    rig.fake.store([event(ID, 2)]);
    accepted(&rig.send(2, AddFrom(6)).await, &[3]);
    rig.fake.store([event(ID, 4)]);
    let mut expects = request(3, Add(1));
    expects.expected_version = Some(v(4));
    accepted(&rig.store.execute(expects).await, &[5]);

    rig.fake.store([event(ID, 6)]);
    let unchanged = rig.send(4, RaiseTo(3)).await.expect("its effect is there already");
    assert_eq!((unchanged.version, unchanged.events.len()), (v(6), 0), "the version is not old");
}

#[tokio::test(start_paused = true)]
async fn a_stale_expected_version_is_told_the_actual_one() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.fake.store([event(ID, 2)]);
    let mut stale = request(2, Add(1));
    stale.expected_version = Some(v(7));
    match rig.store.execute(stale).await {
        Err(error @ ExecuteError::VersionMismatch { expected, actual }) => {
            assert_eq!((expected, actual), (v(7), v(2)));
            assert_eq!(error.effect(), Effect::NotDone);
        }
        other => panic!("expected a mismatch, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_remembered_of_a_refused_command() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(5)).await, &[1]);
    let refused = rig.send(2, AddBelow(5)).await;
    assert!(matches!(refused, Err(ExecuteError::Refused { .. })), "{refused:?}");
    let mut passes = request(2, Add(1));
    passes.fingerprint = "another".to_owned();
    accepted(&rig.store.execute(passes).await, &[2]);
}

#[tokio::test(start_paused = true)]
async fn recorded_times_never_go_back() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.now_ms.store(10, Ordering::SeqCst);
    accepted(&rig.send(2, Add(1)).await, &[2]);
    let restarted = over(Arc::clone(&rig.fake), EventStoreConfig::default()).await;
    restarted.now_ms.store(20, Ordering::SeqCst);
    accepted(&restarted.send(3, Add(1)).await, &[3]);
    let times: Vec<_> = rig.fake.events(ID).iter().map(|event| event.recorded_at.0).collect();
    assert_eq!(times, [1_000, 1_000, 1_000]);
}

#[tokio::test(start_paused = true)]
async fn a_long_history_is_loaded_to_its_beginning() {
    for history in [99, 100, 101, 250] {
        let rig = rig().await;
        rig.fake.store((1..=history).map(|version| event(ID, version)));
        accepted(&rig.send(1, Add(1)).await, &[history + 1]);
        // Every event counts one: the total is known only to who folded all of them.
        let refused = rig.send(2, AddBelow(history)).await;
        match refused {
            Err(ExecuteError::Refused { error, .. }) => assert_eq!(error.total, history + 1),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_the_history_stops_the_aggregate() {
    for history in [vec![2, 3], vec![1, 3], (1..150).chain(151..300).collect()] {
        let rig = rig().await;
        rig.fake.store(history.iter().map(|version| event(ID, *version)));
        let answer = rig.send(1, Add(1)).await;
        assert!(matches!(answer, Err(ExecuteError::Corrupt { .. })), "{history:?}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_not_what_it_was_stops_the_aggregate() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.fake.store([event(ID, 1), event(ID, 2)]);
    let answer = rig.send(2, Add(1)).await;
    assert!(matches!(answer, Err(ExecuteError::Corrupt { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn an_id_of_another_aggregate_type_is_told_apart() {
    let rig = rig().await;
    let mut other = event(ID, 1);
    other.aggregate_type = "order".to_owned();
    rig.fake.store([other]);
    let answer = rig.send(1, Add(1)).await;
    assert!(matches!(&answer, Err(ExecuteError::OtherType { found }) if found == "order"));
}
