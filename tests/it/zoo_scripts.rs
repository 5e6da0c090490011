//! The races of the bug zoo that are made step by step, since chance would miss them now and then:
//! each script leads to the one moment in which its defect does harm.

use crate::zoo::{HEAL_WITH_DEFECT, without_scans};
use anyhow::ensure;
use harness::names::{COMMAND_API, OUTBOX_RELAY, PROJECTION_WORKER};
use harness::{
    ChaosOptions, Hop, Mode, Reply, Report, Scene, SlotRow, hooked_binaries, run_script,
};
use local_stack::{Process, Replicas, Signal, Whom, wait_for};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

/// How long a step that only a defect makes possible is waited for.
const PERHAPS: Duration = Duration::from_secs(5);
/// How long something may take on a machine that is busy.
const SOON: Duration = Duration::from_secs(40);
/// Longer than any script: what waits so long runs when the script says so.
const UNTIL_RELEASED_MS: u64 = 300_000;

const API: [Process; 2] = [Process::Worker(COMMAND_API, 0), Process::Worker(COMMAND_API, 1)];
const DIES: Whom = Whom::One(API[0]);

/// The options of a script, with the defect in these processes.
pub(crate) struct Script {
    options: ChaosOptions,
    /// Where it is marked what has happened.
    folder: TempDir,
}

impl Script {
    pub(crate) fn new(defect: Option<&str>, defective: &[Whom]) -> Self {
        let mut options = ChaosOptions::small(harness::seed(), Duration::ZERO, Vec::new());
        options.replicas = Replicas::of([(COMMAND_API, 2)]);
        without_scans(&mut options);
        if let Some(defect) = defect {
            options.heal_limit = HEAL_WITH_DEFECT;
            for whom in defective {
                options.env.push((*whom, "TEST_DEFECT".to_owned(), defect.to_owned()));
            }
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { options, folder }
    }

    fn set(&mut self, whom: Whom, name: &str, value: &str) {
        self.options.env.push((whom, name.to_owned(), value.to_owned()));
    }

    /// Processes die, or stand still, when they pass a site; once, whatever comes after, and
    /// whichever of them comes first.
    pub(crate) fn once_at(&mut self, whom: Whom, what: &str, site: &str) {
        let marks = self.marks_of(whom);
        self.set(whom, what, site);
        self.set(whom, "TEST_MARKS", &marks);
    }

    fn marks_of(&self, whom: Whom) -> String {
        let name = match whom {
            Whom::Program(name) => name.to_owned(),
            Whom::One(process) => process.name(),
        };
        self.folder.path().join(name).display().to_string()
    }

    /// Whether that has happened.
    pub(crate) fn is_marked(&self, whom: Whom, site: &str) -> bool {
        std::fs::exists(format!("{}.{site}", self.marks_of(whom))).unwrap_or(false)
    }

    /// Who stands still at a site goes on.
    fn let_go(&self, scene: &Scene<'_>, process: Process, site: &str) -> anyhow::Result<()> {
        std::fs::write(format!("{}.{site}.go", self.marks_of(Whom::One(process))), "")?;
        scene.wake(process)
    }

    pub(crate) async fn run(
        &self,
        script: impl AsyncFnOnce(&Scene<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Report> {
        let report = run_script(hooked_binaries().await?, &self.options, script).await?;
        println!("{report}");
        Ok(report)
    }
}

/// A commit that lands after its client was told that it was not done.
pub(crate) async fn landing_after_the_answer(defect: Option<&str>) -> anyhow::Result<Report> {
    const COMMITS: u64 = 4;
    let api = Whom::Program("command-api");
    let mut script = Script::new(defect, &[api]);
    script.set(api, "APP__EVENT_STORE__COMMIT_RESENDS_MAX", "0");
    script.set(api, "APP__EVENT_STORE__CONFLICT_RETRIES_MAX", "0");
    script
        .run(async |scene| {
            for _ in 0..COMMITS {
                scene.rule(late_commit()).await?;
                let (_, reply) = scene.create(scene.order(), 0).await;
                ensure!(matches!(reply, Reply::Fail { .. }), "not denied: {reply:?}");
            }
            scene.land(COMMITS).await
        })
        .await
}

/// One commit is answered with a timeout, and is still on its way when everybody has given it up.
fn late_commit() -> serde_json::Value {
    json!({"kind": "lwt_applied_later", "table": "event_store", "delay_ms": UNTIL_RELEASED_MS})
}

/// A commit that lands after its writer died and was settled. Nobody else wants the aggregate.
pub(crate) async fn landing_after_the_settlement(defect: Option<&str>) -> anyhow::Result<Report> {
    let mut script = Script::new(defect, &[Whom::Program("command-api")]);
    script.once_at(DIES, "TEST_CRASH_AT", "append.unknown");
    script
        .run(async |scene| {
            let before: Vec<Uuid> =
                scene.writers().await?.into_iter().map(|row| row.writer).collect();
            ensure!(before.len() == 2, "the writers before are {before:?}");
            scene.rule(late_commit()).await?;
            let (_, reply) = scene.create(scene.order(), 0).await;
            ensure!(matches!(reply, Reply::Info { .. }), "the writer lives on: {reply:?}");
            scene
                .writers_are("the dead writer to be settled", |rows| {
                    let left = rows.iter().filter(|row| before.contains(&row.writer));
                    rows.len() == 2 && left.count() == 1
                })
                .await?;
            scene.land(1).await
        })
        .await
}

/// A writer that wakes while it is being settled, goes on, and dies before it has announced what it
/// committed.
pub(crate) async fn waking_during_the_settlement(defect: Option<&str>) -> anyhow::Result<Report> {
    const LEFT: &str = "append.committed";
    const SETTLED: &str = "settle.before-removal";
    let mut script = Script::new(defect, &[Whom::Program("command-api")]);
    script.once_at(DIES, "TEST_CRASH_AT", LEFT);
    script.once_at(Whom::One(API[1]), "TEST_PAUSE_AT", SETTLED);
    script
        .run(async |scene| {
            scene.world.stack.signal(API[0], Signal::Pause)?;
            scene.stands_still(API[1]).await?;
            scene.wake(API[0])?;
            let (index, _) = scene.create(scene.order(), 0).await;
            wait_for("the writer to die of its commit", SOON, || async {
                if script.is_marked(DIES, LEFT) {
                    return Ok(());
                }
                Err(format!("{:?}", scene.again(index, 0).await))
            })
            .await?;
            script.let_go(scene, API[1], SETTLED)
        })
        .await
}

/// A row of the log that comes long after the row of the next version.
pub(crate) async fn a_log_row_behind_its_successor(defect: Option<&str>) -> anyhow::Result<Report> {
    // The relay alone: a projection cannot fold what follows on a gap.
    let script = Script::new(defect, &[Whom::Program("outbox-relay")]);
    script
        .run(async |scene| {
            let order = scene.order();
            let late = json!({"kind": "log_rows_delayed", "table": "outbox_messages",
                "delay_ms": 6_000});
            scene.rule(late).await?;
            let (_, created) = scene.create(order, 0).await;
            scene.announced(order, 1).await?;
            let (_, changed) = scene.change(order, 0).await;
            ensure!(
                matches!((&created, &changed), (Reply::Ok { .. }, Reply::Ok { .. })),
                "{created:?}, {changed:?}"
            );
            scene.handled(order, "relay", 2).await
        })
        .await
}

/// A relay that dies with records in hand which no broker has acknowledged.
pub(crate) async fn dying_with_records_in_hand(defect: Option<&str>) -> anyhow::Result<Report> {
    const LEFT: &str = "cdc.cursor-stored";
    let relay = Process::Worker(OUTBOX_RELAY, 0);
    let mut script = Script::new(defect, &[Whom::One(relay)]);
    script.once_at(Whom::One(relay), "TEST_CRASH_AT", &format!("{LEFT}:2"));
    script
        .run(async |scene| {
            let order = scene.order();
            let (_, created) = scene.create(order, 0).await;
            ensure!(matches!(created, Reply::Ok { .. }), "{created:?}");
            scene.handled(order, "relay", 1).await?;
            scene.hop(Hop::ToBroker(relay), Mode::Refuse)?;
            for _ in 0..3 {
                let (_, changed) = scene.change(order, 0).await;
                ensure!(matches!(changed, Reply::Ok { .. }), "{changed:?}");
            }
            // A relay that waits for its broker never gets there.
            let died = wait_for("the relay to die", PERHAPS, || async {
                if script.is_marked(Whom::One(relay), LEFT) {
                    Ok(())
                } else {
                    Err("it waits".to_owned())
                }
            });
            let _ = died.await;
            scene.hop(Hop::ToBroker(relay), Mode::Pass)?;
            let (_, changed) = scene.change(order, 0).await;
            ensure!(matches!(changed, Reply::Ok { .. }), "{changed:?}");
            Ok(())
        })
        .await
}

/// A worker that stands still with a checkpoint in hand, and wakes when another has its slots.
pub(crate) async fn waking_with_a_checkpoint_in_hand(
    defect: Option<&str>,
) -> anyhow::Result<Report> {
    const IN_HAND: &str = "cdc.before-checkpoint";
    let sleeper = Process::Worker(PROJECTION_WORKER, 0);
    let mut script = Script::new(defect, &[Whom::One(sleeper)]);
    script.options.replicas = Replicas::of([(COMMAND_API, 2), (PROJECTION_WORKER, 2)]);
    script.once_at(Whom::One(sleeper), "TEST_PAUSE_AT", &format!("{IN_HAND}:2"));
    // So that what it writes when it wakes is its last word for a while.
    script.set(Whom::One(sleeper), "APP__CDC__CHECKPOINT_INTERVAL_MS", "4000");
    script
        .run(async |scene| {
            scene.stands_still(sleeper).await?;
            let theirs = |rows: &[SlotRow]| -> BTreeMap<u32, SlotRow> {
                let rows = rows.iter().filter(|row| row.group == "projections");
                rows.map(|row| (row.slot, row.clone())).collect()
            };
            let before = theirs(&scene.slots_are("the slots", |_| true).await?);
            let moved = |rows: &[SlotRow]| {
                let rows = theirs(rows);
                let owners: BTreeSet<_> = rows.values().map(|row| row.owner).collect();
                owners.len() == 1
                    && !owners.contains(&None)
                    && before.iter().all(|(slot, before)| {
                        rows.get(slot).is_some_and(|now| before.checkpoint_us < now.checkpoint_us)
                    })
            };
            scene.slots_are("the other one to move every checkpoint", moved).await?;
            scene.look().await?;
            script.let_go(scene, sleeper, IN_HAND)?;
            let woken = Instant::now();
            while woken.elapsed() < Duration::from_secs(3) {
                scene.look().await?;
            }
            Ok(())
        })
        .await
}
