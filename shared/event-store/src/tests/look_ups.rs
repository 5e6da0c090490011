//! What became of a command, asked of this process or of another.

use crate::config::EventStoreConfig;
use crate::error::ExecuteError;
use crate::look_up::LookUp;
use crate::testing::{
    Fake, Fault, ID, Op, Rig, Tally, TallyCommand, accepted, event, over, request, rig, v,
};
use futures::FutureExt;
use kernel::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use TallyCommand::{Add, AddEach};

async fn look_up(rig: &Rig, ids: &[u128]) -> LookUp {
    let ids: Vec<_> = ids.iter().map(|id| Uuid::from_u128(*id)).collect();
    rig.store.look_up::<Tally>(ID, &ids).await.expect("an answer")
}

#[track_caller]
fn done(found: &LookUp) -> Vec<u64> {
    match found {
        LookUp::Done(outcome) => outcome.events.iter().map(|event| event.version.0).collect(),
        LookUp::NotFound { version } => panic!("not found at version {version}"),
    }
}

#[tokio::test(start_paused = true)]
async fn another_process_finds_the_command_or_says_at_which_version_it_does_not() {
    let first = rig().await;
    let second = over(Arc::clone(&first.fake), EventStoreConfig::default()).await;
    let missing = |version| LookUp::NotFound { version: v(version) };
    assert_eq!(look_up(&second, &[1]).await, missing(0));
    accepted(&first.send(1, AddEach(vec![1, 2])).await, &[1, 2]);
    assert_eq!(done(&look_up(&second, &[1]).await), [1, 2]);
    assert_eq!(look_up(&second, &[2]).await, missing(2));
    accepted(&first.send(2, Add(1)).await, &[3]);
    assert_eq!(done(&look_up(&second, &[7, 2]).await), [3], "any of several ids");
    assert_eq!(done(&look_up(&second, &[1]).await), [1, 2]);
    assert_eq!(look_up(&first, &[7]).await, missing(3));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_decided_but_not_acknowledged_is_found() {
    let rig = rig().await;
    let second = over(Arc::clone(&rig.fake), EventStoreConfig::default()).await;
    rig.fake.script(Op::Commit, [Fault::Late(1)]);
    rig.fake.script(Op::SerialRead, [Fault::Slow(Duration::from_secs(1))]);
    let (answer, found) = tokio::join!(rig.send(1, Add(1)), async {
        rig.fake.until(|fake| fake.count(Op::Commit) == 1).await;
        rig.fake.script(Op::SerialRead, [Fault::None]);
        look_up(&second, &[1]).await
    });
    accepted(&answer, &[1]);
    assert_eq!(done(&found), [1], "a read at SERIAL finishes it");
}

#[tokio::test(start_paused = true)]
async fn what_this_process_is_resolving_is_certain_first() {
    let rig = rig().await;
    rig.fake.script(Op::Commit, [Fault::Unanswered]);
    rig.fake.script(Op::SerialRead, [Fault::Dropped, Fault::Dropped]);
    let mut sent = rig.send(1, Add(1)).boxed_local();
    assert!((&mut sent).now_or_never().is_none());
    let (found, answer) = tokio::join!(look_up(&rig, &[1]), sent);
    accepted(&answer, &[1]);
    assert_eq!(done(&found), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_has_a_bound_and_leaves_what_it_could_not_read() {
    let rig = rig().await;
    accepted(&rig.send(1, Add(1)).await, &[1]);
    rig.fake.dark(true);
    let failed = rig.store.look_up::<Tally>(ID, &[Uuid::from_u128(1)]).await;
    assert!(matches!(failed, Err(ExecuteError::Unavailable { .. })), "{failed:?}");
    rig.fake.dark(false);
    assert_eq!(done(&look_up(&rig, &[1]).await), [1]);
    accepted(&rig.send(2, Add(1)).await, &[2]);
}

#[tokio::test(start_paused = true)]
async fn commands_are_found_for_as_long_as_they_are_remembered() {
    let fake = Fake::new();
    let mut late = event(ID, 2);
    late.recorded_at = Timestamp(25 * 60 * 60 * 1000);
    fake.store([event(ID, 1), late]);
    let rig = over(fake, EventStoreConfig::default()).await;
    let ids = [1, 2].map(|version| event(ID, version).metadata.command_id.as_u128());
    assert_eq!(look_up(&rig, &ids[..1]).await, LookUp::NotFound { version: v(2) });
    assert_eq!(done(&look_up(&rig, &ids[1..]).await), [2]);
    let mut elsewhere = request(3, Add(1));
    elsewhere.aggregate_id = Uuid::from_u128(0xB);
    rig.store.execute(elsewhere).await.expect("accepted");
    assert_eq!(look_up(&rig, &[3]).await, LookUp::NotFound { version: v(2) });
}
