//! Both passes: latency, late and lost rows, checkpoints, restarts, generations.

use super::world::{
    Life, Recorder, SAFETY, SLOTS, Treatment, World, aggregate, millis, seconds, transport,
};
use crate::config::CdcConfig;
use crate::consumer::{ErrorClass, HandleError};
use crate::error::GroupError;
use leases::Slot;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the first event of `number` took from its announcement.
async fn latency_of(world: &World, number: u128, treatment: Treatment) -> Duration {
    let id = aggregate(number);
    let began = world.now();
    let events = world.commit(id, 1);
    world.announce(&events, treatment);
    world.settled("c", id, 1).await;
    world.handled_at("c", id, 1).since(began)
}

#[tokio::test(start_paused = true)]
async fn events_are_handled_within_milliseconds() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(1)).await;
    let first = latency_of(&world, 1, Treatment::default()).await;
    assert!(first <= millis(25), "after a pause: {first:?}");
    for number in 2..100 {
        let took = latency_of(&world, number, Treatment::default()).await;
        assert!(took <= millis(8), "in a row: {took:?}");
    }
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_becomes_visible_a_little_later_costs_little() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(1)).await;
    for number in 0..50 {
        let treatment = Treatment { delay: millis(9), ..Treatment::default() };
        let took = latency_of(&world, number, treatment).await;
        assert!(took <= millis(45), "{took:?}");
    }
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_slower_coordinators_row_is_found_by_looking_back() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(1)).await;
    // The stream has news.
    let id = aggregate(1);
    latency_of(&world, 1, Treatment::default()).await;
    tokio::time::sleep(millis(700)).await;
    let began = world.now();
    let late = world.commit(id, 1);
    world.announce(&late, Treatment { stamped_earlier: millis(600), ..Treatment::default() });
    world.settled("c", id, 2).await;
    let took = world.handled_at("c", id, 2).since(began);
    assert!(took <= millis(260), "{took:?}");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_as_late_as_it_may_be_is_found_by_the_confirm_pass() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(30)).await;
    let treatment = Treatment { delay: SAFETY / 2, ..Treatment::default() };
    let took = latency_of(&world, 1, treatment).await;
    assert!(took >= SAFETY / 2 && took <= SAFETY + seconds(3), "{took:?}");
    tokio::time::sleep(seconds(30)).await;
    assert_eq!(world.handled("c", aggregate(1)), [1]);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_row_is_healed_when_the_next_one_comes() {
    let world = World::new();
    let life = Life::start(&world);
    let id = aggregate(1);
    let lost = world.commit(id, 2);
    world.announce(&lost, Treatment { is_lost: true, ..Treatment::default() });
    tokio::time::sleep(seconds(1)).await;
    world.append(id, 1);
    world.settled("c", id, 3).await;
    assert_eq!(world.handled("c", id), [1, 2, 3]);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn many_events_of_one_announcement_need_no_healing() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(1)).await;
    for number in 0..10 {
        // More than fit a page of this log.
        world.append(aggregate(number), 10);
    }
    for number in 0..10 {
        world.settled("c", aggregate(number), 10).await;
    }
    assert_eq!(world.count().ledger_reads, 0);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn checkpoints_follow_the_safety_interval_and_idle_slots_move_too() {
    let world = World::new();
    let life = Life::start(&world);
    for number in 0..20 {
        world.append(aggregate(number), 1);
        tokio::time::sleep(seconds(3)).await;
    }
    for slot in Slot::all(SLOTS) {
        let checkpoint = world.checkpoint(slot).expect("stored").time;
        let behind = world.now().since(checkpoint);
        assert!(behind >= SAFETY, "slot {slot}: {behind:?}");
        assert!(behind <= SAFETY + seconds(9), "slot {slot}: {behind:?}");
    }
    life.end().await;
    for slot in Slot::all(SLOTS) {
        let checkpoint = world.checkpoint(slot).expect("stored").time;
        let behind = world.now().since(checkpoint);
        assert!(behind <= SAFETY + seconds(3), "stored at the end: slot {slot}: {behind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_not_handled_holds_the_checkpoint_of_its_slot_only() {
    let world = World::new();
    let is_down = Arc::new(AtomicBool::new(true));
    let (down, bad) = (is_down.clone(), aggregate(1));
    let consumer = Recorder::new("c", &world).refusing(move |event| {
        let refuses = event.aggregate_id == bad && down.load(Ordering::Relaxed);
        refuses.then(|| transport("out of reach"))
    });
    let life = Life::with(&world, vec![consumer], CdcConfig::default());
    tokio::time::sleep(seconds(20)).await;
    world.append(bad, 1);
    let announced = world.now();
    tokio::time::sleep(seconds(60)).await;
    for slot in Slot::all(SLOTS) {
        let time = world.checkpoint(slot).expect("stored").time;
        assert_eq!(time <= announced, slot == world.slot_of(bad), "slot {slot}: {time}");
    }
    is_down.store(false, Ordering::Relaxed);
    tokio::time::sleep(seconds(30)).await;
    assert!(world.checkpoint(world.slot_of(bad)).expect("stored").time > announced);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_continues_where_the_life_before_ended() {
    let world = World::new();
    let life = Life::start(&world);
    for number in 0..10 {
        world.append(aggregate(number), 2);
    }
    world.settled("c", aggregate(9), 2).await;
    tokio::time::sleep(seconds(40)).await;
    life.end().await;

    for number in 0..20 {
        world.append(aggregate(number), 1);
    }
    world.pass(seconds(3 * 3600));
    world.append(aggregate(30), 1);
    let life = Life::with(&world, vec![Recorder::again("c", &world)], CdcConfig::default());
    tokio::time::sleep(seconds(5)).await;
    for (id, version) in world.tails() {
        assert_eq!(world.handled("c", id), (1..=version).collect::<Vec<_>>(), "{id}");
    }
    // Three hours of log at once, not in real time.
    tokio::time::sleep(seconds(60)).await;
    for slot in Slot::all(SLOTS) {
        let behind = world.now().since(world.checkpoint(slot).expect("stored").time);
        assert!(behind <= SAFETY + seconds(9), "slot {slot}: {behind:?}");
    }
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_lies_elsewhere_ends_the_group_and_stays_in_front_of_the_checkpoint() {
    let world = World::new();
    let bad = aggregate(7);
    let broken = move |event: &kernel::RecordedEvent| {
        (event.aggregate_id == bad).then(|| HandleError {
            class: ErrorClass::Fatal,
            what: "no such table".to_owned(),
            source: None,
        })
    };
    let consumer = Recorder::new("c", &world).refusing(broken);
    let life = Life::with(&world, vec![consumer], CdcConfig::default());
    tokio::time::sleep(seconds(20)).await;
    world.append(bad, 1);
    let announced = world.now();
    match life.failure().await {
        GroupError::Event { event, .. } => assert_eq!(event.aggregate_id, bad),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.cursor("c", bad), 0);
    assert!(world.checkpoint(world.slot_of(bad)).expect("stored").time <= announced);
    // A release that knows the event handles it.
    let life = Life::with(&world, vec![Recorder::again("c", &world)], CdcConfig::default());
    world.settled("c", bad, 1).await;
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_database_that_comes_back_is_followed_again() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(20)).await;
    world.faults(|faults| faults.log_is_down = true);
    world.append(aggregate(1), 1);
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(world.cursor("c", aggregate(1)), 0);
    world.faults(|faults| faults.log_is_down = false);
    tokio::time::sleep(seconds(10)).await;
    assert_eq!(world.handled("c", aggregate(1)), [1]);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_group_keeps_to_its_budget_of_log_queries() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(10)).await;
    let before = world.count().log_queries;
    tokio::time::sleep(seconds(60)).await;
    let per_second = (world.count().log_queries - before) as f64 / 60.0;
    assert!(per_second <= 52.0, "{per_second} log queries per second");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn both_generations_are_read_around_a_change() {
    let world = World::new();
    let life = Life::start(&world);
    world.open_generation(2, 20_000, Duration::ZERO);
    for _ in 0..60 {
        for number in 0..8 {
            world.append(aggregate(number), 1);
        }
        tokio::time::sleep(seconds(1)).await;
    }
    for number in 0..8 {
        world.settled("c", aggregate(number), 60).await;
        assert_eq!(world.handled("c", aggregate(number)), (1..=60).collect::<Vec<_>>());
    }
    // Rows that overtake each other at the change are no reason to heal more than these.
    assert!(world.count().ledger_reads <= 8, "{:?}", world.count());
    for slot in Slot::all(SLOTS) {
        let generation = world.checkpoint(slot).expect("stored").generation;
        assert!(generation > world.now().minus(seconds(60)), "accounted for: {generation}");
    }
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_generation_found_late_is_read_from_its_beginning() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(30)).await;
    // It began five minutes ago as far as the writers know; the reader learns of it now.
    world.open_generation(2, 1_000, seconds(300));
    tokio::time::sleep(seconds(2)).await;
    for number in 0..8 {
        world.append(aggregate(number), 1);
    }
    tokio::time::sleep(seconds(250)).await;
    assert_eq!(world.cursor("c", aggregate(1)), 0);
    tokio::time::sleep(seconds(90)).await;
    for number in 0..8 {
        assert_eq!(world.handled("c", aggregate(number)), [1]);
    }
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_generation_found_after_a_restart_is_read_from_its_beginning() {
    let world = World::new();
    let life = Life::start(&world);
    world.open_generation(2, 1_000, seconds(120));
    tokio::time::sleep(seconds(2)).await;
    world.append(aggregate(3), 1);
    tokio::time::sleep(seconds(100)).await;
    life.end().await;
    world.pass(seconds(60));
    let life = Life::with(&world, vec![Recorder::again("c", &world)], CdcConfig::default());
    world.settled("c", aggregate(3), 1).await;
    life.end().await;
}
