//! Some events cannot be handled, one of many: nobody else is delayed.

use crate::chaos::{PoisonEffect, Poisoned};
use crate::dump::letters;
use crate::metrics::scrape;
use crate::names::PROJECTION_WORKER;
use crate::outages::{SOON, all_is_well, life, plan, poison, until};
use crate::world::{Plan, World, hooked_binaries};
use anyhow::ensure;
use futures::future::join_all;
use local_stack::Process;
use std::time::Duration;
use uuid::Uuid;

/// Rounds with poison, and as many without.
const ROUNDS: usize = 4;
/// Orders that live at a time, and the events of each.
const ORDERS: usize = 12;
const EVENTS_OF_AN_ORDER: usize = 3;

/// Upper bounds of a histogram's buckets and how many observations lie below each.
async fn buckets(world: &World, process: Process, name: &str) -> Vec<(f64, f64)> {
    let text = scrape(world, process).await;
    let mut found: Vec<(f64, f64)> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with(&format!("{name}_bucket"))) {
        let Some((_, bound)) = line.split_once("le=\"") else { continue };
        let bound = bound.split('"').next().unwrap_or_default();
        let bound: f64 = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap_or(0.0) };
        let count = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0.0);
        match found.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => found.push((bound, count)),
        }
    }
    found
}

/// What came between two looks.
fn since(before: &[(f64, f64)], now: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let earlier = |bound| before.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, n)| *n);
    now.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect()
}

/// The middle one, the lower of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// The 99th percentile, between the bounds of its bucket by the share of it that is needed.
fn p99(buckets: &[(f64, f64)]) -> f64 {
    let total = buckets.iter().map(|(_, count)| *count).fold(0.0, f64::max);
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= total * 0.99 {
            let share = (total * 0.99 - below) / (count - below).max(1.0);
            return if bound.is_finite() { low + (bound - low) * share } else { f64::INFINITY };
        }
        (low, below) = (*bound, *count);
    }
    f64::INFINITY
}

/// Poisons one event of `rare` in some rounds, of so many events each. Errs unless the others' 99th percentile is at
/// most twice that of rounds without poison, and `noise`, and all is handled in order in the end. Prints what it
/// saw.
pub async fn survives_rare_poison(rare: u32, events: usize, noise: Duration) -> anyhow::Result<()> {
    let world = World::start_with(hooked_binaries().await?, Plan { alone: true, ..plan() }).await?;
    let session = world.session().await?;
    let (client, worker) = (world.client(0), Process::Worker(PROJECTION_WORKER, 0));
    let look = async || buckets(&world, worker, "projection_freshness_seconds").await;
    let (mut clean, mut poisoned) = (Vec::new(), Vec::new());
    let mut made = Vec::new();
    for round in 0..ROUNDS * 2 {
        let is_poisoned = round % 2 == 1;
        let rare = poison("orders@1", Poisoned::Every(rare), PoisonEffect::Refuse);
        world.poison(if is_poisoned { std::slice::from_ref(&rare) } else { &[] })?;
        let before = look().await;
        for _ in 0..events.div_ceil(ORDERS * EVENTS_OF_AN_ORDER) {
            let lives = join_all((0..ORDERS).map(|_| life(&client, 2))).await;
            made.extend(lives.into_iter().collect::<anyhow::Result<Vec<Uuid>>>()?);
        }
        let round = p99(&since(&before, &look().await));
        if is_poisoned { &mut poisoned } else { &mut clean }.push(round);
        if is_poisoned {
            ensure!(!letters(&session).await?.is_empty(), "nothing was poisoned");
            world.poison(&[])?;
            world.esctl(&["dlq", "retry-all"]).await?;
            until(&session, "the letters to go", |found| found.is_empty()).await?;
        }
    }
    println!(
        "99th percentiles of the freshness: {clean:.3?} s clean, {poisoned:.3?} s with poison"
    );
    // A disk that stands still for a second spoils a round; what poison does it does in each of them.
    let (clean, poisoned) = (median(clean), median(poisoned));
    let limit = clean * 2.0 + noise.as_secs_f64();
    ensure!(poisoned <= limit, "{poisoned} s with poison, {clean} s without");
    world.poison(&[])?;
    all_is_well(&world, &session, &made, SOON).await?;
    world.finish_after(|_| true).await
}
