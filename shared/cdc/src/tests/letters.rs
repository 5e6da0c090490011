//! Events that a consumer cannot handle: their aggregate waits, and nothing else does.

use super::ordering::{announcement, row, sequencer};
use super::world::{Life, Recorder, SAFETY, World, aggregate, millis, poison, seconds, transport};
use crate::config::CdcConfig;
use crate::consumer::{ErrorClass, HandleError};
use crate::error::EventName;
use crate::letters::{LetterState, Letters, Refusal};
use crate::ordering::{LaneKey, Sequencer};
use kernel::{RecordedEvent, Version};
use leases::Slot;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// Refuses one version of one aggregate until told otherwise.
#[derive(Clone)]
struct Poison {
    is_there: Arc<AtomicBool>,
    tries: Arc<AtomicUsize>,
}

impl Poison {
    fn new() -> Self {
        Self { is_there: Arc::new(AtomicBool::new(true)), tries: Arc::default() }
    }

    fn cure(&self) {
        self.is_there.store(false, Ordering::SeqCst);
    }

    fn tries(&self) -> usize {
        self.tries.load(Ordering::SeqCst)
    }

    /// A consumer that meets it.
    fn recorder(&self, world: &World, id: Uuid, version: u64) -> Recorder {
        self.meet(Recorder::new("c", world), id, version)
    }

    /// The same consumer in another process.
    fn again(&self, world: &World, id: Uuid, version: u64) -> Recorder {
        self.meet(Recorder::again("c", world), id, version)
    }

    fn meet(&self, recorder: Recorder, id: Uuid, version: u64) -> Recorder {
        let poison_ = self.clone();
        recorder.refusing(move |event| {
            if event.aggregate_id != id || event.version.0 != version {
                return None;
            }
            poison_.tries.fetch_add(1, Ordering::SeqCst);
            poison_.is_there.load(Ordering::SeqCst).then(|| poison("does not decode"))
        })
    }
}

async fn submit_all(sequencer: &Sequencer, events: &[RecordedEvent]) {
    for event in events {
        sequencer.submit(row(event)).await.expect("running");
    }
}

/// What happens before the first row of a slot is submitted; the only consumer is `c`.
async fn take_over(world: &World, sequencer: &Sequencer, slot: Slot, crashes: u32) {
    let found = Letters::load(world, "c", slot).await.expect("loaded").into_iter();
    let letters: Vec<_> = found
        .map(|(aggregate_id, letter)| (LaneKey { slot, aggregate_id, consumer: 0 }, letter))
        .collect();
    sequencer.close(slot).await;
    sequencer.open_slot(slot, crashes, letters);
}

/// Waits until the sequencer has nothing to do with an aggregate.
async fn settle(sequencer: &Sequencer, event: &RecordedEvent) {
    let settled = tokio::time::timeout(seconds(300), sequencer.settle(&announcement(event))).await;
    settled.expect("settled in time").expect("running");
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_waits_in_a_letter_and_all_other_aggregates_go_on() {
    for version in [1, 2, 4] {
        let world = World::new();
        let (bad, good) = (aggregate(1), aggregate(2));
        let poison = Poison::new();
        let consumers = vec![poison.recorder(&world, bad, version), Recorder::new("d", &world)];
        let sequencer = sequencer(&world, consumers, &CdcConfig::default());
        let events = world.commit(bad, 4);
        submit_all(&sequencer, &events).await;
        submit_all(&sequencer, &world.commit(good, 3)).await;
        world.settled("c", good, 3).await;
        world.settled("d", bad, 4).await;
        settle(&sequencer, &events[3]).await;
        let found = world.letter("c", bad).expect("a letter");
        assert_eq!((found.letter.version.0, found.letter.state), (version, LetterState::Blocked));
        assert_eq!(found.refusal.event, EventName::of(&events[version as usize - 1]));
        assert_eq!(found.refusal.class, ErrorClass::Poison);
        assert!(found.refusal.error.contains("does not decode"), "{}", found.refusal.error);
        assert_eq!(world.handled("c", bad), (1..version).collect::<Vec<_>>());
        assert_eq!(poison.tries(), 1);
        assert!(!sequencer.failed().is_cancelled());
        assert!(world.letter("d", bad).is_none(), "only its own consumer");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_later_waits_and_after_the_release_all_is_handled_in_order() {
    let world = World::new();
    let id = aggregate(1);
    let poison = Poison::new();
    let sequencer = sequencer(&world, vec![poison.recorder(&world, id, 2)], &CdcConfig::default());
    submit_all(&sequencer, &world.commit(id, 2)).await;
    for _ in 0..5 {
        let event = &world.commit(id, 1)[0];
        sequencer.submit(row(event)).await.expect("running");
        settle(&sequencer, event).await;
    }
    assert_eq!(world.handled("c", id), [1]);
    assert_eq!(poison.tries(), 1, "the letter is read instead");
    poison.cure();
    assert!(world.retry(&poison.again(&world, id, 2), id).await, "the letter is gone");
    assert_eq!(world.handled("c", id), [1, 2, 3, 4, 5, 6, 7]);
    // From here on the worker goes on, from the cursor that the retry left.
    let event = &world.commit(id, 1)[0];
    sequencer.submit(row(event)).await.expect("running");
    world.settled("c", id, 8).await;
    assert_eq!(world.handled("c", id), [1, 2, 3, 4, 5, 6, 7, 8]);
    let reads = world.count().letter_reads;
    submit_all(&sequencer, &world.commit(id, 3)).await;
    world.settled("c", id, 11).await;
    assert_eq!(world.count().letter_reads, reads, "nothing is asked any more");
}

#[tokio::test(start_paused = true)]
async fn the_letter_is_stored_before_anything_counts_as_settled() {
    let world = World::new();
    let id = aggregate(1);
    let sequencer =
        sequencer(&world, vec![Poison::new().recorder(&world, id, 1)], &CdcConfig::default());
    world.faults(|faults| faults.letters_are_down = true);
    let event = world.commit(id, 1).remove(0);
    let announcement = announcement(&event);
    let mut settling = std::pin::pin!(sequencer.settle(&announcement));
    tokio::time::timeout(seconds(60), &mut settling).await.expect_err("no letter yet");
    world.faults(|faults| faults.letters_are_down = false);
    settling.await.expect("settled");
    assert!(world.letter("c", id).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_checkpoint_moves_past_what_waits_and_a_retry_brings_it_all() {
    let world = World::new();
    let id = aggregate(1);
    let poison = Poison::new();
    let consumer = poison.recorder(&world, id, 2);
    let life = Life::with(&world, vec![consumer], CdcConfig::default());
    tokio::time::sleep(seconds(20)).await;
    world.append(id, 3);
    tokio::time::sleep(SAFETY + seconds(20)).await;
    let announced = world.now().minus(seconds(20));
    assert!(world.checkpoint(world.slot_of(id)).expect("stored").time > announced);
    life.end().await;
    // In another life the log is read from behind those events.
    poison.cure();
    let life = Life::with(&world, vec![poison.again(&world, id, 2)], CdcConfig::default());
    world.append(id, 1);
    tokio::time::sleep(SAFETY + seconds(20)).await;
    assert_eq!(world.handled("c", id), [1]);
    assert!(world.retry(&poison.again(&world, id, 2), id).await);
    assert_eq!(world.handled("c", id), [1, 2, 3, 4]);
    world.append(id, 1);
    world.settled("c", id, 5).await;
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_takeover_loads_letters_and_does_not_try_their_events() {
    let world = World::new();
    let id = aggregate(1);
    let poison = Poison::new();
    let first = sequencer(&world, vec![poison.recorder(&world, id, 2)], &CdcConfig::default());
    let events = world.commit(id, 3);
    submit_all(&first, &events).await;
    settle(&first, &events[2]).await;
    assert!(first.stop().await.is_none());

    let second = sequencer(&world, vec![poison.again(&world, id, 2)], &CdcConfig::default());
    take_over(&world, &second, world.slot_of(id), 0).await;
    let cursor_reads = world.count().cursor_reads;
    submit_all(&second, &events[1..]).await;
    settle(&second, &events[2]).await;
    assert_eq!(poison.tries(), 1);
    assert_eq!(world.count().cursor_reads, cursor_reads, "the letter says enough");
    // An announcement that is older than the letter: its cursor says that it was handled.
    settle(&second, &events[0]).await;
    assert_eq!(world.handled("c", id), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_takeover_finishes_what_was_released() {
    let world = World::new();
    let id = aggregate(1);
    let recorder = Recorder::new("c", &world);
    world.append(id, 5);
    let event = EventName::unread(id, Version(1));
    let refusal = Refusal { event, class: ErrorClass::Poison, error: "once".to_owned() };
    world.put_letter("c", id, refusal, LetterState::Released);
    let sequencer = sequencer(&world, vec![recorder], &CdcConfig::default());
    take_over(&world, &sequencer, world.slot_of(id), 0).await;
    world.settled("c", id, 5).await;
    while world.letter("c", id).is_some() {
        tokio::time::sleep(millis(1)).await;
    }
    assert_eq!(world.handled("c", id), [1, 2, 3, 4, 5]);
    assert!(sequencer.stop().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn poison_while_a_release_is_finished_blocks_again() {
    let world = World::new();
    let id = aggregate(1);
    let poison = Poison::new();
    let recorder = poison.recorder(&world, id, 3);
    world.append(id, 5);
    let event = EventName::unread(id, Version(1));
    let refusal = Refusal { event, class: ErrorClass::Poison, error: "once".to_owned() };
    world.put_letter("c", id, refusal, LetterState::Released);
    let sequencer = sequencer(&world, vec![recorder], &CdcConfig::default());
    take_over(&world, &sequencer, world.slot_of(id), 0).await;
    while world.letter("c", id).is_none_or(|found| found.letter.version.0 != 3) {
        tokio::time::sleep(millis(1)).await;
    }
    assert!(sequencer.stop().await.is_none());
    let found = world.letter("c", id).expect("a letter");
    assert_eq!((found.letter.version.0, found.letter.state), (3, LetterState::Blocked));
    assert_eq!(world.handled("c", id), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_an_event_is_tried_again_and_found_in_its_letter() {
    let world = World::new();
    let refused: Arc<Mutex<HashSet<Uuid>>> = Arc::default();
    let refusing = refused.clone();
    let consumer = Recorder::new("c", &world).refusing(move |event| {
        let is_refused = refusing.lock().expect("no panic").contains(&event.aggregate_id);
        is_refused.then(|| poison("does not decode"))
    });
    let config = CdcConfig { blocked_aggregates_max: 1, ..CdcConfig::default() };
    let sequencer = sequencer(&world, vec![consumer], &config);
    let ids = [aggregate(1), aggregate(2), aggregate(3)];
    refused.lock().expect("no panic").extend(ids);
    for _ in 0..3 {
        for id in ids {
            let event = &world.commit(id, 1)[0];
            settle(&sequencer, event).await;
        }
    }
    for id in ids {
        assert_eq!(world.letter("c", id).expect("a letter").letter.version.0, 1);
        assert_eq!(world.handled("c", id), [0_u64; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_waits_under_its_own_version() {
    let world = World::new();
    let id = aggregate(1);
    let sequencer = sequencer(&world, vec![Recorder::new("c", &world)], &CdcConfig::default());
    let events = world.commit(id, 6);
    world.corrupt(id, 4, true);
    // Only the last one is announced, without content.
    settle(&sequencer, &events[5]).await;
    let found = world.letter("c", id).expect("a letter");
    assert_eq!(found.letter.version.0, 4);
    assert_eq!((found.refusal.event.event_id, &found.refusal.event.event_type), (None, &None));
    assert_eq!(world.handled("c", id), [1, 2, 3]);
    assert!(!world.retry(&Recorder::again("c", &world), id).await, "still unreadable");
    world.corrupt(id, 4, false);
    assert!(world.retry(&Recorder::again("c", &world), id).await);
    assert_eq!(world.handled("c", id), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_consumer_is_the_events_own() {
    let world = World::new();
    let (bad, good) = (aggregate(1), aggregate(2));
    let consumer = Recorder::new("c", &world).refusing(move |event| {
        assert!(event.aggregate_id != bad, "announced by the test");
        None
    });
    let sequencer = sequencer(&world, vec![consumer], &CdcConfig::default());
    let event = world.commit(bad, 1).remove(0);
    submit_all(&sequencer, std::slice::from_ref(&event)).await;
    submit_all(&sequencer, &world.commit(good, 1)).await;
    world.settled("c", good, 1).await;
    settle(&sequencer, &event).await;
    let found = world.letter("c", bad).expect("a letter");
    assert!(found.refusal.error.contains("announced by the test"), "{}", found.refusal.error);
    assert!(!sequencer.failed().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn who_alone_cannot_be_reached_gets_a_letter_of_class_transport() {
    let world = World::new();
    let (bad, good) = (aggregate(1), aggregate(2));
    let consumer = Recorder::new("c", &world)
        .refusing(move |event| (event.aggregate_id == bad).then(|| transport("too large")));
    let config = CdcConfig { lonely_failures_max: 4, ..CdcConfig::default() };
    let sequencer = sequencer(&world, vec![consumer], &config);
    let event = world.commit(bad, 1).remove(0);
    submit_all(&sequencer, std::slice::from_ref(&event)).await;
    // Nobody passes: it may be an outage, so nothing is written down.
    tokio::time::sleep(seconds(600)).await;
    assert!(world.letter("c", bad).is_none());
    while world.letter("c", bad).is_none() {
        submit_all(&sequencer, &world.commit(good, 1)).await;
        tokio::time::sleep(seconds(1)).await;
        assert!(world.tails().iter().all(|(_, tail)| *tail < 100), "no letter");
    }
    settle(&sequencer, &event).await;
    assert_eq!(world.letter("c", bad).expect("a letter").refusal.class, ErrorClass::Transport);
}

#[tokio::test(start_paused = true)]
async fn a_few_that_cannot_be_reached_get_letters_and_others_go_on() {
    let world = World::new();
    let (bad, worse, good) = (aggregate(1), aggregate(2), aggregate(3));
    let consumer = Recorder::new("c", &world)
        .refusing(move |event| (event.aggregate_id != good).then(|| transport("too large")));
    let config = CdcConfig { lonely_failures_max: 4, ..CdcConfig::default() };
    let sequencer = sequencer(&world, vec![consumer], &config);
    let events = [bad, worse].map(|id| world.commit(id, 1).remove(0));
    submit_all(&sequencer, &events).await;
    while world.letters_of("c").len() < 2 {
        submit_all(&sequencer, &world.commit(good, 1)).await;
        tokio::time::sleep(seconds(1)).await;
        assert!(world.tails().iter().all(|(_, tail)| *tail < 100), "no letters");
    }
    for event in &events {
        // The confirm pass need not wait for them.
        settle(&sequencer, event).await;
        let letter = world.letter("c", event.aggregate_id).expect("a letter");
        assert_eq!(letter.refusal.class, ErrorClass::Transport);
    }
}

#[tokio::test(start_paused = true)]
async fn while_as_many_fail_as_open_the_breaker_there_are_no_letters() {
    let world = World::new();
    let config = CdcConfig { lonely_failures_max: 2, ..CdcConfig::default() };
    let several = config.breaker.failing_keys_min;
    let good = aggregate(99);
    let consumer = Recorder::new("c", &world)
        .refusing(move |event| (event.aggregate_id != good).then(|| transport("down")));
    let sequencer = sequencer(&world, vec![consumer], &config);
    for bad in 1..=several {
        submit_all(&sequencer, &world.commit(aggregate(bad.into()), 1)).await;
    }
    for _ in 0..200 {
        submit_all(&sequencer, &world.commit(good, 1)).await;
        tokio::time::sleep(seconds(1)).await;
    }
    assert!(world.letters_of("c").is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_two_crashes_suspects_are_handled_one_at_a_time_and_recorded_first() {
    let world = World::new();
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let ids: Vec<_> = (0..200).map(aggregate).filter(|id| world.slot_of(*id) == Slot(1)).collect();
    let ids = &ids[..9];
    let (counting, seen, asked) = (running.clone(), most.clone(), world.clone());
    let consumer = Recorder::new("c", &world).taking(millis(10)).refusing(move |event| {
        // Called in the middle of the handling, of which the recorder takes the time before.
        seen.fetch_max(counting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        counting.fetch_sub(1, Ordering::SeqCst);
        let recorded = asked.attempts("c", event.aggregate_id, event.version.0);
        assert!(recorded <= 1, "recorded once");
        None
    });
    let config = CdcConfig { aggregates_in_parallel_max: 4, ..CdcConfig::default() };
    let sequencer = sequencer(&world, vec![consumer], &config);
    take_over(&world, &sequencer, Slot(1), 2).await;
    let began = tokio::time::Instant::now();
    for id in ids {
        submit_all(&sequencer, &world.commit(*id, 1)).await;
    }
    for id in ids {
        world.settled("c", *id, 1).await;
    }
    let recorded = ids.iter().filter(|id| world.attempts("c", **id, 1) == 1).count();
    assert_eq!(recorded, 4, "as many suspects as run in parallel");
    // Four of them one after the other.
    assert!(began.elapsed() >= millis(40), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_event_of_which_processes_died_too_often_goes_into_a_letter() {
    let world = World::new();
    let id = aggregate(1);
    let slot = world.slot_of(id);
    let event = world.commit(id, 1).remove(0);
    let config = CdcConfig { crash_attempts_max: 3, ..CdcConfig::default() };
    let hangs = Arc::new(AtomicBool::new(true));
    drop(Recorder::new("c", &world));
    for attempt in 1..=3 {
        let consumer = Recorder::again("c", &world).taking(seconds(1_000_000));
        let sequencer = sequencer(&world, vec![consumer], &config);
        take_over(&world, &sequencer, slot, 1 + attempt).await;
        submit_all(&sequencer, std::slice::from_ref(&event)).await;
        while world.attempts("c", id, 1) < attempt {
            tokio::time::sleep(millis(1)).await;
        }
        // The process dies here: its sequencer is never heard of again.
        hangs.store(false, Ordering::SeqCst);
    }
    let consumer = Recorder::again("c", &world).taking(seconds(1_000_000));
    let sequencer = sequencer(&world, vec![consumer], &config);
    take_over(&world, &sequencer, slot, 5).await;
    settle(&sequencer, &event).await;
    let found = world.letter("c", id).expect("a letter");
    assert!(found.refusal.error.contains("3 times"), "{}", found.refusal.error);
}

#[tokio::test(start_paused = true)]
async fn trying_a_suspect_again_is_not_another_crash() {
    let world = World::new();
    let id = aggregate(1);
    let event = world.commit(id, 1).remove(0);
    let left = Arc::new(AtomicUsize::new(20));
    let consumer = Recorder::new("c", &world).refusing(move |_| {
        let refuses = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        refuses.is_ok().then(|| -> HandleError { transport("down") })
    });
    let sequencer = sequencer(&world, vec![consumer], &CdcConfig::default());
    take_over(&world, &sequencer, world.slot_of(id), 2).await;
    submit_all(&sequencer, std::slice::from_ref(&event)).await;
    world.settled("c", id, 1).await;
    assert!(world.letter("c", id).is_none());
}
