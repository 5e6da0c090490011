//! Several processes of one group: they share the slots, come and go, die, and are cut off.
//!
//! The world asserts at every moment that no checkpoint moves back or passes an event that was not
//! handled, and that no cursor skips. Here, a consumer also asserts when it *begins* an event that
//! the slot is its process's by its row: what is lost is never begun.

use super::world::{
    Recorder, SAFETY, SLOTS, Treatment, World, aggregate, millis, seconds, surroundings,
};
use crate::config::CdcConfig;
use crate::error::GroupError;
use crate::group;
use leases::{Leases, Slot};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// One process of the group.
struct Process {
    number: usize,
    leases: Leases,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), GroupError>>,
}

impl Process {
    fn start(world: &World, number: usize) -> Self {
        let view = world.of_process(number);
        let leases = Arc::new(std::sync::OnceLock::<Leases>::new());
        let (mine, seen) = (leases.clone(), view.clone());
        // Refuses nothing; looks.
        let consumer = Recorder::again("c", &view).beginning(move |id| {
            let (slot, leases) = (seen.slot_of(id), mine.get().expect("set before it runs"));
            let owner = seen.owner(slot);
            assert_eq!(owner, Some(leases.owner()), "slot {slot} is worked on by another");
        });
        let config = CdcConfig {
            aggregates_in_parallel_max: 3,
            cursors_cached_max: 8,
            confirm_interval_ms: 700,
            checkpoint_interval_ms: 1_000,
            // This log is slow to search.
            busy_interval_ms: 25,
            idle_queries_per_second: 10,
            look_back_interval_ms: 1_000,
            ..CdcConfig::default()
        };
        let around = Arc::new(surroundings(&view, vec![consumer], config));
        assert!(leases.set(around.leases.clone()).is_ok());
        let (leases, stop) = (around.leases.clone(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let stop = stop.clone();
            async move { group::run(around, &stop).await }
        });
        Self { number, leases, stop, tasks }
    }

    fn slots(&self) -> usize {
        Slot::all(SLOTS).filter(|slot| self.leases.may_begin(*slot)).count()
    }

    async fn end(mut self) {
        self.stop.cancel();
        let ended = self.tasks.join_next().await.expect("one task");
        ended.expect("no panic").expect("a clean end");
    }
}

fn new_world() -> World {
    let world = World::new();
    drop(Recorder::new("c", &world));
    world
}

async fn all_handled(world: &World) {
    for (id, version) in world.tails() {
        world.settled("c", id, version).await;
        let handled = world.handled("c", id);
        let mut firsts = 0;
        for version in handled {
            assert!(version <= firsts + 1, "{id}: {version} after {firsts}");
            firsts = firsts.max(version);
        }
        assert_eq!(firsts, version, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn slots_move_between_processes_under_load_without_a_gap_or_a_repetition() {
    let world = new_world();
    let mut processes = vec![Process::start(&world, 1)];
    let mut next = 2;
    for round in 0..8 {
        for _ in 0..10 {
            for number in 0..6 {
                world.append(aggregate(number), 1);
            }
            tokio::time::sleep(millis(400)).await;
        }
        if round % 3 == 2 {
            processes.remove(0).end().await;
        } else {
            processes.push(Process::start(&world, next));
            next += 1;
        }
    }
    all_handled(&world).await;
    for (id, version) in world.tails() {
        // Every move was orderly, so nothing was done twice.
        assert_eq!(world.handled("c", id), (1..=version).collect::<Vec<_>>(), "{id}");
    }
    tokio::time::sleep(seconds(5)).await;
    let held: Vec<usize> = processes.iter().map(Process::slots).collect();
    assert_eq!(held.iter().sum::<usize>(), SLOTS as usize, "{held:?}");
    assert_eq!(world.crashes(), 0);
    for process in processes {
        process.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_cut_off_for_hours_reads_all_of_the_log_when_it_is_back() {
    let world = new_world();
    let one = Process::start(&world, 1);
    tokio::time::sleep(seconds(30)).await;
    let two = Process::start(&world, 2);
    tokio::time::sleep(seconds(5)).await;
    assert_eq!((one.slots(), two.slots()), (2, 2));
    // The second one's requests hang for three hours; nobody else is there to take its slots.
    one.end().await;
    world.cut_off(2, seconds(3 * 3600));
    for number in 0..40 {
        world.append(aggregate(number), 1);
        tokio::time::sleep(seconds(200)).await;
    }
    tokio::time::sleep(seconds(3 * 3600 - 8_000)).await;
    all_handled(&world).await;
    tokio::time::sleep(seconds(60)).await;
    for slot in Slot::all(SLOTS) {
        let behind = world.now().since(world.checkpoint(slot).expect("stored").time);
        assert!(behind <= SAFETY + seconds(9), "slot {slot}: {behind:?}");
    }
    two.end().await;
}

#[tokio::test(start_paused = true)]
async fn both_processes_follow_a_change_of_generations() {
    let world = new_world();
    let processes = [Process::start(&world, 1), Process::start(&world, 2)];
    tokio::time::sleep(seconds(10)).await;
    world.open_generation(2, 11_000, Duration::ZERO);
    for _ in 0..60 {
        for number in 0..8 {
            world.append(aggregate(number), 1);
        }
        tokio::time::sleep(seconds(1)).await;
    }
    all_handled(&world).await;
    let [one, two] = processes;
    one.end().await;
    world.append(aggregate(1), 1);
    world.append(aggregate(2), 1);
    all_handled(&world).await;
    two.end().await;
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        aggregate: u128,
        count: u64,
        treatment: Treatment,
    },
    Wait(Duration),
    Start,
    /// Asks the process to end, and goes on when it has.
    End(usize),
    /// Cuts a process off; longer than a term, others take its slots.
    CutOff(usize, Duration),
    NewGeneration,
}

fn step() -> impl Strategy<Value = Step> {
    let treatment = (0..3_000_u64, prop::bool::weighted(0.1), prop::bool::weighted(0.1)).prop_map(
        |(delay, is_doubled, is_lost)| Treatment {
            delay: millis(if delay < 2_000 { 0 } else { delay }),
            is_doubled,
            is_lost,
            ..Treatment::default()
        },
    );
    prop_oneof![
        14 => (0..8_u128, 1..4_u64, treatment)
            .prop_map(|(aggregate, count, treatment)| Step::Append { aggregate, count, treatment }),
        8 => (0..300_u64).prop_map(|time| Step::Wait(millis(time))),
        3 => (0..9_000_u64).prop_map(|time| Step::Wait(millis(time))),
        3 => Just(Step::Start),
        2 => any::<usize>().prop_map(Step::End),
        3 => (any::<usize>(), 0..12_000_u64)
            .prop_map(|(which, time)| Step::CutOff(which, millis(time))),
        1 => Just(Step::NewGeneration),
    ]
}

async fn live(world: &World, steps: Vec<Step>) {
    const PROCESSES_MAX: usize = 4;
    let mut processes = vec![Process::start(world, 1), Process::start(world, 2)];
    let (mut next, mut generation) = (3, 1);
    for step in steps {
        match step {
            Step::Append { aggregate: number, count, treatment } => {
                let events = world.commit(aggregate(number), count);
                world.announce(&events, treatment);
            }
            Step::Wait(time) => tokio::time::sleep(time).await,
            Step::Start if processes.len() < PROCESSES_MAX => {
                processes.push(Process::start(world, next));
                next += 1;
            }
            Step::End(which) if processes.len() > 1 => {
                let which = which % processes.len();
                processes.remove(which).end().await;
            }
            Step::CutOff(which, time) => {
                world.cut_off(processes[which % processes.len()].number, time);
            }
            Step::NewGeneration => {
                generation += 1;
                world.open_generation(generation, 11_000, Duration::ZERO);
                // As a cluster does: never two at once.
                tokio::time::sleep(seconds(15)).await;
            }
            Step::Start | Step::End(_) => {}
        }
    }
    // What is cut off comes back; every aggregate gets one more event, for the lost rows before it.
    tokio::time::sleep(seconds(13)).await;
    for (id, _) in world.tails() {
        world.append(id, 1);
    }
    tokio::time::sleep(SAFETY + seconds(30)).await;
    all_handled(world).await;
    let held: usize = processes.iter().map(Process::slots).sum();
    assert_eq!(held, SLOTS as usize, "every slot has an owner again");
    let owners: BTreeMap<Slot, _> =
        Slot::all(SLOTS).map(|slot| (slot, world.owner(slot))).collect();
    assert!(owners.values().all(Option::is_some), "{owners:?}");
    for process in processes {
        process.end().await;
    }
}

proptest! {
    // The seed of a failure is printed and kept; PROPTEST_CASES makes a longer run.
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_skipped_and_nothing_begun_after_a_loss(
        seed: u64,
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let world = new_world();
            world.seed(seed);
            world.faults(|faults| faults.latency_max_ms = 3);
            live(&world, steps).await;
        });
    }
}
