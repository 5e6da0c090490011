//! A process dies at every planted step, once, and is started again; afterwards every promise holds.
//!
//! No scan helps: what a death leaves is for settlement, take-over and the confirm pass.

use crate::zoo::is_clean;
use crate::zoo_scripts::Script;
use anyhow::ensure;
use harness::names::{COMMAND_API, OUTBOX_RELAY, PROJECTION_WORKER};
use harness::{Reply, Scene};
use local_stack::{Process, Signal, Whom, wait_for};
use std::time::{Duration, Instant};

/// How long all deaths of a test may take.
const BOUND: Duration = Duration::from_secs(120);
/// A process that dies more often than this within a minute is given up, unless it was stopped in
/// between.
const DEATHS_IN_A_ROW: usize = 3;

const APPEND: [&str; 6] = [
    "append.intent-written",
    "append.before-commit",
    "append.unknown",
    "append.committed",
    "append.answered",
    "append.announced",
];
const SETTLE: [&str; 4] =
    ["settle.certified", "settle.fenced", "settle.announced", "settle.before-removal"];
/// Passed without anything to do.
const IDLE: [&str; 3] = ["lease.taken", "cdc.before-checkpoint", "cdc.checkpoint-stored"];
const CONSUME: [&str; 3] = ["cdc.handled", "cdc.cursor-stored", "lease.released"];
const PUBLISH: [&str; 2] = ["relay.sent", "relay.acknowledged"];

/// An order that is created and changed, whoever dies meanwhile.
async fn live(scene: &Scene<'_>, replica: usize) -> anyhow::Result<uuid::Uuid> {
    let order = scene.order();
    let (created, _) = scene.create(order, replica).await;
    let created = scene.settle(created).await?;
    let (changed, _) = scene.change(order, replica).await;
    let changed = scene.settle(changed).await?;
    ensure!(
        matches!((&created, &changed), (Reply::Ok { .. }, Reply::Ok { .. })),
        "{created:?}, {changed:?}"
    );
    Ok(order)
}

/// Ends a process orderly and starts it again: its deaths so far are forgotten.
async fn forgive(scene: &Scene<'_>, process: Process) -> anyhow::Result<()> {
    let stack = &scene.world.stack;
    stack.ready_one(process).await?;
    stack.stop(process, Signal::Terminate).await?;
    stack.resume(process).await?;
    stack.ready_one(process).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_api_may_die_at_every_step_of_append_and_settlement() -> anyhow::Result<()> {
    let sites = [APPEND.as_slice(), SETTLE.as_slice()].concat();
    let both = [Process::Worker(COMMAND_API, 0), Process::Worker(COMMAND_API, 1)];
    let mut script = Script::new(None, &[]);
    let apis = Whom::Program("command-api");
    script.once_at(apis, "TEST_CRASH_AT", &sites.join(","));
    let report = script
        .run(async |scene| {
            let began = Instant::now();
            // The one site that only a timeout leads to.
            scene
                .rule(serde_json::json!({"kind": "lwt_applied_timeout",
                "table": "event_store"}))
                .await?;
            let mut forgiven = 0;
            for turn in 0.. {
                let left: Vec<_> =
                    sites.iter().filter(|site| !script.is_marked(apis, site)).collect();
                if left.is_empty() {
                    println!("{} deaths within {:?}", sites.len(), began.elapsed());
                    return Ok(());
                }
                ensure!(began.elapsed() < BOUND, "nobody died at {left:?}");
                live(scene, turn % 2).await?;
                if sites.len() - left.len() >= forgiven + DEATHS_IN_A_ROW {
                    forgiven = sites.len() - left.len();
                    for process in both {
                        forgive(scene, process).await?;
                    }
                }
            }
            Ok(())
        })
        .await?;
    is_clean(&report)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_may_die_at_every_step_of_its_work() -> anyhow::Result<()> {
    let consumers = [
        (Process::Worker(PROJECTION_WORKER, 0), "orders@1", [IDLE, CONSUME].concat()),
        (Process::Worker(OUTBOX_RELAY, 0), "relay", [&IDLE[..], &CONSUME, &PUBLISH].concat()),
    ];
    let mut script = Script::new(None, &[]);
    for (process, _, sites) in &consumers {
        script.once_at(Whom::One(*process), "TEST_CRASH_AT", &sites.join(","));
    }
    let report = script
        .run(async |scene| {
            let began = Instant::now();
            loop {
                let mut left = Vec::new();
                for (process, _, sites) in &consumers {
                    let open =
                        sites.iter().filter(|site| !script.is_marked(Whom::One(*process), site));
                    left.extend(open.map(|site| (process.name(), *site)));
                }
                if left.is_empty() {
                    println!("all deaths within {:?}", began.elapsed());
                    return Ok(());
                }
                ensure!(began.elapsed() < BOUND, "nobody died at {left:?}");
                for (process, ..) in &consumers {
                    wait_for("the deaths that need no work", BOUND, || async {
                        let left =
                            IDLE.iter().find(|site| !script.is_marked(Whom::One(*process), site));
                        left.map_or(Ok(()), |site| Err(format!("nobody died at {site}")))
                    })
                    .await?;
                    // It releases its slots, and dies of that, too.
                    forgive(scene, *process).await?;
                }
                let order = live(scene, 0).await?;
                for (_, consumer, _) in &consumers {
                    scene.handled(order, consumer, 2).await?;
                }
            }
        })
        .await?;
    is_clean(&report)
}
