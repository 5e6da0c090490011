//! Measures the running system: latency at a fixed rate, throughput and cost under saturation,
//! cost of standing idle.
//!
//! Requests and device syncs are counted by the engine itself, processor time and memory by the
//! kernel, per process. Latency at the fixed rate counts from the time at which a command was
//! *scheduled*, so that a stall shows in every command that it delayed.

mod load;
mod meters;
mod report;

pub use report::{BenchReport, Latencies, Percentiles};

use crate::demo;
use load::Load;
use local_stack::{Doors, Hops, Stack};
use meters::Meters;
use std::sync::Arc;
use std::time::Duration;

/// What is measured, and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Commands per second of the open loop.
    pub rate: u64,
    /// Length of the open loop.
    pub seconds: u64,
    /// Clients of the closed loop.
    pub clients: usize,
    /// Length of the closed loop.
    pub saturated_seconds: u64,
    /// Length of the idle phase.
    pub idle_seconds: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { rate: 200, seconds: 20, clients: 64, saturated_seconds: 10, idle_seconds: 60 }
    }
}

/// Seconds at the fixed rate before anything counts: caches fill, connections open.
const WARM_UP_SECONDS: u64 = 3;

/// Runs all phases against a stack of which nobody else asks anything.
pub async fn run(stack: &Stack, plan: Plan) -> anyhow::Result<BenchReport> {
    let doors = demo::doors(stack);
    let hops = Arc::new(Hops::open(&doors).await?);
    let meters = Meters::new(stack);
    let load = Load::new(doors, Arc::clone(&hops));

    eprintln!("warming up");
    load.open_loop(plan.rate, Duration::from_secs(WARM_UP_SECONDS)).await?;
    eprintln!("{} commands/s for {} s", plan.rate, plan.seconds);
    let paced = load.open_loop(plan.rate, Duration::from_secs(plan.seconds)).await?;

    eprintln!("{} clients for {} s", plan.clients, plan.saturated_seconds);
    let before = meters.read().await?;
    let saturated =
        load.closed_loop(plan.clients, Duration::from_secs(plan.saturated_seconds)).await?;
    load.drained().await?;
    let work = meters.read().await?.since(&before);
    // Following the topics costs the broker; idle means that nobody looks.
    drop(load);
    drop(hops);

    eprintln!("idle for {} s", plan.idle_seconds);
    let before = meters.read().await?;
    tokio::time::sleep(Duration::from_secs(plan.idle_seconds)).await;
    let idle = meters.read().await?.since(&before);
    Ok(BenchReport::new(&paced, &saturated, &work, &idle))
}

/// Sends commands at a steady rate to a system that runs already and that others may use too. Errs unless every
/// one of them succeeds and comes to its topic.
pub async fn steady(doors: Doors, rate: u64, length: Duration) -> anyhow::Result<Latencies> {
    let hops = Arc::new(Hops::open(&doors).await?);
    let load = Load::new(doors, hops);
    let paced = load.open_loop(rate, length).await?;
    load.drained().await?;
    Ok(Latencies::new(&paced))
}
