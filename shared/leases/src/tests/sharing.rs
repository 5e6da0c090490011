//! Members come, leave, die, are cut off; the slots follow.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{Process, SLOTS, TERM, World, millis, until};
use crate::{LeaseConfig, Slot, SlotError};

const SOON: Duration = Duration::from_secs(30);

/// Waits until the processes hold all slots, each one process's, in the given shares (ascending).
async fn shared(what: &str, processes: &[&Process], shares: &[usize]) -> Duration {
    let took = until(what, SOON, || {
        let mut sizes: Vec<usize> = processes.iter().map(|p| p.slots().len()).collect();
        sizes.sort_unstable();
        sizes == shares
    })
    .await;
    let mut all = BTreeSet::new();
    for process in processes {
        for slot in process.slots() {
            assert!(all.insert(slot), "{what}: slot {slot} has two owners");
        }
    }
    took
}

#[tokio::test(start_paused = true)]
async fn slots_are_shared_fairly_as_members_come_and_go() {
    let world = World::new();
    let one = Process::start(&world, 1);
    shared("one takes all", &[&one], &[16]).await;
    let two = Process::start(&world, 2);
    let took = shared("two share", &[&one, &two], &[8, 8]).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let three = Process::start(&world, 3);
    shared("three share", &[&one, &two, &three], &[5, 5, 6]).await;
    two.end().await;
    let took = shared("one left", &[&one, &three], &[8, 8]).await;
    assert!(took < Duration::from_secs(1), "hand-over took {took:?}");
    for slot in 0..SLOTS {
        assert_eq!(world.slot(slot).crashes, 0, "nobody crashed");
    }
    three.end().await;
    one.end().await;
    assert_eq!(world.members(), 0);
    for slot in 0..SLOTS {
        assert_eq!(world.slot(slot).owner, None);
    }
}

#[tokio::test(start_paused = true)]
async fn who_ends_in_the_middle_of_a_beat_has_left_the_group_all_the_same() {
    let world = World::new();
    let between = LeaseConfig::default().renew_interval();
    for later in 0..5 {
        let one = Process::start(&world, 1);
        // A beat is on its way for two milliseconds.
        tokio::time::sleep(between - millis(1) + millis(later)).await;
        one.end().await;
        tokio::time::sleep(millis(10)).await;
        assert_eq!(world.members(), 0, "ended {later} ms later");
    }
}

#[tokio::test(start_paused = true)]
async fn slots_of_a_dead_member_move_after_a_term_and_count_a_crash() {
    let world = World::new();
    let (one, two) = (Process::start(&world, 1), Process::start(&world, 2));
    shared("two share", &[&one, &two], &[8, 8]).await;
    tokio::time::sleep(millis(3_217)).await;
    let orphans = two.slots();
    two.kill();
    let took = shared("one has all", &[&one], &[16]).await;
    assert!(took < TERM + Duration::from_secs(1), "take-over took {took:?}");
    assert!(took > TERM - Duration::from_secs(2), "taken before the term was over: {took:?}");
    for slot in 0..SLOTS {
        let crashes = i32::from(orphans.contains(&Slot(slot)));
        assert_eq!(world.slot(slot).crashes, crashes, "slot {slot}");
    }
    let slot = *orphans.first().expect("some");
    one.leases.save_checkpoint(slot, 7, Some(1)).await.expect("saved");
    assert_eq!(world.slot(slot.0).crashes, 0, "a moved checkpoint clears it");
    assert_eq!(world.members(), 1, "the dead one was removed");
}

#[tokio::test(start_paused = true)]
async fn a_slot_whose_keeper_panics_is_given_up_at_once_and_works_again() {
    let world = World::new();
    let one = Process::start(&world, 1);
    shared("one takes all", &[&one], &[16]).await;
    let epoch = world.slot(3).epoch;
    world.panic_at(3);
    until("the keeper to fall", TERM, || world.has_panicked()).await;
    let took = until("the slot to be given up", TERM, || !one.slots().contains(&Slot(3))).await;
    assert!(took < millis(10), "worked on without a keeper for {took:?}");
    assert_eq!(one.slots().len(), 15, "no other slot was touched");
    until("the slot to be taken again", SOON, || one.slots().contains(&Slot(3))).await;
    assert!(world.slot(3).epoch > epoch);
    one.end().await;
}

#[tokio::test(start_paused = true)]
async fn of_what_fell_nothing_goes_on_to_keep_its_slots() {
    let world = World::new();
    let mut one = Process::start(&world, 1);
    shared("one takes all", &[&one], &[16]).await;
    // As in a panic: the process stays, and with it everything that somebody still holds on to.
    one.fall();
    let two = Process::start(&world, 2);
    shared("the next start takes all", &[&two], &[16]).await;
    assert!(Slot::all(SLOTS).all(|slot| !one.leases.may_begin(slot)));
}

fn check(process: &Process, name: &str) -> bool {
    process.readiness.check(name).is_some_and(|(good, _)| good)
}

#[tokio::test(start_paused = true)]
async fn a_stuck_slot_is_told_from_an_idle_one() {
    let world = World::new();
    let one = Process::start(&world, 1);
    shared("one takes all", &[&one], &[16]).await;
    let stuck_after = LeaseConfig::default().stuck_ms;
    let steps = i64::try_from(stuck_after / 5_000).expect("a small number") + 2;
    // All are idle: time goes on and their checkpoints with it, but that of slot 3 stands still.
    for step in 1..=steps {
        assert!(check(&one, "progress") || step >= steps - 2, "too early, in step {step}");
        for slot in Slot::all(SLOTS).filter(|slot| slot.0 != 3) {
            one.leases.save_checkpoint(slot, step, Some(1)).await.expect("saved");
        }
        tokio::time::sleep(millis(5_000)).await;
    }
    let (good, why) = one.readiness.check("progress").expect("a check");
    assert!(!good && why.contains("slots [3] of g are stuck"), "{why}");
    assert!(check(&one, "leases"), "it holds them all the same");
    // A scan of the ledger is progress, too.
    one.leases.progressed(Slot(3));
    tokio::time::sleep(millis(1_000)).await;
    assert!(check(&one, "progress"));
}

#[tokio::test(start_paused = true)]
async fn who_lost_every_slot_is_not_ready_until_it_has_one_again() {
    let world = World::new();
    let (one, two) = (Process::start(&world, 1), Process::start(&world, 2));
    shared("two share", &[&one, &two], &[8, 8]).await;
    assert!(check(&two, "leases"));
    world.cut_off(2, true);
    until("the other takes them", SOON, || one.slots().len() == 16).await;
    world.cut_off(2, false);
    until("it says so", SOON, || !check(&two, "leases")).await;
    shared("it comes back", &[&one, &two], &[8, 8]).await;
    until("it is ready again", SOON, || check(&two, "leases")).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_stops_before_another_begins_and_can_store_nothing() {
    let world = World::new();
    let (one, two) = (Process::start(&world, 1), Process::start(&world, 2));
    shared("two share", &[&one, &two], &[8, 8]).await;
    let slots = two.slots();
    let slot = *slots.first().expect("some");
    world.cut_off(2, true);
    let waiting = two.leases.clone();
    let late = async { waiting.save_checkpoint(slot, 99, None).await };
    let watch = async {
        let stopped =
            until("the owner stops", SOON, || slots.iter().all(|s| !two.leases.may_begin(*s)))
                .await;
        assert!(stopped <= TERM * 2 / 3, "stopped after {stopped:?}");
        assert!(slots.iter().all(|slot| !one.leases.may_begin(*slot)), "both may work");
        until("the other takes them", SOON, || one.slots().len() == 16).await;
        world.cut_off(2, false);
    };
    let (late, ()) = tokio::join!(late, watch);
    assert!(matches!(late, Err(SlotError::Lost { .. })), "{late:?}");
    assert_eq!(world.slot(slot.0).checkpoint_us, None);
    shared("it comes back", &[&one, &two], &[8, 8]).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_database_makes_nobody_take_over_from_anybody() {
    let world = World::new();
    let (one, two) = (Process::start(&world, 1), Process::start(&world, 2));
    shared("two share", &[&one, &two], &[8, 8]).await;
    let before = (one.slots(), two.slots());
    world.set_down(true);
    tokio::time::sleep(TERM * 3).await;
    assert!(one.slots().is_empty() && two.slots().is_empty(), "both stopped");
    world.set_down(false);
    shared("both are back", &[&one, &two], &[8, 8]).await;
    assert_eq!((one.slots(), two.slots()), before);
    for slot in 0..SLOTS {
        assert_eq!(world.slot(slot).crashes, 0, "slot {slot}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_members_than_slots_are_ready_all_the_same_and_ask_for_little() {
    let world = World::new();
    let busy: Vec<Process> = (0..16).map(|number| Process::start(&world, number)).collect();
    let all: Vec<&Process> = busy.iter().collect();
    shared("one each", &all, &[1; 16]).await;
    tokio::time::sleep(TERM).await;
    let cost = async || {
        let before = world.requests();
        tokio::time::sleep(Duration::from_secs(10)).await;
        (world.requests() - before) as f64 / 10.0
    };
    let before = cost().await;
    let idle = Process::start(&world, 16);
    tokio::time::sleep(TERM).await;
    let added = cost().await - before;
    assert!(added <= 20.0, "{added} requests per second");
    let ids: BTreeSet<_> = busy.iter().map(|process| process.leases.owner()).collect();
    let with_slot = usize::from(ids.iter().filter(|id| **id < idle.leases.owner()).count() < 16);
    assert_eq!(idle.slots().len(), with_slot, "by the order of ids");
}
