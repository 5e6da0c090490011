//! Workers, two retriers and their crashes, all at once and in random order: nothing is left behind,
//! nothing is handled out of order.

use super::world::{Fault, Life, World, aggregate, wait_for};
use cdc::ErrorClass;
use rand::Rng;
use std::time::Duration;
use tokio::task::JoinSet;

const AGGREGATES: u128 = 3;
const SCHEDULES: u64 = 300;

/// The seed of the first schedule: from `SEED`, else a new one, printed so that a failure can be run
/// again alone.
fn first_seed() -> (u64, u64) {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => (seed, 1),
        None => (rand::rng().random_range(0..u64::MAX / 2), SCHEDULES),
    }
}

#[test]
fn whatever_happens_every_event_is_handled_in_order_and_no_letter_is_left() {
    let (first, schedules) = first_seed();
    for seed in first..first + schedules {
        println!("SEED={seed}");
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(schedule(seed));
    }
}

async fn schedule(seed: u64) {
    let world = World::seeded(seed);
    world.unkind(40, 5);
    let mut retriers = vec![Life::start(&world), Life::start(&world)];
    let mut workers = JoinSet::new();
    for _ in 0..40 {
        let id = aggregate(u128::from(world.draw(3)));
        match world.draw(10) {
            0..=4 => {
                let version = world.commit(id);
                // Sometimes poison from the start, sometimes only until somebody comes back.
                if world.draw(4) == 0 {
                    world.fault(id, version, Some(Fault::Fails(ErrorClass::Poison)));
                }
                let seen = world.clone();
                let late = Duration::from_millis(world.draw(60));
                workers.spawn(async move {
                    tokio::time::sleep(late).await;
                    seen.worker_sees(id, version).await;
                });
            }
            5 => {
                let tail = world.tail(id);
                for version in 1..=tail {
                    world.fault(id, version, None);
                }
            }
            6 => {
                let place = usize::try_from(world.draw(2)).expect("small");
                retriers[place] = Life::start(&world);
            }
            _ => {
                let time = world.draw(400);
                tokio::time::sleep(Duration::from_millis(time)).await;
            }
        }
    }
    world.heal();
    while let Some(seen) = workers.join_next().await {
        seen.expect("no panic");
    }
    // A parked letter would need a person; within this time no letter uses up its attempts unless it
    // failed them, so those are given new ones.
    wait_for("all letters to go", || {
        for number in 0..AGGREGATES {
            if let Some(letter) = world.letter(aggregate(number))
                && letter.state == cdc::LetterState::Parked
            {
                world.put(crate::letter::Stored::Letter(letter.due()));
            }
        }
        world.letters() == 0
    })
    .await;
    for number in 0..AGGREGATES {
        let id = aggregate(number);
        let tail = world.tail(id);
        assert_eq!(world.cursor_now(id), tail, "aggregate {number} is not at its tail");
        let effects = world.effects(id);
        for version in 1..=tail {
            assert!(
                effects.contains(&version),
                "{version} of aggregate {number} was never handled"
            );
        }
    }
    for retrier in retriers {
        retrier.end().await;
    }
}
