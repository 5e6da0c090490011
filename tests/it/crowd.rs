//! Crowds of connections that only hold on, and too few file descriptors for them.

use anyhow::Context;
use harness::names::COMMAND_API;
use harness::{Crowd, Plan, World, serves_beside, survives_crowd};
use local_stack::Process;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::time::Duration;

/// More than `http.connections_max`. Larger ones: `cargo run -p system-tests -- soak`.
const CROWD: Crowd = Crowd { idle: 1_000, slow: 500, readers: 20 };
/// Other tests are at work beside these. Who is not served waits for many seconds, or is cut off.
const NOISE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn who_behaves_is_served_beside_a_crowd_that_holds_on() -> anyhow::Result<()> {
    let world = World::start(Plan { alone: true, ..Plan::default() }).await?;
    survives_crowd(&world, CROWD, Duration::from_secs(8), NOISE).await?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_behaves_is_served_while_file_descriptors_run_out() -> anyhow::Result<()> {
    let world = World::start(Plan { alone: true, ..Plan::default() }).await?;
    let pid = world.stack.pid(Process::Worker(COMMAND_API, 0)).context("command-api runs")?;
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    let limit = Rlimit { current: Some(open + 100), maximum: Some(open + 100) };
    prlimit(Pid::from_raw(pid.try_into()?), Resource::Nofile, limit)?;
    // The admin port is as short of them: a process that starts with so few keeps some for it.
    let crowd = Crowd { idle: 300, slow: 60, readers: 5 };
    serves_beside(&world, crowd, Duration::from_secs(8), NOISE).await?;
    world.finish_after(|line| line.contains("cannot be accepted")).await
}
