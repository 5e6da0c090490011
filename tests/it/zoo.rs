//! The bug zoo: each seeded defect is caught by the promise that it breaks, and the same run without
//! the defect is clean.
//!
//! The defects are in `tests/zoo/`, each with the promise that it breaks; `TEST_DEFECT` switches one on.
//! Each scenario has only the faults that its defects need, mostly one precise fault instead of chance.

use crate::zoo_scripts;
use anyhow::ensure;
use harness::names::COMMAND_API;
use harness::{ChaosOptions, Defect, Hop, Mode, Report, Strike, Timed, chaos, hooked_binaries};
use local_stack::{Process, Whom};
use serde_json::{Value, json};
use std::time::Duration;

/// How long everything may take to be whole again: with a defect it never is, and without it takes a few seconds.
pub(crate) const HEAL_WITH_DEFECT: Duration = Duration::from_secs(12);

const HOUR_MS: &str = "3600000";

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn at(track: u8, at_ms: u64, strike: Strike) -> Timed {
    Timed { track, at: ms(at_ms), strike }
}

/// A rule that is in force from the beginning to the end.
fn rule(rule: Value) -> Vec<Timed> {
    vec![at(0, 500, Strike::Engine(rule, ms(6_000)))]
}

/// Nothing but clients, of whom some send what they sent before.
fn undisturbed(seed: u64) -> ChaosOptions {
    ChaosOptions::small(seed, ms(7_000), Vec::new())
}

/// Commits that are applied and answered with a timeout.
fn applied_with_a_timeout(seed: u64) -> ChaosOptions {
    let faults = rule(json!({"kind": "lwt_applied_timeout", "table": "event_store", "count": 20,
        "probability": 0.2}));
    ChaosOptions::small(seed, ms(7_000), faults)
}

/// Commits that are answered with a timeout and never applied.
fn not_applied_with_a_timeout(seed: u64) -> ChaosOptions {
    let faults =
        rule(json!({"kind": "lwt_not_applied_timeout", "table": "event_store", "count": 20,
        "probability": 0.2}));
    ChaosOptions::small(seed, ms(7_000), faults)
}

/// One process dies between a commit and its announcement, and does not come back for a while.
fn death_before_announcing(seed: u64) -> ChaosOptions {
    let mark = std::env::temp_dir().join(format!("zoo-crash-{}-{seed}", std::process::id()));
    let program = Whom::Program("command-api");
    let mut options = ChaosOptions::small(seed, ms(8_000), Vec::new());
    options.env = vec![
        (program, "TEST_CRASH_AT".to_owned(), "append.committed:60".to_owned()),
        (program, "TEST_MARKS".to_owned(), mark.display().to_string()),
    ];
    options
}

/// Clients that hang up while the database takes its time.
fn hanging_up(seed: u64) -> ChaosOptions {
    let mut faults = vec![at(
        0,
        200,
        Strike::Engine(
            json!({"kind": "slow", "table": "outbox_messages", "count": 3_000, "delay_ms": 300}),
            ms(6_500),
        ),
    )];
    for turn in 0..12 {
        let hop = Hop::FromClients(Process::Worker(COMMAND_API, usize::from(turn % 2)));
        let strike = Strike::Hop(hop, Mode::Reset, ms(60));
        faults.push(at(1 + turn % 2, 800 + 450 * u64::from(turn), strike));
    }
    ChaosOptions::small(seed, ms(7_500), faults)
}

/// Processes come back with nothing in memory.
fn restarts(seed: u64) -> ChaosOptions {
    let kill = |replica, at_ms| {
        at(0, at_ms, Strike::Kill(Process::Worker(COMMAND_API, replica), Duration::ZERO))
    };
    let faults = vec![kill(0, 2_500), kill(1, 4_000), kill(0, 5_500)];
    ChaosOptions::small(seed, ms(9_000), faults)
}

/// A read model that cannot be written for longer than the safety interval.
fn nothing_projected(seed: u64) -> ChaosOptions {
    let rule = json!({"kind": "unavailable", "table": "order_read_model", "count": 100_000});
    let faults = vec![at(0, 1_000, Strike::Engine(rule, ms(7_000)))];
    ChaosOptions::small(seed, ms(9_000), faults)
}

/// Log rows that become visible after the fast pass has gone by, and before the confirm pass does.
fn late_log_rows(seed: u64) -> ChaosOptions {
    let faults =
        rule(json!({"kind": "log_rows_delayed", "table": "outbox_messages", "count": 100_000,
        "probability": 0.3, "delay_ms": 2_400}));
    ChaosOptions::small(seed, ms(7_500), faults)
}

/// New generations of streams, one after the other.
fn generations(seed: u64) -> ChaosOptions {
    let faults = (0..4).map(|turn| at(0, 1_500 + 1_500 * turn, Strike::Generation)).collect();
    ChaosOptions::small(seed, ms(8_500), faults)
}

/// Renewals and checkpoints that land long after they were sent.
fn late_renewals(seed: u64) -> ChaosOptions {
    let faults = vec![at(
        0,
        1_500,
        Strike::Engine(
            json!({"kind": "lwt_applied_later", "table": "slots", "count": 100_000,
            "probability": 0.3, "delay_ms": 3_500}),
            ms(8_000),
        ),
    )];
    ChaosOptions::small(seed, ms(14_000), faults)
}

/// The scan that finds everything sooner or later would heal what the defects break.
pub(crate) fn without_scans(options: &mut ChaosOptions) {
    for interval in ["OUTBOX", "LEDGER"] {
        let name = format!("APP__SCANNER__{interval}_INTERVAL_MS");
        options.env.push((Whom::Program("projection-worker"), name, HOUR_MS.to_owned()));
    }
}

async fn run(scenario: fn(u64) -> ChaosOptions, defect: Option<&str>) -> anyhow::Result<Report> {
    let seed = harness::seed();
    let mut options = scenario(seed);
    without_scans(&mut options);
    if let Some(defect) = defect {
        options.heal_limit = HEAL_WITH_DEFECT;
        for program in ["command-api", "projection-worker", "outbox-relay"] {
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
    is_clean(&run(scenario, None).await?)
}

/// The defect is caught by the promise that it breaks.
async fn caught(defect: &str, scenario: fn(u64) -> ChaosOptions) -> anyhow::Result<()> {
    is_caught(&run(scenario, Some(defect)).await?, defect)
}

pub(crate) fn is_clean(report: &Report) -> anyhow::Result<()> {
    ensure!(report.violated().is_empty(), "without a defect {:?} are broken", report.violated());
    Ok(())
}

fn is_caught(report: &Report, defect: &str) -> anyhow::Result<()> {
    let Defect { promise, broken, .. } = Defect::named(defect)?;
    let violated = report.violated();
    let is_caught = violated.contains(&&*promise);
    ensure!(is_caught, "{defect} broke {violated:?} and not {promise}. {broken}");
    Ok(())
}

/// The same for a script: what it does without the defect, and with it.
macro_rules! scripts {
    ($($clean:ident, $caught:ident: $script:ident, $defect:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $clean() -> anyhow::Result<()> {
                is_clean(&zoo_scripts::$script(None).await?)
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn $caught() -> anyhow::Result<()> {
                is_caught(&zoo_scripts::$script(Some($defect)).await?, $defect)
            }
        )*
    };
}

/// One test for each scenario without a defect, and one for each defect.
macro_rules! zoo {
    ($($name:ident: $check:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() -> anyhow::Result<()> {
                $check.await
            }
        )*
    };
}

zoo! {
    undisturbed_is_clean: clean(undisturbed);
    applied_with_a_timeout_is_clean: clean(applied_with_a_timeout);
    not_applied_with_a_timeout_is_clean: clean(not_applied_with_a_timeout);
    death_before_announcing_is_clean: clean(death_before_announcing);
    hanging_up_is_clean: clean(hanging_up);
    restarts_are_clean: clean(restarts);
    nothing_projected_is_clean: clean(nothing_projected);
    late_log_rows_are_clean: clean(late_log_rows);
    generations_are_clean: clean(generations);
    late_renewals_are_clean: clean(late_renewals);

    a_timeout_taken_for_failure: caught("timeout-is-failure", applied_with_a_timeout);
    a_timeout_taken_for_success: caught("timeout-is-success", not_applied_with_a_timeout);
    a_new_command_id_for_each_sending: caught("new-command-id-on-retry", undisturbed);
    intents_that_are_not_written: caught("intent-not-written", death_before_announcing);
    dead_writers_that_nobody_settles:
        caught("dead-writer-never-settled", death_before_announcing);
    an_append_that_ends_with_its_request:
        caught("append-cancelled-with-request", hanging_up);
    a_refusal_from_a_stale_cache: caught("refusal-from-stale-cache", undisturbed);
    commands_forgotten_at_a_restart:
        caught("duplicate-check-forgotten-on-restart", restarts);
    a_checkpoint_before_the_work: caught("checkpoint-before-apply", nothing_projected);
    no_confirm_pass: caught("confirm-pass-off", late_log_rows);
    old_streams_dropped_too_early: caught("old-streams-dropped", generations);
    a_delayed_renewal_that_moves_a_checkpoint_back:
        caught("delayed-renewal-moves-checkpoint-back", late_renewals);
}

scripts! {
    landing_after_the_answer_is_clean, no_fence:
        landing_after_the_answer, "no-fence";
    landing_after_the_settlement_is_clean, a_settler_that_does_not_move_the_fence:
        landing_after_the_settlement, "settler-does-not-fence";
    waking_during_the_settlement_is_clean, no_death_certificate:
        waking_during_the_settlement, "no-death-certificate";
    a_log_row_behind_its_successor_is_clean, gaps_that_are_passed_over:
        a_log_row_behind_its_successor, "gap-healing-off";
    dying_with_records_in_hand_is_clean, the_next_record_before_the_last_is_acknowledged:
        dying_with_records_in_hand, "parallel-produce-per-key";
    waking_with_a_checkpoint_in_hand_is_clean, no_fence_of_leases:
        waking_with_a_checkpoint_in_hand, "no-lease-fence";
}

#[test]
fn each_defect_has_a_test() -> anyhow::Result<()> {
    let tests = concat!(include_str!("zoo.rs"), include_str!("letter_zoo.rs"));
    for Defect { name, .. } in Defect::all()? {
        ensure!(tests.contains(&format!("{name:?}")), "no test looks for {name}");
    }
    Ok(())
}
