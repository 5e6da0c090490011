//! Consumers whose place in the log was lost, or who never had one.

use super::world::{
    Life, Recorder, SAFETY, SLOTS, Treatment, World, aggregate, seconds, transport,
};
use crate::config::CdcConfig;
use leases::Slot;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const TWO_DAYS: u64 = 2 * 86_400;
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

fn all_handled(world: &World, consumer: &str) {
    for (id, version) in world.tails() {
        assert_eq!(world.handled(consumer, id), (1..=version).collect::<Vec<_>>(), "{id}");
    }
}

/// Long enough for a scan of a few dozen aggregates.
async fn scanned(world: &World) {
    for (id, version) in world.tails() {
        world.settled("c", id, version).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_stood_still_for_two_days_continues() {
    let world = World::new();
    let life = Life::start(&world);
    for number in 0..30 {
        world.append(aggregate(number), 2);
    }
    tokio::time::sleep(seconds(40)).await;
    life.end().await;
    // Committed and announced, and never seen by this consumer; the log forgets it.
    for number in 0..40 {
        world.append(aggregate(number), 1);
    }
    world.pass(seconds(TWO_DAYS));
    world.expire_log(DAY);

    let life = Life::with(&world, vec![Recorder::again("c", &world)], CdcConfig::default());
    for number in 35..45 {
        world.append(aggregate(number), 1);
    }
    scanned(&world).await;
    all_handled(&world, "c");
    tokio::time::sleep(seconds(60)).await;
    for slot in Slot::all(SLOTS) {
        let behind = world.now().since(world.checkpoint(slot).expect("stored").time);
        assert!(behind <= SAFETY + seconds(9), "slot {slot}: {behind:?}");
    }
    life.end().await;

    // Done is done: the next start scans nothing.
    let before = world.count().scan_pages;
    let life = Life::with(&world, vec![Recorder::again("c", &world)], CdcConfig::default());
    tokio::time::sleep(seconds(30)).await;
    assert_eq!(world.count().scan_pages, before);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_consumer_of_an_old_group_sees_everything_from_the_beginning() {
    let world = World::new();
    let life = Life::start(&world);
    for number in 0..25 {
        world.append(aggregate(number), 3);
    }
    tokio::time::sleep(seconds(40)).await;
    life.end().await;
    world.pass(seconds(80_000));
    world.expire_log(seconds(1000));
    let consumers = vec![Recorder::again("c", &world), Recorder::again("new", &world)];
    let life = Life::with(&world, consumers, CdcConfig::default());
    for (id, version) in world.tails() {
        world.settled("new", id, version).await;
    }
    all_handled(&world, "c");
    all_handled(&world, "new");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_starts_late_sees_what_the_log_forgot_and_what_was_never_announced() {
    let world = World::new();
    for number in 0..10 {
        let events = world.commit(aggregate(number), 4);
        world.announce(&events, Treatment { is_lost: number % 2 == 0, ..Treatment::default() });
    }
    world.pass(seconds(TWO_DAYS));
    world.expire_log(DAY);
    let life = Life::start(&world);
    scanned(&world).await;
    all_handled(&world, "c");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_scan_goes_on() {
    let world = World::new();
    for number in 0..200 {
        world.append(aggregate(number), 1);
    }
    world.pass(seconds(TWO_DAYS));
    world.expire_log(DAY);
    let mut config = CdcConfig::default();
    config.catch_up.pages_per_second = 1;
    let life = Life::with(&world, vec![Recorder::new("c", &world)], config);
    tokio::time::sleep(seconds(20)).await;
    life.end().await;
    let done = world.count().scan_pages;
    assert!((10..40).contains(&done), "{done} pages in the first life");
    let life = Life::with(&world, vec![Recorder::again("c", &world)], CdcConfig::default());
    scanned(&world).await;
    life.end().await;
    all_handled(&world, "c");
    // 200 aggregates are 67 pages, and a few that are not full at the end of each slot.
    let all = world.count().scan_pages;
    assert!(all <= 67 + 10, "{all} pages in all: the first life's work was done again");
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_stands_still_for_too_long_starts_anew() {
    let world = World::new();
    let is_down = Arc::new(AtomicBool::new(true));
    let (down, bad) = (is_down.clone(), aggregate(1));
    let consumer = Recorder::new("c", &world).refusing(move |event| {
        let refuses = event.aggregate_id == bad && down.load(Ordering::Relaxed);
        refuses.then(|| transport("out of reach"))
    });
    // A log that keeps its rows for 200 s.
    let config = CdcConfig { log_ttl_s: 200, ..CdcConfig::default() };
    let life = Life::with(&world, vec![consumer], config);
    tokio::time::sleep(seconds(20)).await;
    world.append(bad, 1);
    tokio::time::sleep(seconds(190)).await;
    world.expire_log(seconds(100));
    is_down.store(false, Ordering::Relaxed);
    world.settled("c", bad, 1).await;
    tokio::time::sleep(seconds(30)).await;
    let slot = world.slot_of(bad);
    let behind = world.now().since(world.checkpoint(slot).expect("stored").time);
    assert!(behind <= SAFETY + seconds(9), "{behind:?}");
    life.end().await;
}
