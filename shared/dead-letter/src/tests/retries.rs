//! What becomes of one letter, step by step.

use super::world::{Fault, Life, SLOT, World, aggregate, config, key, unreadable, wait_for};
use crate::letter::Stored;
use crate::{RetrierError, RetryConfig};
use cdc::{ErrorClass, LetterState};
use leases::Slot;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

const POISON: Option<Fault> = Some(Fault::Fails(ErrorClass::Poison));
const TRANSPORT: Option<Fault> = Some(Fault::Fails(ErrorClass::Transport));

/// An aggregate with `events` events of which the worker met the poisoned `version`.
async fn blocked_at(world: &World, id: Uuid, version: u64, events: u64) {
    world.fault(id, version, POISON);
    for _ in 0..events {
        let version = world.commit(id);
        world.worker_sees(id, version).await;
    }
    let letter = world.letter(id).expect("a letter");
    assert_eq!((letter.version.0, letter.state), (version, LetterState::Blocked));
    assert_eq!((letter.attempts, letter.class), (1, ErrorClass::Poison));
    assert_eq!(world.cursor_now(id), version - 1);
}

#[tokio::test(start_paused = true)]
async fn a_repaired_event_and_all_behind_it_are_handled_in_order_and_the_letter_goes() {
    for poisoned in [1, 2, 4] {
        let world = World::new();
        let id = aggregate(1);
        blocked_at(&world, id, poisoned, 4).await;
        assert_eq!(world.tries(id, poisoned), 1, "what waits is not tried");
        let life = Life::start(&world);
        wait_for("a second attempt", || world.tries(id, poisoned) >= 3).await;
        assert_eq!(world.cursor_now(id), poisoned - 1);
        world.fault(id, poisoned, None);
        wait_for("the letter to go", || world.letters() == 0).await;
        assert_eq!(world.effects(id), [1, 2, 3, 4]);
        life.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn poison_is_parked_after_its_last_attempt_and_then_left_alone() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 2, 3).await;
    let life = Life::start(&world);
    let is_parked = || world.letter(id).expect("a letter").state == LetterState::Parked;
    wait_for("the letter to be parked", is_parked).await;
    let letter = world.letter(id).expect("a letter");
    assert_eq!((letter.attempts, world.tries(id, 2)), (4, 4));
    assert!(letter.error.contains("as the test asked"), "{}", letter.error);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.tries(id, 2), 4);
    let version = world.commit(id);
    world.worker_sees(id, version).await;
    assert_eq!(world.effects(id), [1], "parked blocks as well");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_up_to_their_bound() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 1, 1).await;
    let config = RetryConfig { attempts_max: 1_000, ..config() };
    let life = Life::with(&world, config);
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(4_000)).await;
    // Between zero and eight seconds each, plus the time until a scan sees the change.
    let tries = world.tries(id, 1);
    assert!((700..1_400).contains(&tries), "{tries} in {:?}", began.elapsed());
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_for_ever_and_does_not_use_up_attempts() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 1, 1).await;
    world.fault(id, 1, TRANSPORT);
    let life = Life::start(&world);
    wait_for("twenty attempts", || world.tries(id, 1) >= 20).await;
    let letter = world.letter(id).expect("a letter");
    assert_eq!((letter.state, letter.class), (LetterState::Blocked, ErrorClass::Poison));
    assert!(letter.attempts <= 2, "{}", letter.attempts);
    // Poison again: it still has its attempts.
    world.fault(id, 1, POISON);
    let before = world.tries(id, 1);
    let is_parked = || world.letter(id).expect("a letter").state == LetterState::Parked;
    wait_for("the letter to be parked", is_parked).await;
    assert!(world.tries(id, 1) - before >= 3, "{} more", world.tries(id, 1) - before);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn poison_behind_the_head_becomes_the_new_head() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 2, 4).await;
    world.fault(id, 4, POISON);
    world.fault(id, 2, None);
    let life = Life::start(&world);
    wait_for("the new head", || world.letter(id).expect("a letter").version.0 == 4).await;
    let letter = world.letter(id).expect("a letter");
    assert_eq!((letter.state, letter.attempts), (LetterState::Blocked, 1));
    assert_eq!(world.effects(id), [1, 2, 3]);
    world.fault(id, 4, None);
    wait_for("the letter to go", || world.letters() == 0).await;
    assert_eq!(world.effects(id), [1, 2, 3, 4]);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_kills_whoever_tries_it_is_parked() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 2, 2).await;
    world.fault(id, 2, Some(Fault::Hangs));
    for life in 2..=4 {
        let killed = Life::start(&world);
        wait_for("the event to be in hand", || world.tries(id, 2) == life).await;
        drop(killed);
        tokio::task::yield_now().await;
        assert_eq!(world.letter(id).expect("a letter").attempts, life);
    }
    let life = Life::start(&world);
    let is_parked = || world.letter(id).expect("a letter").state == LetterState::Parked;
    wait_for("the letter to be parked", is_parked).await;
    assert_eq!(world.tries(id, 2), 4, "not tried once more");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_kills_behind_a_handled_head_is_parked_under_its_own_version() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 2, 3).await;
    world.fault(id, 2, None);
    world.fault(id, 3, Some(Fault::Hangs));
    for _ in 0..8 {
        let killed = Life::start(&world);
        let before = world.tries(id, 3);
        let is_over = || {
            world.tries(id, 3) > before
                || world.letter(id).expect("a letter").state == LetterState::Parked
        };
        wait_for("an attempt or the end of them", is_over).await;
        drop(killed);
        tokio::task::yield_now().await;
    }
    let letter = world.letter(id).expect("a letter");
    assert_eq!((letter.state, letter.version.0), (LetterState::Parked, 3));
    assert!(world.tries(id, 3) <= 5, "{}", world.tries(id, 3));
    assert_eq!(world.effects(id), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn being_asked_to_stop_is_no_attempt() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 1, 30).await;
    world.fault(id, 1, None);
    world.unkind(200, 0);
    let life = Life::start(&world);
    wait_for("the work to begin", || world.cursor_now(id) >= 2).await;
    life.end().await;
    let letter = world.letter(id).expect("a letter");
    assert_eq!((letter.state, letter.attempts), (LetterState::Blocked, 1));
    assert!(world.cursor_now(id) < 30);
    world.unkind(0, 0);
    let life = Life::start(&world);
    wait_for("the letter to go", || world.letters() == 0).await;
    assert_eq!(world.effects(id), (1..=30).collect::<Vec<_>>());
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn in_a_slot_that_was_given_up_nothing_further_begins() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 1, 30).await;
    world.fault(id, 1, None);
    world.unkind(200, 0);
    let life = Life::start(&world);
    wait_for("the work to begin", || world.cursor_now(id) >= 2).await;
    life.hold([Slot(SLOT.0 + 1)]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let reached = world.cursor_now(id);
    assert_eq!(life.slots(), [Slot(SLOT.0 + 1)], "released once nothing was in hand");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.cursor_now(id), reached);
    life.hold([SLOT]);
    wait_for("the letter to go", || world.letters() == 0).await;
    assert_eq!(world.cursor_now(id), 30);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn released_letters_are_finished_by_whoever_comes_next() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 2, 4).await;
    world.fault(id, 2, None);
    let letter = world.letter(id).expect("a letter");
    world.put(Stored::Letter(letter.released()));
    let life = Life::start(&world);
    wait_for("the letter to go", || world.letters() == 0).await;
    assert_eq!(world.effects(id), [1, 2, 3, 4]);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn poison_after_the_release_blocks_again_with_the_new_head() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 2, 2).await;
    world.fault(id, 2, None);
    let letter = world.letter(id).expect("a letter");
    world.put(Stored::Letter(letter.released()));
    world.commit(id);
    world.fault(id, 3, POISON);
    world.worker_sees(id, 3).await;
    let letter = world.letter(id).expect("a letter");
    assert_eq!((letter.state, letter.version.0), (LetterState::Blocked, 3));
    assert_eq!(world.effects(id), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_read_hinders_no_other() {
    let world = World::new();
    world.put(unreadable(aggregate(1)));
    let id = aggregate(2);
    blocked_at(&world, id, 1, 2).await;
    world.fault(id, 1, None);
    let life = Life::start(&world);
    wait_for("the other letter to go", || world.letters() == 1).await;
    assert_eq!(world.effects(id), [1, 2]);
    // It blocks nothing either, and is written anew by the next failure.
    let bad = aggregate(1);
    world.fault(bad, 1, POISON);
    world.commit(bad);
    world.worker_sees(bad, 1).await;
    assert_eq!(world.letter(bad).expect("readable now").version.0, 1);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn many_letters_are_tried_side_by_side_within_the_bound() {
    let world = World::new();
    let ids: Vec<_> = (0..20).map(aggregate).collect();
    for id in &ids {
        blocked_at(&world, *id, 1, 2).await;
    }
    // One of them hangs; with one place fewer the others get through.
    for id in &ids[1..] {
        world.fault(*id, 1, None);
    }
    world.fault(ids[0], 1, Some(Fault::Hangs));
    let life = Life::with(&world, RetryConfig { letters_in_parallel_max: 2, ..config() });
    wait_for("all but one letter to go", || world.letters() == 1).await;
    drop(life);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_lies_elsewhere_stops_the_process() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 1, 1).await;
    world.fault(id, 1, Some(Fault::Fails(ErrorClass::Fatal)));
    let mut life = Life::start(&world);
    match life.ended().await {
        Err(RetrierError::Attempt { aggregate_id, .. }) => assert_eq!(aggregate_id, id),
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_letters_is_waited_for() {
    let world = World::new();
    let id = aggregate(1);
    blocked_at(&world, id, 1, 2).await;
    world.fault(id, 1, None);
    world.down(true);
    let life = Life::start(&world);
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.down(false);
    wait_for("the letter to go", || world.letters() == 0).await;
    assert_eq!(world.effects(id), [1, 2]);
    assert_eq!(world.letter(key(id).aggregate_id), None);
    life.end().await;
}
