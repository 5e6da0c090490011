//! The sequencer: order, once, gaps, failures, bounds.

use super::world::{
    Recorder, SLOTS, World, aggregate, around, millis, seconds, surroundings, transport,
};
use crate::config::CdcConfig;
use crate::consumer::{Change, ChangeConsumer, ErrorClass, HandleError};
use crate::ordering::Sequencer;
use crate::source::{Announcement, LogRow};
use crate::surroundings::Surroundings;
use kernel::{RecordedEvent, Version};
use leases::Slot;
use scylla_cdc::cdc_types::StreamID;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use uuid::Uuid;

pub(super) fn sequencer(world: &World, consumers: Vec<Recorder>, config: &CdcConfig) -> Sequencer {
    opened(surroundings(world, consumers, config.clone()))
}

/// A sequencer with every slot open, where everything may begin at any time.
fn opened(around: Surroundings) -> Sequencer {
    let sequencer =
        Sequencer::new(Arc::new(Surroundings { may_begin: Arc::new(|_| true), ..around }));
    Slot::all(SLOTS).for_each(|slot| sequencer.open_slot(slot, 0, Vec::new()));
    sequencer
}

pub(super) fn row(event: &RecordedEvent) -> LogRow {
    LogRow {
        stream: StreamID::new(vec![0; 16]),
        time: Uuid::nil(),
        end_of_group: true,
        announcement: announcement(event),
        change: Some(Change { event: event.clone(), topic: None }),
    }
}

pub(super) fn announcement(event: &RecordedEvent) -> Announcement {
    Announcement {
        aggregate_id: event.aggregate_id,
        aggregate_type: Some(event.aggregate_type.clone()),
        version: event.version,
    }
}

#[tokio::test(start_paused = true)]
async fn rows_in_any_order_and_doubled_are_handled_in_order_and_once() {
    let world = World::new();
    let sequencer = sequencer(&world, vec![Recorder::new("c", &world)], &CdcConfig::default());
    let id = aggregate(1);
    let events = world.commit(id, 5);
    for place in [3, 0, 0, 4, 1, 3, 2, 1] {
        sequencer.submit(row(&events[place])).await.expect("running");
    }
    world.settled("c", id, 5).await;
    assert_eq!(world.handled("c", id), [1, 2, 3, 4, 5]);
    for event in &events {
        assert!(!sequencer.submit(row(event)).await.expect("running"), "known: {event:?}");
    }
    assert_eq!(world.handled("c", id), [1, 2, 3, 4, 5]);
    assert_eq!(world.count().cursor_reads, 1, "the cursor stays in memory");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_the_log_never_brought_is_read_from_the_event_store() {
    let world = World::new();
    let sequencer = sequencer(&world, vec![Recorder::new("c", &world)], &CdcConfig::default());
    let id = aggregate(1);
    let events = world.commit(id, 3);
    sequencer.submit(row(&events[2])).await.expect("running");
    world.settled("c", id, 3).await;
    assert_eq!(world.handled("c", id), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_long_gap_is_healed_in_parts() {
    let world = World::new();
    let config = CdcConfig { heal_events: 10, ..CdcConfig::default() };
    let sequencer = sequencer(&world, vec![Recorder::new("c", &world)], &config);
    let id = aggregate(1);
    let events = world.commit(id, 35);
    sequencer.submit(row(&events[34])).await.expect("running");
    world.settled("c", id, 35).await;
    assert_eq!(world.handled("c", id), (1..=35).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_the_event_stores_answer_is_never_passed() {
    let world = World::new();
    let sequencer = sequencer(&world, vec![Recorder::new("c", &world)], &CdcConfig::default());
    let id = aggregate(1);
    let events = world.commit(id, 3);
    world.faults(|faults| faults.ledger_holes = 4);
    sequencer.submit(row(&events[2])).await.expect("running");
    world.settled("c", id, 3).await;
    // The world asserts that no cursor skips.
    assert_eq!(world.handled("c", id), [1, 2, 3]);
    assert_eq!(world.count().ledger_reads, 5, "four holes, then the answer");
}

#[tokio::test(start_paused = true)]
async fn an_announced_event_that_the_event_store_does_not_show_is_waited_for() {
    let world = World::new();
    let sequencer = sequencer(&world, vec![Recorder::new("c", &world)], &CdcConfig::default());
    let id = aggregate(1);
    let events = world.commit(id, 1);
    let unseen = Announcement { version: Version(2), ..announcement(&events[0]) };
    let mut waiting = std::pin::pin!(sequencer.settle(&unseen));
    tokio::time::timeout(seconds(30), &mut waiting).await.expect_err("nothing to settle yet");
    world.commit(id, 1);
    waiting.await.expect("settled");
    assert_eq!(world.handled("c", id), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn each_consumer_has_its_own_place() {
    let world = World::new();
    let slow = Recorder::new("slow", &world).taking(seconds(5));
    let consumers = vec![Recorder::new("fast", &world), slow];
    let sequencer = sequencer(&world, consumers, &CdcConfig::default());
    let id = aggregate(1);
    for event in world.commit(id, 3) {
        sequencer.submit(row(&event)).await.expect("running");
    }
    world.settled("fast", id, 3).await;
    assert_eq!(world.cursor("slow", id), 0);
    world.settled("slow", id, 3).await;
    assert_eq!(world.handled("slow", id), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_cannot_be_written_does_not_repeat_the_effect() {
    let world = World::new();
    let sequencer = sequencer(&world, vec![Recorder::new("c", &world)], &CdcConfig::default());
    let id = aggregate(1);
    world.faults(|faults| faults.cursor_failures = 6);
    for event in world.commit(id, 2) {
        sequencer.submit(row(&event)).await.expect("running");
    }
    world.settled("c", id, 2).await;
    assert_eq!(world.handled("c", id), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_target_holds_only_what_is_affected() {
    let world = World::new();
    let is_down = Arc::new(AtomicBool::new(true));
    let (bad, good) = (aggregate(1), aggregate(2));
    let down = is_down.clone();
    let consumer = Recorder::new("c", &world).refusing(move |event| {
        let refuses = event.aggregate_id == bad && down.load(Ordering::Relaxed);
        refuses.then(|| transport("out of reach"))
    });
    let config = CdcConfig { aggregates_in_parallel_max: 1, ..CdcConfig::default() };
    let sequencer = sequencer(&world, vec![consumer], &config);
    for id in [bad, good] {
        for event in world.commit(id, 3) {
            sequencer.submit(row(&event)).await.expect("running");
        }
    }
    world.settled("c", good, 3).await;
    assert!(!sequencer.failed().is_cancelled());
    assert_eq!(world.handled("c", bad), [0_u64; 0]);
    is_down.store(false, Ordering::Relaxed);
    world.settled("c", bad, 3).await;
    assert_eq!(world.handled("c", bad), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_lies_elsewhere_stops_everything_and_names_the_event() {
    let world = World::new();
    let id = aggregate(1);
    let consumer = Recorder::new("c", &world).refusing(|event| {
        (event.version.0 == 2).then(|| HandleError {
            class: ErrorClass::Fatal,
            what: "no such table".to_owned(),
            source: None,
        })
    });
    let sequencer = sequencer(&world, vec![consumer], &CdcConfig::default());
    let events = world.commit(id, 3);
    for event in &events {
        // The failure may come first.
        let _ = sequencer.submit(row(event)).await;
    }
    sequencer.failed().cancelled().await;
    assert_eq!(world.cursor("c", id), 1);
    let failure = sequencer.stop().await.expect("a failure");
    let text = runtime::chain(&failure).to_string();
    for part in [
        "consumer c",
        &events[1].event_id.to_string(),
        "OrderCreated",
        "version 2",
        &id.to_string(),
        "no such table",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text:?}");
    }
    assert!(sequencer.submit(row(&events[2])).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn aggregates_run_in_parallel_up_to_the_bound() {
    let world = World::new();
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    struct Counting {
        running: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }
    #[async_trait::async_trait]
    impl ChangeConsumer for Counting {
        fn name(&self) -> &str {
            "counting"
        }
        fn wants(&self, _: &str) -> bool {
            true
        }
        async fn handle(&self, _: &Change, _: Option<&str>) -> Result<Option<String>, HandleError> {
            let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(millis(10)).await;
            self.running.fetch_sub(1, Ordering::SeqCst);
            // Nothing of it is in the world, whose cursors want to see an effect.
            Err(transport("again"))
        }
    }
    let config = CdcConfig { aggregates_in_parallel_max: 7, ..CdcConfig::default() };
    let consumers: Vec<Arc<dyn ChangeConsumer>> =
        vec![Arc::new(Counting { running, most: most.clone() })];
    let sequencer = opened(around(&world, consumers, config));
    for number in 0..50 {
        for event in world.commit(aggregate(number), 1) {
            sequencer.submit(row(&event)).await.expect("running");
        }
    }
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(most.load(Ordering::SeqCst), 7);
    assert!(sequencer.stop().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_reader_waits_while_too_many_events_are_in_flight() {
    let world = World::new();
    let consumer = Recorder::new("c", &world).taking(seconds(10));
    let config = CdcConfig { events_in_flight_max: 4, ..CdcConfig::default() };
    let sequencer = sequencer(&world, vec![consumer], &config);
    let started = tokio::time::Instant::now();
    for number in 0..4 {
        let event = &world.commit(aggregate(number), 1)[0];
        sequencer.submit(row(event)).await.expect("running");
    }
    assert_eq!(started.elapsed(), seconds(0));
    let event = &world.commit(aggregate(9), 1)[0];
    sequencer.submit(row(event)).await.expect("running");
    assert!(started.elapsed() >= seconds(10), "waited only {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_busy_aggregate_cannot_take_all_the_room() {
    let world = World::new();
    let hot = aggregate(1);
    let consumer = Recorder::new("c", &world)
        .refusing(move |event| (event.aggregate_id == hot).then(|| transport("out of reach")));
    let config =
        CdcConfig { events_in_flight_max: 10, events_per_aggregate_max: 3, ..CdcConfig::default() };
    let sequencer = sequencer(&world, vec![consumer], &config);
    for event in world.commit(hot, 100) {
        sequencer.submit(row(&event)).await.expect("running");
    }
    let event = &world.commit(aggregate(2), 1)[0];
    sequencer.submit(row(event)).await.expect("running");
    world.settled("c", aggregate(2), 1).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_the_event_in_hand_and_stores_its_cursor() {
    let world = World::new();
    let consumer = Recorder::new("c", &world).taking(seconds(3));
    let sequencer = sequencer(&world, vec![consumer], &CdcConfig::default());
    let id = aggregate(1);
    for event in world.commit(id, 3) {
        sequencer.submit(row(&event)).await.expect("running");
    }
    tokio::time::sleep(seconds(1)).await;
    assert!(sequencer.stop().await.is_none());
    assert_eq!(world.handled("c", id), [1]);
    assert_eq!(world.cursor("c", id), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_a_slot_finishes_what_is_in_hand_and_forgets_the_rest() {
    let world = World::new();
    let consumer = Recorder::new("c", &world).taking(seconds(3));
    let sequencer = sequencer(&world, vec![consumer], &CdcConfig::default());
    let (id, other) = (aggregate(1), (2..).map(aggregate));
    let slot = world.slot_of(id);
    let other = { other }.find(|other| world.slot_of(*other) != slot).expect("some");
    let events = world.commit(id, 3);
    for event in &events {
        sequencer.submit(row(event)).await.expect("running");
    }
    let waiting = announcement(&events[2]);
    let closing = async {
        tokio::time::sleep(seconds(1)).await;
        let began = tokio::time::Instant::now();
        sequencer.close(slot).await;
        assert_eq!(began.elapsed(), seconds(2), "the event in hand");
    };
    let (settled, ()) = tokio::join!(sequencer.settle(&waiting), closing);
    assert!(settled.is_err(), "nobody settles it here");
    assert_eq!((world.handled("c", id), world.cursor("c", id)), (vec![1], 1));
    assert!(!sequencer.submit(row(&events[1])).await.expect("running"), "closed");
    let event = &world.commit(other, 1)[0];
    sequencer.submit(row(event)).await.expect("running");
    world.settled("c", other, 1).await;

    let reads = world.count().cursor_reads;
    sequencer.open_slot(slot, 0, Vec::new());
    sequencer.submit(row(&events[1])).await.expect("running");
    world.settled("c", id, 2).await;
    assert_eq!(world.count().cursor_reads, reads + 1, "its cursor is read anew");
    assert_eq!(world.handled("c", id), [1, 2]);
}
