//! Commits without a certain answer: whatever happened, the caller hears the truth.

use crate::config::EventStoreConfig;
use crate::error::{Effect, ExecuteError};
use crate::testing::{Answer, Fake, Fault, ID, Op, Rig, TallyCommand, accepted, event, over, rig};
use std::sync::Arc;
use std::time::Duration;

use TallyCommand::{Add, AddEach};

/// After everything that was late has landed: an accepted command has its events exactly once, all
/// announced; one that was not done has none.
async fn check(rig: &Rig, answer: &Answer, command_events: usize, case: &str) {
    rig.fake.land_everything();
    let stored = rig.fake.events(ID);
    let versions: Vec<_> = stored.iter().map(|event| event.version.0).collect();
    let gapless: Vec<_> = (1..=stored.len() as u64).collect();
    assert_eq!(versions, gapless, "{case}");
    let ours = stored.iter().filter(|e| e.metadata.fingerprint != "another").count();
    match answer {
        Ok(_) => {
            assert_eq!(ours, command_events, "{case}: accepted");
            rig.fake.until(|fake| fake.announced_versions(ID).len() >= command_events).await;
        }
        Err(error) => {
            assert_eq!(error.effect(), Effect::NotDone, "{case}: {error:?}");
            assert_eq!(ours, 0, "{case}: {error:?} says not done");
        }
    }
}

const COMMIT_FAULTS: [Fault; 7] = [
    Fault::None,
    Fault::Refused,
    Fault::Dropped,
    Fault::Unanswered,
    Fault::Late(1),
    Fault::Late(2),
    Fault::Late(3),
];

#[tokio::test(start_paused = true)]
async fn every_sequence_of_faults_ends_in_the_truth() {
    let all = COMMIT_FAULTS;
    for number in 0..all.len().pow(3) {
        let nth = |place: u32| all[number / all.len().pow(place) % all.len()];
        let (a, b, c) = (nth(0), nth(1), nth(2));
        for fence in [Fault::None, Fault::Dropped, Fault::Unanswered, Fault::Late(2)] {
            let case = format!("commit {a:?} {b:?} {c:?}, fence {fence:?}");
            let config = EventStoreConfig { commit_resends_max: 1, ..Default::default() };
            let rig = over(Fake::new(), config).await;
            rig.fake.script(Op::Commit, [a, b, c]);
            rig.fake.script(Op::MoveFence, [fence]);
            let answer = rig.send(1, AddEach(vec![1, 2])).await;
            check(&rig, &answer, 2, &case).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn faults_during_a_race_end_in_the_truth() {
    for fault in COMMIT_FAULTS {
        for serial in [Fault::None, Fault::Dropped] {
            let case = format!("{fault:?}, look {serial:?}");
            let rig = rig().await;
            rig.fake.store([event(ID, 1)]);
            accepted(&rig.send(9, Add(1)).await, &[2]);
            rig.fake.script(Op::Commit, [fault]);
            rig.fake.script(Op::SerialRead, [serial]);
            let before = rig.fake.count(Op::Commit);
            let rival = async {
                rig.fake.until(|fake| fake.count(Op::Commit) > before).await;
                if rig.fake.events(ID).len() == 2 {
                    rig.fake.store([event(ID, 3)]);
                }
            };
            let (answer, ()) = tokio::join!(rig.send(1, Add(1)), rival);
            rig.fake.land_everything();
            let stored = rig.fake.events(ID);
            let ours = stored.iter().filter(|e| e.metadata.fingerprint == "Add(1)").count();
            assert!(answer.is_ok(), "{case}: {answer:?}");
            assert_eq!(ours, 2, "{case}: the first command and this one");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_commit_that_landed_is_found_and_announced() {
    let rig = rig().await;
    rig.fake.script(Op::Commit, [Fault::Unanswered]);
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.announced().await;
    assert_eq!((rig.fake.count(Op::Commit), rig.fake.count(Op::SerialRead)), (1, 1));
    accepted(&rig.send(2, Add(1)).await, &[2]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_commit_is_sent_again_with_the_same_ids() {
    let rig = rig().await;
    rig.fake.script(Op::Commit, [Fault::Dropped]);
    accepted(&rig.send(1, Add(1)).await, &[1]);
    assert_eq!(rig.fake.count(Op::Commit), 2);
    assert_eq!(rig.fake.count(Op::MoveFence), 0);
}

#[tokio::test(start_paused = true)]
async fn another_process_may_finish_what_this_one_does_not_know() {
    // The first process's commit is on its way for long; the client turns to the second one.
    let first = rig().await;
    let second = over(Arc::clone(&first.fake), EventStoreConfig::default()).await;
    first.fake.script(Op::Commit, [Fault::Late(5)]);
    first.fake.script(Op::SerialRead, [Fault::Slow(Duration::from_secs(1))]);
    let (one, other) = tokio::join!(first.send(1, Add(1)), async {
        first.fake.until(|fake| fake.count(Op::SerialRead) == 1).await;
        second.send(1, Add(1)).await
    });
    first.fake.land_everything();
    assert_eq!(first.fake.events(ID).len(), 1);
    let outcomes = [one, other].map(|answer| answer.expect("both are told that it is done"));
    assert_eq!(outcomes[0].events, outcomes[1].events);
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_unknown_and_the_same_id_settles_it() {
    for lands in [false, true] {
        let rig = rig().await;
        accepted(&rig.send(9, Add(1)).await, &[1]);
        rig.announced().await;
        rig.fake.dark(true);
        rig.fake.script(Op::Commit, [if lands { Fault::Unanswered } else { Fault::Dropped }]);
        let answer = rig.send(1, Add(1)).await;
        match &answer {
            Err(error @ ExecuteError::Unknown { .. }) => {
                assert_eq!(error.effect(), Effect::Unknown);
            }
            other => panic!("expected an unknown outcome, got {other:?}"),
        }
        // While the first sending is at work, nobody may say "not done".
        let again = rig.send(1, Add(1)).await;
        assert!(matches!(again, Err(ExecuteError::Unknown { .. })), "{again:?}");
        rig.fake.dark(false);
        let settled = rig.send(1, Add(1)).await.expect("the same id settles it");
        assert_eq!(settled.replayed, lands);
        assert_eq!(rig.fake.events(ID).len(), 2);
        rig.announced().await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_callers_wait_nothing_is_sent_any_more_but_a_fence() {
    let rig = rig().await;
    rig.fake.dark(true);
    rig.fake.always(Op::Read, Fault::None);
    rig.fake.always(Op::Intent, Fault::None);
    rig.fake.always(Op::Heartbeat, Fault::None);
    let answer = rig.send(1, Add(1)).await;
    assert!(matches!(answer, Err(ExecuteError::Unknown { .. })), "{answer:?}");
    let commits = rig.fake.count(Op::Commit);
    rig.fake.dark(false);
    rig.fake.until(|fake| fake.count(Op::MoveFence) > 0).await;
    rig.store.close().await;
    assert_eq!(rig.fake.count(Op::Commit), commits);
    rig.fake.land_everything();
    assert!(rig.fake.events(ID).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_wait_runs_out_before_anything_was_sent_is_told_not_done() {
    let rig = rig().await;
    rig.fake.always(Op::Intent, Fault::Slow(Duration::from_secs(11)));
    let answer = rig.send(1, Add(1)).await;
    let Err(error @ ExecuteError::Unavailable { .. }) = &answer else {
        panic!("expected unavailable, got {answer:?}")
    };
    assert_eq!(error.effect(), Effect::NotDone);
    rig.store.close().await;
    assert_eq!(rig.fake.count(Op::Commit), 0, "nothing is sent after that was said");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_changes_nothing() {
    for after in [Op::Read, Op::Intent, Op::Commit, Op::Announce] {
        let rig = rig().await;
        for op in [Op::Read, Op::Intent, Op::Commit, Op::Announce] {
            rig.fake.always(op, Fault::Slow(Duration::from_millis(50)));
        }
        let command = rig.send(1, Add(1));
        let hung_up = rig.fake.until(|fake| fake.count(after) > 0);
        tokio::select! {
            biased;
            () = hung_up => {}
            answer = command => assert_eq!(after, Op::Announce, "answered too early: {answer:?}"),
        }
        rig.store.close().await;
        assert_eq!(rig.fake.events(ID).len(), 1, "hung up at {after:?}");
        assert_eq!(rig.fake.announced_versions(ID), [1], "hung up at {after:?}");
    }
}
