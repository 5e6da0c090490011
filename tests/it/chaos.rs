//! Everything at once: load, faults on every hop and in every process, healing, and the judgement on
//! every promise. Longer runs and other seeds: `cargo run -p system-tests -- chaos`.

use anyhow::ensure;
use harness::{ChaosOptions, alone, binaries, chaos};
use std::time::Duration;

const SEED: u64 = 101;
/// How long the faults last.
const LENGTH: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_holds_under_chaos() -> anyhow::Result<()> {
    let _alone = alone().await;
    println!("SEED={SEED}");
    let report = chaos(binaries().await?, &ChaosOptions::full(SEED, LENGTH)).await?;
    println!("{report}");
    ensure!(report.ok, "seed {SEED} is not ok");
    let fired: u64 = report.faults.values().sum();
    let (kinds, kills) = (report.faults.len(), report.kills);
    ensure!(fired >= 50 && kinds >= 12 && kills >= 10, "too little happened");
    Ok(())
}
