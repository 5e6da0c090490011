//! Events that kill whoever tries them, and targets that answer nobody: the one is parked, the others
//! wait, and nobody beside them is hurt.

use super::world::{Fault, Life, World, aggregate, config, key, name, wait_for};
use crate::RetryConfig;
use crate::letter::{Letter, Stamp, Stored};
use cdc::{ErrorClass, LetterState, Refusal};
use std::time::Duration;
use uuid::Uuid;

/// An aggregate with one event and a letter for it.
fn blocked(world: &World, number: u128, class: ErrorClass) -> Uuid {
    let id = aggregate(number);
    let version = world.commit(id);
    let error = "once".to_owned();
    let refusal = Refusal { event: name(id, version), class, error };
    world.put(Stored::Letter(Letter::new(key(id), &refusal, Stamp::after(None))));
    id
}

fn state(world: &World, id: Uuid) -> Option<LetterState> {
    world.letter(id).map(|letter| letter.state)
}

#[tokio::test(start_paused = true)]
async fn a_letter_of_class_transport_whose_event_kills_is_parked_too() {
    let world = World::new();
    let id = blocked(&world, 1, ErrorClass::Transport);
    world.fault(id, 1, Some(Fault::Hangs));
    for life in 1..=3 {
        let killed = Life::start(&world);
        wait_for("the event to be in hand", || world.tries(id, 1) == life).await;
        drop(killed);
        tokio::task::yield_now().await;
        assert_eq!(world.letter(id).expect("a letter").crashes, life);
    }
    let life = Life::start(&world);
    wait_for("the letter to be parked", || state(&world, id) == Some(LetterState::Parked)).await;
    assert_eq!(world.tries(id, 1), 3, "not tried once more");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_is_no_crash() {
    let world = World::new();
    let id = blocked(&world, 1, ErrorClass::Transport);
    world.fault(id, 1, Some(Fault::Fails(ErrorClass::Transport)));
    let life = Life::start(&world);
    wait_for("many attempts", || world.tries(id, 1) >= 20).await;
    life.end().await;
    let letter = world.letter(id).expect("a letter");
    assert_eq!((letter.state, letter.crashes), (LetterState::Blocked, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_was_in_hand_beside_the_one_that_kills_is_not_parked_with_it() {
    let world = World::new();
    let bad = blocked(&world, 1, ErrorClass::Transport);
    world.fault(bad, 1, Some(Fault::Hangs));
    let good: Vec<Uuid> = (2..12).map(|n| blocked(&world, n, ErrorClass::Transport)).collect();
    // All of them hang in the first life, as if they took long.
    good.iter().for_each(|id| world.fault(*id, 1, Some(Fault::Hangs)));
    let first = Life::start(&world);
    wait_for("all to be in hand", || good.iter().all(|id| world.tries(*id, 1) == 1)).await;
    drop(first);
    good.iter().for_each(|id| world.fault(*id, 1, None));
    for _ in 0..20 {
        let life = Life::start(&world);
        tokio::time::sleep(Duration::from_secs(30)).await;
        // Whatever is in hand now would hang for ever: a crash.
        drop(life);
        tokio::task::yield_now().await;
    }
    assert_eq!(state(&world, bad), Some(LetterState::Parked));
    assert!(world.tries(bad, 1) <= 3, "{}", world.tries(bad, 1));
    for id in good {
        assert_eq!(state(&world, id), None, "handled");
        assert_eq!(world.effects(id), [1]);
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_target_answers_nobody_single_attempts_find_out() {
    let world = World::new();
    let ids: Vec<Uuid> = (0..100).map(|n| blocked(&world, n, ErrorClass::Transport)).collect();
    for id in &ids {
        world.fault(*id, 1, Some(Fault::Fails(ErrorClass::Transport)));
    }
    let life = Life::with(&world, RetryConfig { scan_interval_ms: 1_000, ..config() });
    tokio::time::sleep(Duration::from_secs(300)).await;
    let tries: u32 = ids.iter().map(|id| world.tries(*id, 1)).sum();
    // Without the breaker: each every four seconds on average, 7,500 in all.
    assert!((30..400).contains(&tries), "{tries} attempts in 300 s");
    assert!(ids.iter().all(|id| state(&world, *id) == Some(LetterState::Blocked)));
    ids.iter().for_each(|id| world.fault(*id, 1, None));
    wait_for("all letters to go", || world.letters() == 0).await;
    life.end().await;
}
