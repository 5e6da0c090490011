//! What a process says of itself on its metrics port.

use crate::world::World;
use local_stack::{Process, wait_for};
use std::time::{Duration, Instant};

/// As configured by default.
const SLOTS: f64 = 16.0;

/// The sum of a metric's series that have all these labels.
pub(crate) async fn metric(world: &World, process: Process, name: &str, labels: &[&str]) -> f64 {
    series(world, process, name, labels).await.into_iter().sum()
}

/// The values of those series.
pub async fn series(world: &World, process: Process, name: &str, labels: &[&str]) -> Vec<f64> {
    let text = scrape(world, process).await;
    let is_meant = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|part| line.contains(part))
    };
    let values = text.lines().filter(is_meant).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).collect()
}

/// All that it says; nothing while it does not answer.
pub(crate) async fn scrape(world: &World, process: Process) -> String {
    let address = world.stack.addresses().metrics(process).unwrap_or_default();
    let answer = world.client(0).http.get(&format!("http://{address}/metrics")).await;
    answer.map(|answer| answer.body.as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

/// Waits until a process holds all slots of its group; gives how long that took.
pub async fn holds_all(
    world: &World,
    process: Process,
    within: Duration,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let what = format!("{} to hold all slots", process.name());
    wait_for(&what, within, || async {
        match metric(world, process, "lease_held", &[]).await {
            SLOTS => Ok(()),
            slots => Err(format!("it holds {slots}")),
        }
    })
    .await?;
    Ok(began.elapsed())
}
