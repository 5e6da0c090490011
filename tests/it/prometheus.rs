//! A real Prometheus beside the real processes: it finds them all, its rules are healthy and say nothing,
//! and the dashboards find their series.

use anyhow::{Context, ensure};
use dev_stack::demo::{self, run};
use harness::names::{PROJECTION_WORKER, QUERY_API};
use harness::{Plan, World};
use local_stack::http::HttpClient;
use local_stack::{Narrator, Process, Replicas, Signal, free_port, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};

const SOON: Duration = Duration::from_secs(60);

const RULES: &str = include_str!("../../deploy/prometheus/rules.yml");

/// What is there, and above nothing, when orders went through the system.
const AFTER_THE_DEMO: [&str; 12] = [
    r#"sum(commands_total{process="command-api", outcome="accepted"})"#,
    r#"sum(command_duration_seconds_count{process="command-api"})"#,
    r#"min(append_heartbeat_timestamp_seconds{process="command-api"})"#,
    r#"sum(announce_lag_seconds_count{process="command-api"})"#,
    r#"sum(lease_held{process="projection-worker"})"#,
    r#"sum(lease_held{process="outbox-relay"})"#,
    r#"sum(cdc_events_handled_total{process="outbox-relay", consumer="relay"})"#,
    r#"sum(projection_freshness_seconds_count{process="projection-worker", projection="orders"})"#,
    r#"sum(relay_published_total{process="outbox-relay", outcome="acknowledged"})"#,
    r#"sum(publish_latency_seconds_count{process="outbox-relay"})"#,
    r#"sum(query_duration_seconds_count{process="query-api", outcome="ok"})"#,
    r#"min(log_ttl_headroom_ratio{process="outbox-relay"})"#,
];

/// Alerts on how fast it is; on a busy machine it may be slow for a moment.
const OF_SPEED: [&str; 3] = ["FreshnessBurnsFast", "FreshnessBurnsSlowly", "AppendsSlow"];

/// What comes with the first failure, or the first dead letter.
const ONLY_IN_TROUBLE: [&str; 3] = [
    r#"relay_published_total{outcome="failed"}"#,
    r#"relay_published_total{process="dlq-retrier"}"#,
    r#"projection_events_total{process="dlq-retrier"}"#,
];

/// A Prometheus of this test's own; killed when dropped.
struct Prometheus {
    url: String,
    http: HttpClient,
    _folder: TempDir,
    _child: Child,
}

impl Prometheus {
    /// Starts one that scrapes the workers of a world, and waits until it answers.
    async fn start(world: &World) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("prometheus-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let addresses = world.stack.addresses();
        let targets = addresses.workers().into_iter().filter_map(|process| {
            let labels = json!({"process": process.program().0});
            Some(json!({"targets": [addresses.admin(process)?], "labels": labels}))
        });
        std::fs::write(at("targets.json"), Value::from_iter(targets).to_string())?;
        // JSON is YAML.
        let rules = root().join("deploy/prometheus/rules.yml");
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [
                {"job_name": "event-platform", "file_sd_configs": [{"files": [at("targets.json")]}]},
            ],
        });
        std::fs::write(at("prometheus.yml"), config.to_string())?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        let log = std::fs::File::create(at("log"))?;
        let mut child = Command::new(installed())
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address={listen}"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start prometheus, which .ci/tools installs")?;
        let (url, http) = (format!("http://{listen}"), HttpClient::default());
        let ready = wait_for("Prometheus to be ready", SOON, || async {
            match http.get(&format!("{url}/-/ready")).await {
                Ok(answer) if answer.status.is_success() => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
                Err(error) => Err(format!("{error:#}")),
            }
        });
        tokio::select! {
            ready = ready => ready?,
            ended = child.wait() => {
                anyhow::bail!("{}: {}", ended?, std::fs::read_to_string(at("log"))?);
            }
        }
        Ok(Self { url, http, _folder: folder, _child: child })
    }

    async fn ask(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(&format!("{}/api/v1/{path}", self.url)).await?;
        ensure!(answer.body["status"] == "success", "{path}: {}", answer.body);
        Ok(answer.body["data"].clone())
    }

    /// The series that an expression gives now, with their values.
    async fn query(&self, expression: &str) -> anyhow::Result<Vec<(Value, f64)>> {
        let data = self.ask(&format!("query?query={}", encoded(expression))).await?;
        let series = data["result"].as_array().context("a vector")?;
        let one = |series: &Value| {
            let value = series["value"][1].as_str().context("a value")?.parse()?;
            Ok((series["metric"].clone(), value))
        };
        series.iter().map(one).collect()
    }

    /// Waits until an expression has series, and all their values are as they should be.
    async fn shows(&self, expression: &str, good: fn(f64) -> bool) -> anyhow::Result<()> {
        let what = format!("Prometheus to show {expression}");
        wait_for(&what, SOON, || self.shows_now(expression, good)).await?;
        Ok(())
    }

    /// The same without waiting; errs with what it has instead.
    async fn shows_now(&self, expression: &str, good: fn(f64) -> bool) -> Result<(), String> {
        let found = self.query(expression).await.map_err(|error| format!("{error:#}"))?;
        let is_good = !found.is_empty() && found.iter().all(|(_, value)| good(*value));
        if is_good { Ok(()) } else { Err(format!("{found:?}")) }
    }

    /// Every rule, as Prometheus has it.
    async fn rules(&self) -> anyhow::Result<Vec<Value>> {
        let data = self.ask("rules").await?;
        let groups = data["groups"].as_array().context("groups")?;
        Ok(groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect())
    }

    /// Rules that are not healthy, and alerts that say something.
    async fn loud(&self) -> anyhow::Result<Vec<Value>> {
        let is_quiet = |rule: &Value| {
            let name = rule["name"].as_str().unwrap_or_default();
            let may_wait = OF_SPEED.contains(&name) && rule["state"] != "firing";
            let is_silent = rule["type"] == "recording" || rule["state"] == "inactive";
            rule["health"] == "ok" && (is_silent || may_wait)
        };
        Ok(self.rules().await?.into_iter().filter(|rule| !is_quiet(rule)).collect())
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where `.ci/tools` puts it; else the one on the path.
fn installed() -> PathBuf {
    let ours = root().join("target/tools/bin/prometheus");
    if ours.exists() { ours } else { "prometheus".into() }
}

/// An expression as part of a URL.
fn encoded(expression: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    expression.bytes().map(byte).collect()
}

/// The names in `rules.yml` behind `alert:` and `record:`.
fn named(key: &str) -> BTreeSet<&'static str> {
    let key = format!("- {key}: ");
    RULES.lines().filter_map(|line| line.trim_start().strip_prefix(&key)).collect()
}

/// Every expression of the dashboards with its place, as Grafana would send it.
fn dashboards() -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(root().join("deploy/grafana/dashboards"))? {
        let board: Value = serde_json::from_str(&std::fs::read_to_string(file?.path())?)?;
        let variables = board["templating"]["list"].as_array().context("variables")?;
        for panel in board["panels"].as_array().context("panels")? {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().context("an expression")?;
                let mut expression = expression.replace("$__rate_interval", "30s");
                for name in variables.iter().filter_map(|variable| variable["name"].as_str()) {
                    expression = expression.replace(&format!("${name}"), ".*");
                }
                found.push((format!("{}, {}", board["title"], panel["title"]), expression));
            }
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program prometheus, which .ci/tools installs; .ci/run runs it"]
async fn a_prometheus_finds_every_process_and_has_nothing_to_say() -> anyhow::Result<()> {
    let replicas = Replicas::of([(PROJECTION_WORKER, 2)]);
    let world = World::start(Plan { replicas, ..Plan::default() }).await?;
    let prometheus = Prometheus::start(&world).await?;
    let doors = demo::doors(&world.stack);
    let silent = Narrator { speaks: false };

    let workers = world.stack.addresses().workers();
    let all_up = format!("count(up{{job=\"event-platform\"}} == 1) == {}", workers.len());
    prometheus.shows(&all_up, |_| true).await?;
    let instances = prometheus.query("up").await?;
    ensure!(instances.len() == workers.len(), "{instances:?}");

    // A rate needs two looks at a series: what the first run makes appear, the second one moves.
    run(&doors, &silent).await?;
    for expression in AFTER_THE_DEMO {
        prometheus.shows(expression, |value| value > 0.0).await?;
    }
    run(&doors, &silent).await?;

    let rules = prometheus.rules().await?;
    let loaded: BTreeSet<&str> = rules.iter().filter_map(|rule| rule["name"].as_str()).collect();
    let (alerts, records) = (named("alert"), named("record"));
    ensure!(alerts.len() > 20 && records.len() > 5, "{alerts:?} {records:?}");
    ensure!(loaded == &alerts | &records, "{loaded:?}");
    // Which replica has whose events is chance, and each needs work twice until it has a rate.
    for record in records {
        wait_for(&format!("Prometheus to show {record}"), SOON, || async {
            let shown = prometheus.shows_now(record, f64::is_finite).await;
            if shown.is_err() {
                run(&doors, &silent).await.map_err(|error| format!("{error:#}"))?;
            }
            shown
        })
        .await?;
    }
    wait_for("every rule to be healthy and every alert silent", SOON, || async {
        let loud = prometheus.loud().await.map_err(|error| format!("{error:#}"))?;
        if loud.is_empty() { Ok(()) } else { Err(format!("{loud:#?}")) }
    })
    .await?;

    let mut empty = Vec::new();
    for (place, expression) in dashboards()? {
        let found = prometheus.query(&expression).await.with_context(|| place.clone())?;
        let only_in_trouble = ONLY_IN_TROUBLE.iter().any(|what| expression.contains(what));
        if found.is_empty() && !only_in_trouble {
            empty.push(format!("{place}: {expression}"));
        }
    }
    ensure!(empty.is_empty(), "panels without a series: {empty:#?}");

    // And it is not silent because it is deaf.
    world.stack.stop(Process::Worker(QUERY_API, 0), Signal::Terminate).await?;
    let waits = r#"ALERTS{alertname="ProcessAbsent", process="query-api", alertstate="pending"}"#;
    prometheus.shows(waits, |value| value == 1.0).await?;
    prometheus.shows(r#"ALERTS{alertname="QueriesAbsent"}"#, |value| value == 1.0).await?;
    world.finish().await
}
