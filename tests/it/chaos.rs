//! Everything at once: load, faults on every hop and in every process, healing, and the judgement on
//! every promise. Longer runs and other seeds: `cargo run -p system-tests -- chaos`.

use anyhow::ensure;
use harness::{ChaosOptions, alone, binaries, chaos};
use std::collections::BTreeSet;
use std::time::Duration;

const SEEDS: [u64; 4] = [101, 202, 303, 404];
/// How long the faults of one seed last.
const LENGTH: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_holds_under_chaos() -> anyhow::Result<()> {
    let _alone = alone().await;
    let (mut commands, mut fired, mut kills) = (0, 0, 0);
    let mut kinds = BTreeSet::new();
    for seed in SEEDS {
        println!("SEED={seed}");
        let report = chaos(binaries().await?, &ChaosOptions::full(seed, LENGTH)).await?;
        ensure!(report.ok, "{report}");
        println!("{report}");
        commands += report.commands;
        fired += report.faults.values().sum::<u64>();
        kills += report.kills;
        kinds.extend(report.faults.into_keys());
    }
    let kinds = kinds.len();
    let sum = format!("{commands} commands, {fired} faults of {kinds} kinds, {kills} kills");
    println!("{sum}");
    let enough = commands >= 20_000 && fired >= 200 && kinds >= 12 && kills >= 40;
    ensure!(enough, "too little happened: {sum}");
    Ok(())
}
