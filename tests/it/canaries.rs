//! Secrets stay in their file and environment, and clients write nothing into the log but their own line, while
//! every process logs all it can and meets what it cannot handle.

use crate::poison::Order;
use crate::traces::Sink;
use anyhow::{Context, ensure};
use dev_stack::demo::{create_order, items};
use harness::names::{COMMAND_API, PROJECTION_WORKER, QUERY_API};
use harness::{Client, Plan, World, binaries};
use hyper::Method;
use local_stack::{Kind, PLATFORM, Process, Whom, wait_for};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(60);
const CANARY: &str = "canary-7d1e";
const USER: &str = "platform";
/// A line of its own, if anybody lets it be one.
const HOSTILE: &str = "x\n2026-01-01T00:00:00.000000Z ERROR forged\r\n\u{1b}[31mred";
/// Requests that all differ.
const DIFFERENT: usize = 300;
/// Series that requests may add: as many as there are codes, commands and the like, whoever asks.
const SERIES_ADDED_MAX: usize = 200;
const SERIES_MAX: usize = 5_000;

/// The others log text.
const LOG_JSON: [&str; 2] = [QUERY_API, PROJECTION_WORKER];

/// How each worker is told the password.
fn told(secret: &str) -> Vec<(Whom, String, String)> {
    let mut told = vec![
        (Whom::Program("esctl"), "APP__SCYLLA__PASSWORD_FILE".to_owned(), secret.to_owned()),
        (Whom::Program("esctl"), "APP__SCYLLA__USERNAME".to_owned(), USER.to_owned()),
    ];
    told.extend(PLATFORM.workers().map(|entry| {
        let (name, value) = match entry.kind {
            Kind::Api => ("APP__SCYLLA__PASSWORD", CANARY),
            _ => ("APP__SCYLLA__PASSWORD_FILE", secret),
        };
        (Whom::Program(&entry.name), name.to_owned(), value.to_owned())
    }));
    let json = LOG_JSON.map(Whom::Program);
    told.extend(json.map(|whom| (whom, "APP__LOG__FORMAT".to_owned(), "json".to_owned())));
    told
}

/// What clients may send, and more of it than any label can take.
async fn attack(client: &Client) -> anyhow::Result<()> {
    let mut body = create_order(Uuid::now_v7(), items(1));
    body["items"][0]["product_id"] = json!(HOSTILE);
    let key = Uuid::now_v7().to_string();
    client
        .http
        .command(Method::POST, &format!("{}/v1/orders", client.commands), &key, &body)
        .await?;
    let order = client.create().await?;
    for (path, body) in [
        (format!("/v1/orders/{order}/cancel"), json!({"reason": HOSTILE})),
        (format!("/v1/orders/{order}/confirm"), json!({HOSTILE: HOSTILE})),
        ("/v1/orders".to_owned(), json!(HOSTILE)),
    ] {
        let url = format!("{}{path}", client.commands);
        client.http.command(Method::POST, &url, &Uuid::now_v7().to_string(), &body).await?;
    }
    for number in 0..DIFFERENT {
        let id = Uuid::now_v7();
        let odd = format!("00-{number}%0a%1b%5b31m");
        let headers = [
            ("x-correlation-id", format!("{number}\t{id}")),
            ("traceparent", odd.clone()),
            ("idempotency-key", format!("key-{number}")),
            ("content-type", format!("application/x-{number}")),
        ];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let paths =
            [format!("/v1/orders/{id}"), format!("/{odd}"), format!("/v1/{number}?a={odd}")];
        for path in paths {
            let method = Method::from_bytes(format!("M{number}").as_bytes())?;
            for url in [format!("{}{path}", client.commands), format!("{}{path}", client.queries)] {
                client.http.request(method.clone(), &url, &headers, None).await?;
                client.http.get(&url).await?;
            }
        }
    }
    Ok(())
}

async fn get(world: &World, process: Process, path: &str) -> anyhow::Result<String> {
    let admin = world.stack.addresses().admin(process).context("a worker has an admin port")?;
    let answer = world.client(0).http.get(&format!("http://{admin}{path}")).await?;
    answer.body.as_str().map(str::to_owned).with_context(|| format!("{path}: {}", answer.body))
}

fn series(metrics: &str) -> usize {
    metrics.lines().filter(|line| !line.starts_with('#')).count()
}

/// What a process has of its own, in its command line or environment.
fn own(pid: u32, what: &str) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{what}"))?).into_owned())
}

/// Runs the command line as its user would.
async fn esctl(world: &World, secret: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = binaries().await?.command("esctl");
    command.args(arguments).env("SCYLLA_NODES", &world.stack.addresses().engine);
    command.env("APP__SCYLLA__USERNAME", USER).env("APP__SCYLLA__PASSWORD_FILE", secret);
    let output = command.env("RUST_LOG", "trace").kill_on_drop(true).output().await?;
    let (out, err) = (output.stdout, output.stderr);
    Ok(format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err)))
}

/// Errs unless each line is one record that a process wrote.
fn are_records(name: &str, log: &str) -> anyhow::Result<()> {
    let is_json = LOG_JSON.contains(&name);
    for line in log.lines() {
        let is_record = if is_json {
            serde_json::from_str::<Value>(line).is_ok_and(|record| record["timestamp"].is_string())
        } else {
            let (time, rest) = line.split_once(' ').unwrap_or_default();
            let level = rest.trim_start().split(' ').next().unwrap_or_default();
            let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
            time.len() == 27 && time.ends_with('Z') && levels.contains(&level)
        };
        ensure!(is_record, "{name} has a line that is no record: {line:?}");
        ensure!(!line.starts_with("2026-01-01T00:00:00.000000Z"), "{name} has a forged line");
        let steers = line.chars().any(|c| c.is_control() && c != '\t');
        ensure!(!steers, "{name} has a line that steers terminals: {line:?}");
    }
    Ok(())
}

async fn session(world: &World) -> anyhow::Result<Session> {
    let builder = SessionBuilder::new().known_node(&world.stack.addresses().engine);
    let builder = builder.user(USER, CANARY).use_keyspace(&world.stack.options().keyspace, true);
    builder.build().await.context("open a session")
}

/// Everything that anybody can see of the workers, by where it is seen.
async fn seen(world: &World, secret: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut seen = Vec::new();
    for process in world.stack.addresses().workers() {
        let name = process.name();
        for path in ["/metrics", "/readyz?verbose", "/livez", "/startupz"] {
            seen.push((format!("{name} {path}"), get(world, process, path).await?));
        }
        let pid = world.stack.pid(process).context("it runs")?;
        seen.push((format!("{name} command line"), own(pid, "cmdline")?));
        let check = binaries()
            .await?
            .command(&name)
            .arg("--check-config")
            .env("APP__SCYLLA__USERNAME", USER)
            .env("APP__SCYLLA__PASSWORD", CANARY)
            .output()
            .await?;
        ensure!(check.status.success(), "{name}: {}", String::from_utf8_lossy(&check.stderr));
        let text = String::from_utf8(check.stdout)?;
        ensure!(text.contains("password = \"********\" # APP__SCYLLA__PASSWORD"), "{text}");
        seen.push((format!("{name} --check-config"), text));
    }
    for arguments in [&["dlq", "list"][..], &["-o", "json", "dlq", "list"], &["--check-config"]] {
        let printed = esctl(world, secret, arguments).await?;
        seen.push((format!("esctl {arguments:?}"), printed));
    }
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_stay_hidden_and_clients_write_no_lines() -> anyhow::Result<()> {
    let (folder, sink) = (tempfile::tempdir()?, Sink::default());
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("users"), format!("{USER}:{CANARY}\n"))?;
    std::fs::write(path("secret"), format!("{CANARY}\n"))?;
    let (url, _serving) = sink.start().await?;
    let pairs = [
        ("RUST_LOG", "trace"),
        ("APP__SCYLLA__USERNAME", USER),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ];
    let env = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let engine = vec!["--password-file".to_owned(), path("users")];
    let world =
        World::start(Plan { env, env_of: told(&path("secret")), engine, ..Plan::default() })
            .await?;

    let workers = world.stack.addresses().workers();
    let mut before = Vec::new();
    for process in &workers {
        before.push(series(&get(&world, *process, "/metrics").await?));
    }
    attack(&world.client(0)).await?;
    let session = session(&world).await?;
    let order = Order::new(&world, &session);
    order.append(1, "OrderCreated", &json!({HOSTILE: HOSTILE})).await?;
    let odd = Order::new(&world, &session);
    odd.append(1, HOSTILE, &json!({})).await?;
    wait_for("the dead letters", SOON, || async {
        let listed = esctl(&world, &path("secret"), &["-o", "json", "dlq", "list"]).await;
        let listed = listed.map_err(|error| format!("{error:#}"))?;
        let both = [order.id, odd.id].iter().all(|id| listed.contains(&id.to_string()));
        if both { Ok(()) } else { Err(listed) }
    })
    .await?;
    wait_for("spans", SOON, || async {
        if sink.received().is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await?;

    let mut seen = seen(&world, &path("secret")).await?;
    seen.push(("traces".to_owned(), String::from_utf8_lossy(&sink.received()).into_owned()));
    for (process, before) in workers.iter().zip(before) {
        let now = series(&get(&world, *process, "/metrics").await?);
        let bounded = now < SERIES_MAX && now <= before + SERIES_ADDED_MAX;
        ensure!(bounded, "{} went from {before} to {now} series", process.name());
    }
    let pid = world.stack.pid(Process::Worker(COMMAND_API, 0)).context("it runs")?;
    ensure!(own(pid, "environ")?.contains(CANARY), "nobody holds the secret that is looked for");

    let mut forged = 0;
    for process in &workers {
        let name = process.name();
        let log = std::fs::read_to_string(world.logs().join(format!("{name}.log")))?;
        forged += usize::from(log.contains("forged"));
        are_records(&name, &log)?;
    }
    ensure!(forged >= 2, "what is hostile reached the logs of {forged} processes only");
    for log in std::fs::read_dir(world.logs())? {
        let log = log?.path();
        let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        seen.push((log.display().to_string(), text));
    }
    for (place, text) in &seen {
        let at = text.find(CANARY).map(|at| text[..at].lines().last().unwrap_or_default());
        ensure!(at.is_none(), "{place} shows a secret after {at:?}");
    }
    world.finish_after(|line| !line.contains("panicked")).await
}
