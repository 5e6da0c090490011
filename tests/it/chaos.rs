//! Everything at once, from several seeds: load, faults on every hop and in every process, healing,
//! and the judgement on every promise.

use anyhow::ensure;
use harness::{ChaosOptions, Report, alone, binaries, chaos};
use std::collections::BTreeSet;
use std::time::Duration;

const SEEDS: [u64; 4] = [101, 202, 303, 404];
/// How long the faults last, per seed.
const LENGTH: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_holds_under_chaos_from_several_seeds() -> anyhow::Result<()> {
    let _alone = alone().await;
    let binaries = binaries().await?;
    let mut reports: Vec<Report> = Vec::new();
    for seed in SEEDS {
        println!("SEED={seed}");
        let report = chaos(binaries, &ChaosOptions::full(seed, LENGTH)).await?;
        println!("{report}");
        ensure!(report.ok, "seed {seed} is not ok");
        reports.push(report);
    }
    let commands: usize = reports.iter().map(|report| report.commands).sum();
    let kills: usize = reports.iter().map(|report| report.kills).sum();
    let faults: u64 = reports.iter().flat_map(|report| report.faults.values()).sum();
    let kinds: BTreeSet<&String> = reports.iter().flat_map(|report| report.faults.keys()).collect();
    println!("{commands} commands, {faults} faults of {} kinds, {kills} kills", kinds.len());
    ensure!(commands >= 20_000 && faults >= 200 && kinds.len() >= 12 && kills >= 40);
    Ok(())
}
