//! The bug zoo of dead letters: poison, restarts and outages break nothing, and each seeded defect in
//! what deals with them is caught by the promise that it breaks.

use crate::zoo::{HEAL_WITH_DEFECT, at, ms};
use anyhow::ensure;
use harness::names::OUTBOX_RELAY;
use harness::{
    ChaosOptions, Defect, Poison, PoisonEffect, Poisoned, Report, Strike, Timed, chaos,
    hooked_binaries,
};
use local_stack::{Process, Whom};
use std::time::Duration;

/// How often a scenario may miss the moment in which its defect does harm; a slow machine has fewer of them.
const RUNS_MAX: u32 = 3;

/// One event in so many cannot be published for a while.
fn unpublishable(every: u32, length_ms: u64) -> Timed {
    let events = Poisoned::Every(every);
    let poison = Poison { consumer: "relay".to_owned(), events, effect: PoisonEffect::Refuse };
    at(0, 500, Strike::Poison(poison, ms(length_ms)))
}

/// Events that cannot be published for a while, and are then.
fn poisoned(seed: u64) -> ChaosOptions {
    ChaosOptions::small(seed, ms(8_000), vec![unpublishable(6, 5_000)])
}

/// The same, while the processes that know of it die.
fn poisoned_among_restarts(seed: u64) -> ChaosOptions {
    let kill = |track, replica, at_ms| {
        at(track, at_ms, Strike::Kill(Process::Worker(OUTBOX_RELAY, replica), Duration::ZERO))
    };
    let faults = vec![unpublishable(6, 10_000), kill(1, 0, 5_000), kill(2, 1, 5_000)];
    ChaosOptions::small(seed, ms(13_000), faults)
}

/// A broker that is away for longer than a record may take.
fn broker_away(seed: u64) -> ChaosOptions {
    let faults = vec![at(0, 1_500, Strike::Stop(Process::Broker, ms(6_000)))];
    ChaosOptions::small(seed, ms(9_000), faults)
}

async fn run(scenario: fn(u64) -> ChaosOptions, defect: Option<&str>) -> anyhow::Result<Report> {
    let seed = harness::seed();
    let mut options = scenario(seed);
    if let Some(defect) = defect {
        options.heal_limit = HEAL_WITH_DEFECT;
        for program in ["projection-worker", "outbox-relay", "dlq-retrier"] {
            let whom = Whom::Program(program);
            options.env.push((whom, "TEST_DEFECT".to_owned(), defect.to_owned()));
        }
    }
    let report = chaos(hooked_binaries().await?, &options).await?;
    println!("{report}");
    Ok(report)
}

/// The scenario without a defect breaks nothing.
async fn clean(scenario: fn(u64) -> ChaosOptions) -> anyhow::Result<()> {
    let report = run(scenario, None).await?;
    ensure!(report.violated().is_empty(), "without a defect {:?} are broken", report.violated());
    ensure!(!report.faults.is_empty(), "nothing happened");
    Ok(())
}

/// The defect is caught by the promise that it breaks.
async fn caught(defect: &str, scenario: fn(u64) -> ChaosOptions) -> anyhow::Result<()> {
    let Defect { promise, broken, .. } = Defect::named(defect)?;
    let mut violated = Vec::new();
    // Which aggregate has an event behind its letter when a process dies is chance.
    for _ in 0..RUNS_MAX {
        let report = run(scenario, Some(defect)).await?;
        if report.violated().contains(&&*promise) {
            return Ok(());
        }
        violated.extend(report.violated().into_iter().map(str::to_owned));
    }
    anyhow::bail!("{defect} broke {violated:?} and not {promise}. {broken}")
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_that_is_healed_is_clean() -> anyhow::Result<()> {
    clean(poisoned).await
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_among_restarts_is_clean() -> anyhow::Result<()> {
    clean(poisoned_among_restarts).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_clean() -> anyhow::Result<()> {
    clean(broker_away).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_released_out_of_order() -> anyhow::Result<()> {
    caught("letter-released-out-of-order", poisoned).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_forgotten_on_restart() -> anyhow::Result<()> {
    caught("block-forgotten-on-restart", poisoned_among_restarts).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_is_dead_lettered() -> anyhow::Result<()> {
    caught("outage-dead-lettered", broker_away).await
}
