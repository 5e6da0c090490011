//! The commands that the README names.

use crate::certificates::{Authority, Folder};
use anyhow::Context;
use harness::{Machine, Plan, World, binaries};
use local_stack::{PLATFORM, Whom};
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

/// What a run has: its folder, itself, engine, broker, and the processes.
fn everything() -> usize {
    4 + PLATFORM.workers().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_verifies_every_hop_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let mut program = binaries().await?.command("dev-stack");
    let _machine = Machine::shared().await;
    let temporary = tempfile::tempdir()?;
    let output = program
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

/// A command of `dev-stack` that is told where a running system is.
pub(crate) async fn elsewhere(
    world: &World,
    scheme: &str,
    command: &[&str],
) -> anyhow::Result<Command> {
    let addresses = world.stack.addresses();
    let at = |url: String| url.replacen("http", scheme, 1);
    let (commands, queries) = (at(addresses.command_url()), at(addresses.query_url()));
    let mut program = binaries().await?.command("dev-stack");
    program.args(command).args(["--json", "--command-api", &commands, "--query-api", &queries]);
    program.env("SCYLLA_NODES", &addresses.engine).env("REDPANDA_BROKERS", &addresses.broker);
    program.kill_on_drop(true);
    Ok(program)
}

/// The last line that it prints.
pub(crate) async fn reported(mut program: Command) -> anyhow::Result<Value> {
    let output = program.output().await?;
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
        let report = reported(elsewhere(&world, "http", &["demo"]).await?).await?;
        assert_eq!((&report["ok"], &report["topic_events"]), (&true.into(), &8.into()), "{report}");
    }
    let load = elsewhere(&world, "http", &["load", "--rate", "10", "--seconds", "2"]).await?;
    let report = reported(load).await?;
    let counts = ["answer_ms", "topic_ms", "visible_ms"].map(|of| report[of]["count"].as_u64());
    assert_eq!(counts, [Some(20), Some(20), Some(4)], "{report}");
    world.finish().await
}

const USER: &str = "platform";
const PASSWORD: &str = "canary-2f6b";

/// A system whose engine and APIs demand TLS and certificates, and the engine a password too; and what whoever comes to
/// the engine is told of it.
fn encrypted(folder: &Folder, authority: &Authority) -> (Plan, [(String, String); 6]) {
    let path = |file: &str| folder.path().join(file).display().to_string();
    folder.authority("ca.crt", authority);
    folder.identity("server", &authority.issue(&["127.0.0.1"]));
    folder.identity("client", &authority.issue(&["client"]));
    folder.write("users", &format!("{USER}:{PASSWORD}\n"));
    folder.write("password", PASSWORD);
    folder.write("wrong", "wrong");
    let scylla = [
        ("USERNAME", USER.to_owned()),
        ("PASSWORD_FILE", path("password")),
        ("TLS", true.to_string()),
        ("TLS_CA_FILE", path("ca.crt")),
        ("TLS_CERT_FILE", path("client.crt")),
        ("TLS_KEY_FILE", path("client.key")),
    ];
    let scylla = scylla.map(|(key, value)| (format!("APP__SCYLLA__{key}"), value));
    let http = [
        ("TLS_CERT_FILE", "server.crt"),
        ("TLS_KEY_FILE", "server.key"),
        ("CLIENT_CA_FILE", "ca.crt"),
    ];
    let http = http.map(|(key, file)| (format!("APP__HTTP__{key}"), path(file)));
    let mut env_of = Vec::new();
    for (program, told) in [("esctl", &scylla[..]), ("command-api", &http), ("query-api", &http)] {
        let told = told.iter().cloned();
        env_of.extend(told.map(|(name, value)| (Whom::Program(program), name, value)));
    }
    let engine = [
        ("--tls-cert", "server.crt"),
        ("--tls-key", "server.key"),
        ("--client-ca", "ca.crt"),
        ("--password-file", "users"),
    ];
    let engine = engine.into_iter().flat_map(|(flag, file)| [flag.to_owned(), path(file)]);
    let plan = Plan { env: scylla.to_vec(), env_of, engine: engine.collect(), ..Plan::default() };
    (plan, scylla)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_comes_in_where_all_is_encrypted_and_says_what_keeps_it_out() -> anyhow::Result<()>
{
    let (authority, folder) = (Authority::new("platform"), Folder::new());
    let (plan, scylla) = encrypted(&folder, &authority);
    let path = |file: &str| folder.path().join(file).display().to_string();
    let (ca, cert, key) = (path("ca.crt"), path("client.crt"), path("client.key"));
    let others = folder.authority("others.crt", &Authority::new("others")).display().to_string();
    let world = World::start(plan).await?;

    let known = ["demo", "--cert-file", &cert, "--key-file", &key, "--ca-file"];
    let with_ca = |ca| [&known[..], &[ca]].concat();
    let mut demo = elsewhere(&world, "https", &with_ca(&ca)).await?;
    demo.envs(scylla.clone());
    let report = reported(demo).await?;
    assert_eq!((&report["ok"], &report["topic_events"]), (&true.into(), &8.into()), "{report}");

    let scylla_ca = ("APP__SCYLLA__TLS_CA_FILE", others.clone());
    let password = ("APP__SCYLLA__PASSWORD_FILE", path("wrong"));
    for (command, variable, named) in [
        (with_ca(&others), None, "of no authority in --ca-file"),
        (vec!["demo"], None, "--ca-file does not name"),
        (with_ca(&ca), Some(scylla_ca), "of no authority in scylla.tls_ca_file"),
        (with_ca(&ca), Some(password), "scylla.password_file"),
    ] {
        let mut demo = elsewhere(&world, "https", &command).await?;
        let output = demo.envs(scylla.clone()).envs(variable).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(named), "{named}: {said}");
        assert!(!said.contains(PASSWORD), "{said}");
    }
    world.finish().await
}

/// A terminal sends its Ctrl-C to everything that runs in it.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_children_in_order() -> anyhow::Result<()> {
    let mut program = binaries().await?.command("dev-stack");
    let _machine = Machine::shared().await;
    let temporary = tempfile::tempdir()?;
    let stack = program
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
    local_stack::wait_for("all children", limit, || async {
        let found = leftovers(temporary.path());
        if found.len() >= everything() { Ok(()) } else { Err(format!("{found:#?}")) }
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
    let mut program = binaries().await?.command("dev-stack");
    let _machine = Machine::shared().await;
    let temporary = tempfile::tempdir()?;
    let mut stack = program
        .args(["bench", "--seconds", "60"])
        .env_remove("CARGO")
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let limit = std::time::Duration::from_secs(60);
    local_stack::wait_for("all children", limit, || async {
        let found = leftovers(temporary.path());
        if found.len() >= everything() { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await?;
    stack.kill().await?;
    local_stack::wait_for("the children to end", limit, || async {
        let found = leftovers(temporary.path());
        // The folder stays: nobody was left to remove it.
        if found.len() == 1 { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await?;
    Ok(())
}
