//! Targets that answer nobody for a while: everybody waits, nothing is written off, and the requests
//! that find out are few.

use super::ordering::{row, sequencer};
use super::world::{Recorder, World, aggregate, millis, seconds, transport};
use crate::config::CdcConfig;
use crate::ordering::Sequencer;
use leases::Slot;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;
use uuid::Uuid;

/// A target that is down until it is up, and when it was asked.
#[derive(Clone)]
struct Outage {
    is_down: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Outage {
    fn begin() -> Self {
        Self { is_down: Arc::new(AtomicBool::new(true)), asked: Arc::default() }
    }

    fn end(&self) {
        self.is_down.store(false, Ordering::SeqCst);
    }

    /// A consumer whose target it befell, for some aggregates.
    fn befalls(
        &self,
        recorder: Recorder,
        is_meant: impl Fn(Uuid) -> bool + Send + Sync + 'static,
    ) -> Recorder {
        let outage = self.clone();
        recorder.refusing(move |event| {
            if !is_meant(event.aggregate_id) || !outage.is_down.load(Ordering::SeqCst) {
                return None;
            }
            outage.asked.lock().expect("not poisoned").push(Instant::now());
            Some(transport("down"))
        })
    }

    /// The most attempts within any second, the first `after` left out.
    fn most_per_second(&self, begun: Instant, after: std::time::Duration) -> usize {
        let asked = self.asked.lock().expect("not poisoned");
        let asked: Vec<_> = asked.iter().filter(|at| **at >= begun + after).collect();
        let within = |from: &&Instant| {
            asked.iter().filter(|at| ***at >= **from && ***at < **from + seconds(1)).count()
        };
        asked.iter().map(within).max().unwrap_or_default()
    }
}

async fn submit(world: &World, sequencer: &Sequencer, aggregates: u128, events: u64) {
    for number in 0..aggregates {
        for event in world.commit(aggregate(number), events) {
            sequencer.submit(row(&event)).await.expect("running");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_target_is_down_single_requests_find_out_and_afterwards_all_is_handled_in_order()
{
    let world = World::new();
    let outage = Outage::begin();
    let recorder = outage.befalls(Recorder::new("c", &world).at_the_broker(), |_| true);
    let sequencer = sequencer(&world, vec![recorder], &CdcConfig::default());
    let begun = Instant::now();
    submit(&world, &sequencer, 200, 4).await;
    tokio::time::sleep(seconds(120)).await;
    let asked = outage.asked.lock().expect("not poisoned").len();
    // Those who find out first, then one at a time, every 2.5 s on average.
    assert!((20..400).contains(&asked), "{asked} requests in two minutes");
    let most = outage.most_per_second(begun, seconds(10));
    assert!(most <= 10, "{most} requests in one second");
    assert!(world.letters_of("c").is_empty());
    outage.end();
    for number in 0..200 {
        world.settled("c", aggregate(number), 4).await;
        assert_eq!(world.handled("c", aggregate(number)), [1, 2, 3, 4]);
    }
    assert!(begun.elapsed() < seconds(130), "{:?}", begun.elapsed());
    assert!(world.letters_of("c").is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_many_while_others_pass_is_repeated_within_the_budget() {
    let world = World::new();
    let outage = Outage::begin();
    let config = CdcConfig { retries_per_second_max: 20, ..CdcConfig::default() };
    let bad = |id: Uuid| (0..100).any(|number| aggregate(number) == id);
    let recorder = outage.befalls(Recorder::new("c", &world).at_the_broker(), bad);
    let sequencer = sequencer(&world, vec![recorder], &config);
    let begun = Instant::now();
    submit(&world, &sequencer, 100, 1).await;
    let mut good = 0;
    while begun.elapsed() < seconds(60) {
        let event = &world.commit(aggregate(1_000 + good), 1)[0];
        sequencer.submit(row(event)).await.expect("running");
        good += 1;
        tokio::time::sleep(millis(20)).await;
    }
    let most = outage.most_per_second(begun, seconds(5));
    assert!(most <= 45, "{most} requests in one second");
    assert!(world.letters_of("c").is_empty(), "several fail: it is an outage");
    outage.end();
    for number in 0..100 {
        world.settled("c", aggregate(number), 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_closes_at_once_while_its_lanes_wait_for_the_target() {
    let world = World::new();
    let outage = Outage::begin();
    let recorder = outage.befalls(Recorder::new("c", &world).at_the_broker(), |_| true);
    let sequencer = sequencer(&world, vec![recorder], &CdcConfig::default());
    submit(&world, &sequencer, 200, 1).await;
    tokio::time::sleep(seconds(60)).await;
    let before = Instant::now();
    for slot in Slot::all(super::world::SLOTS) {
        sequencer.close(slot).await;
    }
    assert!(before.elapsed() < seconds(1), "{:?}", before.elapsed());
    let asked = outage.asked.lock().expect("not poisoned").len();
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(outage.asked.lock().expect("not poisoned").len(), asked, "nobody asks any more");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_and_goes_never_makes_a_letter() {
    let world = World::new();
    let outage = Outage::begin();
    let recorder = outage.befalls(Recorder::new("c", &world).at_the_broker(), |_| true);
    let sequencer = sequencer(&world, vec![recorder], &CdcConfig::default());
    for turn in 1..=20 {
        submit(&world, &sequencer, 30, 1).await;
        outage.is_down.store(turn % 2 == 1, Ordering::SeqCst);
        tokio::time::sleep(seconds(7)).await;
        assert!(world.letters_of("c").is_empty());
    }
    outage.end();
    for number in 0..30 {
        world.settled("c", aggregate(number), 20).await;
    }
}
