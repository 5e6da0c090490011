//! Each child of each process falls in turn, under load: the process heals, and nothing is lost.

use anyhow::{Context, ensure};
use harness::names::{COMMAND_API, DLQ_RETRIER, OUTBOX_RELAY, PROJECTION_WORKER, QUERY_API};
use harness::{Plan, Steady, World, hooked_binaries, series};
use local_stack::{Process, Whom};
use std::path::{Path, PathBuf};
use std::time::Duration;

const HEALED_WITHIN: Duration = Duration::from_secs(60);

/// Every child that is its own restart unit.
const CHILDREN: [(Process, &[&str]); 5] = [
    (Process::Worker(COMMAND_API, 0), &["http", "health"]),
    (Process::Worker(PROJECTION_WORKER, 0), &["projections", "scanner", "audit", "health"]),
    (Process::Worker(OUTBOX_RELAY, 0), &["relay", "broker-watch", "health"]),
    (Process::Worker(DLQ_RETRIER, 0), &["retries", "broker-watch", "health"]),
    (Process::Worker(QUERY_API, 0), &["http", "health"]),
];

fn trigger(folder: &Path, process: Process) -> PathBuf {
    folder.join(process.name())
}

/// Tells a child to panic, and waits until it has done so.
async fn fell(folder: &Path, process: Process, child: &str) -> anyhow::Result<()> {
    let (half, whole) = (folder.join("half-written"), trigger(folder, process));
    std::fs::write(&half, child)?;
    std::fs::rename(&half, &whole)?;
    local_stack::wait_for(
        &format!("{child} of {} to fall", process.name()),
        HEALED_WITHIN,
        || async { if whole.exists() { Err("it has not looked yet".to_owned()) } else { Ok(()) } },
    )
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_child_falls_in_turn_and_its_process_heals() -> anyhow::Result<()> {
    let told: Vec<_> = CHILDREN.iter().map(|(process, _)| *process).collect();
    let folder = tempfile::tempdir()?;
    let mut env_of = Vec::new();
    for (process, _) in CHILDREN {
        let path = trigger(folder.path(), process).display().to_string();
        env_of.push((Whom::One(process), "TEST_PANIC_CHILD".to_owned(), path));
    }
    let plan = Plan { env_of, ..Plan::default() };
    let world = World::start_with(hooked_binaries().await?, plan).await?;
    let untold = world.stack.addresses().workers().into_iter().filter(|one| !told.contains(one));
    ensure!(untold.count() == 0, "the children of some process are not in the table");
    let load = Steady::start(&[world.client(0)], 2);

    for (process, children) in CHILDREN {
        let pid = world.stack.pid(process);
        for child in children {
            fell(folder.path(), process, child).await?;
            let labels = [&format!("child=\"{child}\""), "reason=\"panic\""];
            let what = format!("{child} of {} to be started again", process.name());
            local_stack::wait_for(&what, HEALED_WITHIN, || async {
                match series(&world, process, "child_restarts_total", &labels).await[..] {
                    [1.0] => Ok(()),
                    ref other => Err(format!("{other:?}")),
                }
            })
            .await?;
            world.stack.ready_one(process).await?;
        }
        ensure!(world.stack.pid(process) == pid, "{} did not heal by itself", process.name());
    }

    // This one takes its process along, because others settle what it held.
    let process = Process::Worker(COMMAND_API, 0);
    let pid = world.stack.pid(process).context("it runs")?;
    fell(folder.path(), process, "event-store").await?;
    local_stack::wait_for("another command-api", HEALED_WITHIN, || async {
        match world.stack.pid(process) {
            Some(now) if now != pid => Ok(()),
            now => Err(format!("{now:?}")),
        }
    })
    .await?;
    world.stack.ready_one(process).await?;

    let told = load.end().await;
    println!("{} commands", told.len());
    world.keeps_every_promise(told).await?;
    world
        .finish_after(|line| {
            ["the test asked for it", "child fell", "child failed", "process failed", "slot "]
                .iter()
                .any(|announced| line.contains(announced))
        })
        .await
}
