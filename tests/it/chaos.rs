//! Everything at once: load, faults on every hop and in every process, healing, and the judgement on
//! every promise. Longer runs and other seeds: `cargo run -p system-tests -- chaos`.

use anyhow::ensure;
use harness::{ChaosOptions, ProcessorTime, chaos, hooked_binaries};
use std::collections::BTreeSet;
use std::time::Duration;

/// Each of the first four runs. A slow machine gets fewer commands done in that time: there the others follow
/// until there were enough.
const SEEDS: [u64; 7] = [101, 202, 303, 404, 505, 606, 707];
const SEEDS_MIN: usize = 4;
/// On processors that are there; of what others take of them, nothing is asked.
const COMMANDS_MIN: f64 = 20_000.0;
/// How long the faults of one seed last.
const LENGTH: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_holds_under_chaos() -> anyhow::Result<()> {
    let (mut commands, mut fired, mut kills) = (0, 0, 0);
    let mut kinds = BTreeSet::new();
    let begun = ProcessorTime::now()?;
    let given = || anyhow::Ok(ProcessorTime::now()?.given_since(begun));
    for (done, seed) in SEEDS.into_iter().enumerate() {
        if done >= SEEDS_MIN && commands as f64 >= COMMANDS_MIN * given()? {
            break;
        }
        println!("SEED={seed}");
        let report = chaos(hooked_binaries().await?, &ChaosOptions::full(seed, LENGTH)).await?;
        ensure!(report.ok, "{report}");
        println!("{report}");
        commands += report.commands;
        fired += report.faults.values().sum::<u64>();
        kills += report.kills;
        kinds.extend(report.faults.into_keys());
    }
    let kinds = kinds.len();
    let given = given()?;
    let sum = format!(
        "{commands} commands, {fired} faults of {kinds} kinds, {kills} kills, {:.0} % of the processors",
        given * 100.0
    );
    println!("{sum}");
    let enough =
        commands as f64 >= COMMANDS_MIN * given && fired >= 200 && kinds >= 12 && kills >= 40;
    ensure!(enough, "too little happened: {sum}");
    Ok(())
}
