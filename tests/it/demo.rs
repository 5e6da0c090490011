//! The commands that the README names.

use anyhow::Context;
use harness::{Machine, Plan, World, binaries};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// Folders of `dev-stack` in the place for temporary files, and processes that use one.
fn leftovers(temporary: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(temporary).unwrap();
    let mut found: Vec<String> =
        folders.flatten().map(|entry| entry.path().display().to_string()).collect();
    let needle = temporary.display().to_string();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let uses =
            command.contains(&needle) || String::from_utf8_lossy(&environment).contains(&needle);
        if uses {
            found.push(format!("{} {command}", process.path().display()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_verifies_every_hop_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let program = binaries().await?.path("dev-stack");
    let _machine = Machine::shared().await;
    let temporary = tempfile::tempdir()?;
    let output = Command::new(program)
        .args(["demo", "--json"])
        .env_remove("CARGO")
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .output()
        .await?;
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap_or_default())?;
    assert_eq!(report["ok"], true, "{report}");
    let commands: Vec<_> =
        report["steps"].as_array().unwrap().iter().map(|step| &step["command"]).collect();
    assert_eq!(
        commands,
        [
            "RegisterCustomer",
            "CreateOrder",
            "UpdateOrderItems",
            "ConfirmOrder",
            "ShipOrder",
            "DeliverOrder",
            "CreateOrder",
            "CancelOrder"
        ]
    );
    for step in report["steps"].as_array().unwrap() {
        for hop in ["answer_ms", "read_model_ms", "topic_ms"] {
            let ms = step[hop].as_f64().unwrap_or(-1.0);
            assert!((0.0..15_000.0).contains(&ms), "{hop} of {step}");
        }
    }
    assert_eq!(report["topic_events"], 8);
    assert_eq!(report["totals"]["commands"], 8);
    assert_eq!(report["order"]["status"], "delivered");
    assert_eq!(leftovers(temporary.path()), Vec::<String>::new());
    Ok(())
}

/// The last line that a command of `dev-stack` prints when it is told where a running system is.
async fn elsewhere(world: &World, command: &[&str]) -> anyhow::Result<Value> {
    let addresses = world.stack.addresses();
    let output = Command::new(binaries().await?.path("dev-stack"))
        .args(command)
        .args(["--json", "--command-api", &addresses.command_url()])
        .args(["--query-api", &addresses.query_url(), "--scylla", &addresses.engine])
        .args(["--brokers", &addresses.broker])
        .output()
        .await?;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_str(told.lines().last().unwrap_or_default())?)
}

/// What a container does against the stack that it was started with.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_runs_against_a_system_that_is_up_and_in_use() -> anyhow::Result<()> {
    let world = World::start(Plan::default()).await?;
    // The second time there are records of others on the topics.
    for _ in 0..2 {
        let report = elsewhere(&world, &["demo"]).await?;
        assert_eq!((&report["ok"], &report["topic_events"]), (&true.into(), &8.into()), "{report}");
    }
    let report = elsewhere(&world, &["load", "--rate", "10", "--seconds", "2"]).await?;
    let counts = ["answer_ms", "topic_ms", "visible_ms"].map(|of| report[of]["count"].as_u64());
    assert_eq!(counts, [Some(20), Some(20), Some(4)], "{report}");
    world.finish().await
}

/// A terminal sends its Ctrl-C to everything that runs in it.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_children_in_order() -> anyhow::Result<()> {
    let program = binaries().await?.path("dev-stack");
    let _machine = Machine::shared().await;
    let temporary = tempfile::tempdir()?;
    let stack = Command::new(program)
        .args(["bench", "--seconds", "60"])
        .env_remove("CARGO")
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let limit = std::time::Duration::from_secs(60);
    dev_stack::wait_for("all six children", limit, || async {
        let found = leftovers(temporary.path());
        if found.len() >= 8 { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await?;
    let group = rustix::process::Pid::from_raw(stack.id().context("it runs")?.cast_signed());
    rustix::process::kill_process_group(group.context("a pid")?, rustix::process::Signal::INT)?;
    let output = tokio::time::timeout(limit, stack.wait_with_output()).await??;
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    for wrong in ["asked to end twice", "starting it again", "panicked"] {
        assert!(!told.contains(wrong), "{told}");
    }
    assert_eq!(leftovers(temporary.path()), Vec::<String>::new(), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_child_outlives_a_stack_that_is_killed() -> anyhow::Result<()> {
    let program = binaries().await?.path("dev-stack");
    let _machine = Machine::shared().await;
    let temporary = tempfile::tempdir()?;
    let mut stack = Command::new(program)
        .args(["bench", "--seconds", "60"])
        .env_remove("CARGO")
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let limit = std::time::Duration::from_secs(60);
    dev_stack::wait_for("all six children", limit, || async {
        let found = leftovers(temporary.path());
        // Its folder, itself and the children.
        if found.len() >= 8 { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await?;
    stack.kill().await?;
    dev_stack::wait_for("the children to end", limit, || async {
        let found = leftovers(temporary.path());
        // The folder stays: nobody was left to remove it.
        if found.len() == 1 { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await?;
    Ok(())
}
