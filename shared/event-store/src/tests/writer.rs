//! The writer's row: no commit without a fresh heartbeat, and what follows a death certificate.

use crate::error::ExecuteError;
use crate::ids::Counter;
use crate::testing::{Fault, ID, Op, TallyCommand, accepted, rig};
use std::time::Duration;

use TallyCommand::Add;

#[tokio::test(start_paused = true)]
async fn heartbeats_go_on_and_name_the_open_buckets() {
    let rig = rig().await;
    let counter = || rig.fake.writers().values().next().map(|row| row.counter);
    assert_eq!(counter(), Some(Counter(1)));
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert_eq!(counter(), Some(Counter(11)), "one every two seconds");

    rig.fake.always(Op::Announce, Fault::Dropped);
    accepted(&rig.send(1, Add(1)).await, &[1]);
    let bucket = rig.fake.intents()[0].bucket;
    for id in 2..40 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.send(id, Add(1)).await.expect("accepted");
        let intent = rig.fake.intents().last().cloned().expect("an intent");
        let row = rig.fake.writers().into_values().next().expect("a row");
        assert_eq!(row.oldest_bucket, bucket, "the first append is not announced");
        assert!(intent.bucket <= row.newest_bucket, "{intent:?} before {row:?}");
    }
    rig.fake.always(Op::Announce, Fault::None);
    rig.announced().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let row = rig.fake.writers().into_values().next().expect("a row");
    assert!(row.oldest_bucket > bucket, "{row:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_fresh_heartbeat_nothing_is_committed() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.fake.always(Op::Heartbeat, Fault::Dropped);
    tokio::time::sleep(Duration::from_secs(6)).await;
    rig.fake.forget_requests();
    let answer = rig.send(2, Add(1)).await;
    assert!(matches!(answer, Err(ExecuteError::Unavailable { .. })), "{answer:?}");
    assert_eq!(rig.fake.count(Op::Commit), 0);
    rig.fake.always(Op::Heartbeat, Fault::None);
    accepted(&rig.send(3, Add(1)).await, &[2]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_grew_old_during_the_intent_does_not_do() {
    let rig = rig().await;
    rig.fake.always(Op::Heartbeat, Fault::Dropped);
    rig.fake.script(Op::Intent, [Fault::Slow(Duration::from_secs(6))]);
    let answer = rig.send(1, Add(1)).await;
    assert!(matches!(answer, Err(ExecuteError::Unavailable { .. })), "{answer:?}");
    assert_eq!((rig.fake.count(Op::Intent), rig.fake.count(Op::Commit)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_heartbeat_counts_from_its_first_sending() {
    for (wait_ms, fresh) in [(4_500, true), (5_500, false)] {
        let rig = rig().await;
        tokio::time::sleep(Duration::from_millis(1_900)).await;
        // The next heartbeat lands unanswered; three seconds later the database answers once more.
        rig.fake.script(Op::Heartbeat, [Fault::Unanswered]);
        rig.fake.always(Op::Heartbeat, Fault::Dropped);
        tokio::time::sleep(Duration::from_secs(3)).await;
        rig.fake.script(Op::Heartbeat, [Fault::None]);
        tokio::time::sleep(Duration::from_millis(wait_ms - 2_900)).await;
        assert_eq!(rig.fake.writers().len(), 1, "the row is recognised as our own");
        let answer = rig.send(1, Add(1)).await;
        assert_eq!(answer.is_ok(), fresh, "{wait_ms} ms after it was sent: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_declared_dead_starts_anew_with_new_intents() {
    let rig = rig().await;
    rig.fake.always(Op::Announce, Fault::Dropped);
    accepted(&rig.send(1, Add(1)).await, &[1]);
    let old = *rig.fake.writers().keys().next().expect("a writer");
    rig.fake.declare_dead(old);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let writers = rig.fake.writers();
    assert_eq!(writers.len(), 2, "{writers:?}");
    accepted(&rig.send(2, Add(1)).await, &[2]);
    let intent = rig.fake.intents().last().cloned().expect("an intent");
    assert_ne!(intent.writer, old);
    assert_eq!((intent.aggregate_id, intent.after.0), (ID, 1));
    rig.fake.always(Op::Announce, Fault::None);
    rig.announced().await;
    assert_eq!(rig.fake.announced_versions(ID), [1, 2], "what the dead one held is announced");
}

#[tokio::test(start_paused = true)]
async fn a_commit_waits_for_the_new_writer_when_the_old_one_dies_meanwhile() {
    let rig = rig().await;
    let old = *rig.fake.writers().keys().next().expect("a writer");
    rig.fake.script(Op::Intent, [Fault::Slow(Duration::from_secs(3))]);
    let declared = async {
        rig.fake.until(|fake| fake.count(Op::Intent) == 1).await;
        rig.fake.declare_dead(old);
    };
    let (answer, ()) = tokio::join!(rig.send(1, Add(1)), declared);
    accepted(&answer, &[1]);
    let writers: Vec<_> = rig.fake.intents().iter().map(|intent| intent.writer).collect();
    assert_eq!(writers.len(), 2, "a new intent under the new writer");
    assert_ne!(writers[1], old);
}
