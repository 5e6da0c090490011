//! The database's clock: steps, skew, silence.

use super::world::{Life, SAFETY, SLOTS, World, aggregate, millis, seconds};
use crate::log_time::{LogTime, micros};
use crate::reading::clock::{DatabaseClock, Hold};
use crate::source::NodeReading;
use leases::Slot;
use std::time::Duration;
use tokio::time::Instant;

const HOUR: i64 = 3_600_000_000;

fn checkpoint_lag(world: &World) -> Duration {
    let times = Slot::all(SLOTS).map(|slot| world.checkpoint(slot).expect("stored").time);
    world.now().since(times.min().expect("slots"))
}

#[tokio::test(start_paused = true)]
async fn after_a_step_back_new_events_are_handled_at_once_and_none_is_skipped() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(30)).await;
    for back in [seconds(3), seconds(60), seconds(300)] {
        world.step_clocks(-micros(back));
        tokio::time::sleep(seconds(2)).await;
        for number in 0..8 {
            world.append(aggregate(number), 1);
        }
        tokio::time::sleep(millis(600)).await;
        for (id, version) in world.tails() {
            assert_eq!(world.handled("c", id), (1..=version).collect::<Vec<_>>(), "{back:?}");
        }
    }
    // The world checks each checkpoint on the way.
    tokio::time::sleep(seconds(400)).await;
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_back_over_a_change_of_generations_leads_back_to_the_old_streams() {
    let world = World::new();
    let life = Life::start(&world);
    world.open_generation(2, 6_000, Duration::ZERO);
    tokio::time::sleep(seconds(60)).await;
    world.append(aggregate(1), 1);
    world.settled("c", aggregate(1), 1).await;
    world.step_clocks(-micros(seconds(90)));
    tokio::time::sleep(seconds(2)).await;
    for number in 0..8 {
        world.append(aggregate(number), 1);
    }
    tokio::time::sleep(seconds(1)).await;
    for (id, version) in world.tails() {
        assert_eq!(world.handled("c", id), (1..=version).collect::<Vec<_>>());
    }
    // Until the clock is past the change again.
    tokio::time::sleep(seconds(120)).await;
    world.append(aggregate(1), 1);
    world.settled("c", aggregate(1), 3).await;
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_keeps_its_timestamps_ascending_after_a_step_back_is_followed() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(30)).await;
    let before = world.now();
    // The clocks that are shown step back; this coordinator goes on from its last timestamp.
    world.set_clocks(vec![-HOUR]);
    tokio::time::sleep(seconds(5)).await;
    world.append_stamped(aggregate(1), before.plus(millis(50)));
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(world.handled("c", aggregate(1)), [1]);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_jump_forward_holds_the_confirm_pass_for_one_safety_interval() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(30)).await;
    let stamped = world.now();
    let events = world.commit(aggregate(1), 1);
    world.step_clocks(micros(seconds(60)));
    tokio::time::sleep(seconds(4)).await;
    // Stamped before the jump, visible after it, and as late as it may be. The world checks that no
    // checkpoint has passed it.
    world.announce_stamped(&events, stamped);
    tokio::time::sleep(seconds(40)).await;
    assert_eq!(world.handled("c", aggregate(1)), [1]);
    let slot = world.slot_of(aggregate(1));
    assert!(world.checkpoint(slot).expect("stored").time > stamped.plus(seconds(60)));
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn nodes_too_far_apart_hold_the_confirm_pass_but_not_the_events() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(60)).await;
    assert!(checkpoint_lag(&world) < SAFETY + seconds(9));
    world.set_clocks(vec![0, micros(seconds(7))]);
    tokio::time::sleep(seconds(60)).await;
    assert!(checkpoint_lag(&world) > seconds(60), "{:?}", checkpoint_lag(&world));
    world.append(aggregate(1), 1);
    tokio::time::sleep(millis(500)).await;
    assert_eq!(world.handled("c", aggregate(1)), [1]);
    world.set_clocks(vec![0, micros(seconds(2))]);
    tokio::time::sleep(seconds(30)).await;
    assert!(checkpoint_lag(&world) < SAFETY + seconds(9), "{:?}", checkpoint_lag(&world));
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn now_is_the_slowest_nodes_clock() {
    let world = World::new();
    world.set_clocks(vec![0, -micros(seconds(2))]);
    let life = Life::start(&world);
    tokio::time::sleep(seconds(60)).await;
    assert!(checkpoint_lag(&world) >= SAFETY + seconds(2), "{:?}", checkpoint_lag(&world));
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_cannot_be_read_holds_the_confirm_pass() {
    let world = World::new();
    let life = Life::start(&world);
    tokio::time::sleep(seconds(60)).await;
    world.faults(|faults| faults.clocks_are_down = true);
    tokio::time::sleep(seconds(60)).await;
    assert!(checkpoint_lag(&world) > seconds(60), "{:?}", checkpoint_lag(&world));
    world.faults(|faults| faults.clocks_are_down = false);
    tokio::time::sleep(seconds(30)).await;
    assert!(checkpoint_lag(&world) < SAFETY + seconds(9), "{:?}", checkpoint_lag(&world));
    life.end().await;
}

fn reading(took: Duration, value_ms: i64) -> Vec<NodeReading> {
    let received = Instant::now();
    let value = LogTime::from_millis(value_ms);
    vec![NodeReading { sent: received - took, received, value }]
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_no_step_of_the_clock() {
    let origin = Instant::now();
    tokio::time::advance(seconds(1)).await;
    let clock = DatabaseClock::new(origin, SAFETY, &reading(millis(1), 1_001_000));
    tokio::time::advance(seconds(1)).await;
    // The value is 900 ms old when it arrives; the request took a second.
    clock.observe(&reading(seconds(1), 1_001_100));
    assert!(!clock.stepped_back().is_cancelled());
    tokio::time::advance(seconds(1)).await;
    clock.observe(&reading(millis(1), 1_002_500));
    assert!(!clock.stepped_back().is_cancelled(), "within what the slow answer left open");
    tokio::time::advance(seconds(1)).await;
    clock.observe(&reading(millis(1), 1_003_200));
    assert!(clock.stepped_back().is_cancelled(), "300 ms back");
}

#[tokio::test(start_paused = true)]
async fn a_jump_is_forgotten_after_one_safety_interval() {
    let origin = Instant::now();
    let clock = DatabaseClock::new(origin, SAFETY, &reading(Duration::ZERO, 1_000_000));
    for second in 1..=30 {
        tokio::time::advance(seconds(1)).await;
        let jump = if second >= 5 { 20_000 } else { 0 };
        clock.observe(&reading(Duration::ZERO, 1_000_000 + second * 1000 + jump));
        let expected = match second {
            0..5 => Some(Hold::New),
            5..15 => Some(Hold::Jumped),
            _ => None,
        };
        assert_eq!(clock.settled_until().err(), expected, "second {second}");
    }
}
