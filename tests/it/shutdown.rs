//! SIGTERM: under load, twice in a row, and in the middle of a hand-over. Every process ends with 0 in
//! its grace period, its slots go to the next one at once, and nothing is lost.

use anyhow::{Context, ensure};
use harness::names::{COMMAND_API, OUTBOX_RELAY, PROJECTION_WORKER, QUERY_API};
use harness::{Plan, Steady, World, binaries, holds_all};
use local_stack::{Process, Replicas};
use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};

/// The grace period of the processes, and a little for a busy machine.
const GRACE: Duration = Duration::from_secs(12);
const SIGTERM: local_stack::Signal = local_stack::Signal::Terminate;
/// The term of the leases: who waits for one to expire takes longer.
const TERM: Duration = Duration::from_secs(6);

/// Asks a process to end, twice, and waits until it has, with 0.
async fn end(world: &World, process: Process) -> anyhow::Result<()> {
    let began = Instant::now();
    let again = async {
        // It may be gone already, which is what was asked for.
        let _ = world.stack.signal(process, SIGTERM);
    };
    let (ended, ()) = tokio::join!(world.stack.stop(process, SIGTERM), again);
    ended?;
    let (took, name) = (began.elapsed(), process.name());
    ensure!(took < GRACE, "{name} took {took:?}");
    let log = std::fs::read_to_string(world.logs().join(format!("{name}.log")))?;
    let last = log.lines().last().unwrap_or_default();
    ensure!(last.contains(" ended process="), "{name} did not end well: {last}");
    println!("{name} ended within {took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_and_hands_over_at_once() -> anyhow::Result<()> {
    let replicas = Replicas::of([(COMMAND_API, 2), (PROJECTION_WORKER, 2), (OUTBOX_RELAY, 2)]);
    let world = World::start(Plan { replicas, alone: true, ..Plan::default() }).await?;
    let load = Steady::start(&[world.client(0), world.client(1)], 2);

    end(&world, Process::Worker(COMMAND_API, 0)).await?;
    world.stack.resume(Process::Worker(COMMAND_API, 0)).await?;
    world.stack.ready_one(Process::Worker(COMMAND_API, 0)).await?;
    let pairs = [
        (Process::Worker(PROJECTION_WORKER, 0), Process::Worker(PROJECTION_WORKER, 1)),
        (Process::Worker(OUTBOX_RELAY, 0), Process::Worker(OUTBOX_RELAY, 1)),
    ];
    for (first, second) in pairs {
        end(&world, first).await?;
        let took = holds_all(&world, second, TERM).await?;
        println!("{} has its slots after {took:?}", second.name());
        // In the middle of the next hand-over: the first comes back and the second has to go.
        world.stack.resume(first).await?;
        world.stack.ready_one(first).await?;
        end(&world, second).await?;
        holds_all(&world, first, TERM).await?;
        world.stack.resume(second).await?;
        world.stack.ready_one(second).await?;
    }
    end(&world, Process::Worker(COMMAND_API, 1)).await?;
    end(&world, Process::Worker(QUERY_API, 0)).await?;
    for process in [Process::Worker(COMMAND_API, 1), Process::Worker(QUERY_API, 0)] {
        world.stack.resume(process).await?;
        world.stack.ready_one(process).await?;
    }

    let told = load.end().await;
    println!("{} commands", told.len());
    world.keeps_every_promise(told).await?;
    world.finish().await
}

/// Also as the first process of a container, which no signal ends by itself: hence with a code of its own.
#[tokio::test]
async fn a_command_that_waits_ends_when_it_is_asked_to() -> anyhow::Result<()> {
    let nowhere = format!("127.0.0.1:{}", local_stack::free_port()?);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut esctl = binaries()
            .await?
            .command("esctl")
            .args(["migrate", "--wait-seconds", "60"])
            .env("SCYLLA_NODES", &nowhere)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(esctl.stderr.take().context("its messages")?).lines();
        while !lines.next_line().await?.context("it ended")?.contains("waiting for the database") {}
        let pid = esctl.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        kill_process(pid.context("it runs")?, signal)?;
        let ended = esctl.wait().await?;
        ensure!(ended.code() == Some(code), "{ended}");
    }
    Ok(())
}
