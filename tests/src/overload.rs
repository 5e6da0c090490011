//! More requests than the system can do: an open loop at a multiple of the measured capacity, whatever
//! the answers are, while somebody watches memory and the admin port. The process may not take much more
//! memory than it had, by a limit of its own.

use crate::check::{Expectations, verify};
use crate::client::{Client, Outcome, Told};
use crate::dump::Dump;
use crate::names::{COMMAND_API, QUERY_API};
use crate::processor::ProcessorTime;
use crate::world::{Plan, World};
use anyhow::{Context, ensure};
use dev_stack::demo::{create_order, items};
use futures::future::try_join_all;
use hyper::Method;
use local_stack::{Process, Whom};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Clients of the closed loop that measures the capacity.
const CLIENTS: usize = 32;
/// What each request takes in the database.
const SLOW_MS: u64 = 20;
/// Orders that are asked for.
const ORDERS: usize = 50;
/// How long it measures.
const MEASURE: Duration = Duration::from_secs(4);
/// Requests of the open loop that may be on their way; a machine that cannot even send them in time
/// must not pile them up.
const SENT_MAX: usize = 8_000;

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Load {
    /// New orders, of `command-api`.
    Commands,
    /// Orders that are there, of `query-api`.
    Queries(Vec<Uuid>),
}

impl Load {
    /// What a world is made of in which the database is what there is too little of, and not the processor, which
    /// whoever sends needs as well: few requests at work at a time.
    pub fn plan_of_few(program: &'static str) -> Plan {
        let few = |name: &str| (Whom::Program(program), name.to_owned(), "8".to_owned());
        let env_of = vec![few("APP__HTTP__REQUESTS_MAX"), few("APP__HTTP__REQUESTS_MIN")];
        Plan { env_of, ..Plan::default() }
    }

    /// Commands whose aggregates the database reads and writes slowly from now on.
    pub async fn slow_commands(world: &World) -> anyhow::Result<Self> {
        world.add_fault(&slow("event_store")).await?;
        Ok(Self::Commands)
    }

    /// Queries for orders that were made for it, and are shown, slowly from now on.
    pub async fn slow_queries(world: &World) -> anyhow::Result<Self> {
        let client = world.client(0);
        let orders = try_join_all((0..ORDERS).map(|_| client.create())).await?;
        let shown = async |order: &Uuid| match client.ask(&format!("/v1/orders/{order}")).await {
            Outcome::Accepted(_) => Ok(()),
            other => Err(format!("{order}: {other:?}")),
        };
        local_stack::wait_for("the orders to be shown", SETTLED_WITHIN, || async {
            try_join_all(orders.iter().map(shown)).await.map(drop)
        })
        .await?;
        world.add_fault(&slow("order_read_model")).await?;
        Ok(Self::Queries(orders))
    }

    fn process(&self) -> Process {
        match self {
            Self::Commands => Process::Worker(COMMAND_API, 0),
            Self::Queries(_) => Process::Worker(QUERY_API, 0),
        }
    }

    /// One request, sent once, and how long its answer took.
    async fn send(&self, client: &Client) -> (Told, Duration) {
        let (id, sent) = (Uuid::now_v7(), Instant::now());
        let (aggregate_id, outcome) = match self {
            Self::Commands => {
                let key = id.to_string();
                let outcome = client.send(Method::POST, "/v1/orders", &key, &body(id)).await;
                (Some(id), outcome)
            }
            Self::Queries(orders) => {
                let order = orders[rand::random_range(0..orders.len())];
                (None, client.ask(&format!("/v1/orders/{order}")).await)
            }
        };
        (Told { aggregate_id, key: id.to_string(), outcome }, sent.elapsed())
    }
}

/// What came of it. Latencies in milliseconds, sorted.
#[derive(Debug, Default)]
struct Overloaded {
    /// Requests per second that patient clients got done.
    capacity: f64,
    /// Requests per second that were sent.
    rate: f64,
    /// Of requests accepted while the capacity was measured: what the machine can do now.
    capacity_ms: Vec<f64>,
    /// Of accepted requests, from sending to answer.
    accepted_ms: Vec<f64>,
    /// Of refusals.
    refused_ms: Vec<f64>,
    /// Refusals by code.
    refused: BTreeMap<String, u64>,
    /// What each sender was told, the measuring ones included; what was unknown is settled.
    told: Vec<Told>,
    /// How many were not answered; of commands these had to be settled.
    unknown: usize,
    /// Resident memory of the process before, and at most, in MiB.
    rss_mib: (f64, f64),
    /// Of probes of its `/livez` and `/metrics`.
    probes_ms: Vec<f64>,
    /// The share of the processors that others left during the overload.
    given: f64,
}

/// Memory that an overload may cost, in MiB.
const GROWTH_MIB_MAX: f64 = 128.0;
/// Address space that the process may take besides what it has, in bytes. Much of what an allocator asks
/// for is never touched.
const ADDRESS_SPACE_GROWTH_MAX: u64 = 512 * 1024 * 1024;
/// How long the stores may take to hold all of it.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// Sends `factor` times the capacity for `length`, and errs unless what is accepted is fast, memory
/// stays bounded, the admin port answers, and the stores hold exactly what was accepted. Prints what it
/// saw.
pub async fn survives_overload(
    world: &World,
    load: Load,
    factor: f64,
    length: Duration,
) -> anyhow::Result<()> {
    let pid = world.stack.pid(load.process());
    let seen = overload(world, &load, factor, length).await?;
    println!("{}", seen.report());
    ensure!(world.stack.pid(load.process()) == pid, "the process ended and was started again");
    // A machine that others use is slow at capacity already, and may become slower; overload must not make it much
    // worse.
    let limit = f64::max(1_000.0, 2.0 * quantile(&seen.capacity_ms, 0.99)) / seen.given;
    let accepted = quantile(&seen.accepted_ms, 0.99);
    ensure!(accepted < limit, "what was accepted took {accepted:.0} ms");
    ensure!(!seen.refused.is_empty(), "nothing was refused: this was no overload");
    let share = seen.accepted_ms.len() as f64 / (seen.capacity * length.as_secs_f64());
    ensure!(share > 0.3, "only {share:.2} of what is done at capacity was accepted");
    let (before, peak) = seen.rss_mib;
    ensure!(peak - before < GROWTH_MIB_MAX, "memory grew from {before:.0} to {peak:.0} MiB");
    // A few may meet a machine that does not run us at all.
    let probes = quantile(&seen.probes_ms, 0.95);
    ensure!(probes < 100.0 / seen.given, "the admin port took {probes:.0} ms");

    let (session, broker) = (world.session().await?, &world.stack.addresses().broker);
    // Queries leave nothing in the stores.
    let told = seen.told.into_iter().filter(|told| told.aggregate_id.is_some()).collect();
    let expected = Expectations { told, complete: matches!(load, Load::Commands) };
    local_stack::wait_for("every promise to be kept", SETTLED_WITHIN, || async {
        let dump = Dump::take(&session, broker, SETTLED_WITHIN / 2).await;
        let dump = dump.map_err(|error| format!("{error:#}"))?;
        let violations = verify(&dump, &expected);
        let shown = &violations[..violations.len().min(10)];
        if violations.is_empty() { Ok(()) } else { Err(format!("{shown:#?}")) }
    })
    .await?;
    Ok(())
}

/// The value that a share of them does not exceed; 0 of none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

/// Measures the capacity, then sends `factor` times as much for `length`.
async fn overload(
    world: &World,
    load: &Load,
    factor: f64,
    length: Duration,
) -> anyhow::Result<Overloaded> {
    let client = world.client(0);
    let process = load.process();
    let pid = world.stack.pid(process).context("the process runs")?;
    let admin = world.stack.addresses().admin(process).context("an admin port")?.to_owned();
    let mut result = Overloaded::default();
    for (told, took) in capacity(&client, load).await? {
        if matches!(told.outcome, Outcome::Accepted(_)) {
            result.capacity_ms.push(took.as_secs_f64() * 1_000.0);
        }
        result.told.push(told);
    }
    result.capacity_ms.sort_by(f64::total_cmp);
    result.capacity = result.capacity_ms.len() as f64 / MEASURE.as_secs_f64();
    result.rate = result.capacity * factor;
    let before = resident_mib(pid)?;
    limit_memory(pid)?;

    let begun = ProcessorTime::now()?;
    // On a thread of their own: what they measure must not wait for the clients' tasks.
    let watching = tokio::task::spawn_blocking(move || watch(&admin, pid, length));
    let (sent, watched) = tokio::join!(flood(&client, load, result.rate, length), watching);
    let (peak, mut probes) = watched??;
    result.given = ProcessorTime::now()?.given_since(begun);
    probes.sort_by(f64::total_cmp);
    result.rss_mib = (before, peak);
    result.probes_ms = probes;
    for (mut told, took) in sent? {
        let ms = took.as_secs_f64() * 1_000.0;
        match &told.outcome {
            Outcome::Accepted(_) => result.accepted_ms.push(ms),
            Outcome::Refused(429 | 503, code) => {
                *result.refused.entry(code.clone()).or_default() += 1;
                result.refused_ms.push(ms);
            }
            Outcome::Refused(status, code) => anyhow::bail!("refused with {status} {code}"),
            // Mostly a connection that was closed to make room before its request was read.
            Outcome::Unknown(_) => {
                result.unknown += 1;
                if let Some(id) = told.aggregate_id {
                    told.outcome =
                        client.settle(Method::POST, "/v1/orders", &told.key, &body(id)).await;
                }
            }
        }
        result.told.push(told);
    }
    result.accepted_ms.sort_by(f64::total_cmp);
    result.refused_ms.sort_by(f64::total_cmp);
    Ok(result)
}

impl Overloaded {
    /// In a few lines, for people.
    fn report(&self) -> String {
        let line = |name: &str, sorted: &[f64]| {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(sorted, share));
            format!("{name}: {}, p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms\n", sorted.len())
        };
        format!(
            "capacity {:.0}/s, sent {:.0}/s on {:.0} % of the processors\n{}{}{}{}refusals {:?}, unknown {}\nmemory {:.0} MiB before, {:.0} at most",
            self.capacity,
            self.rate,
            self.given * 100.0,
            line("at capacity", &self.capacity_ms),
            line("accepted", &self.accepted_ms),
            line("refused", &self.refused_ms),
            line("probes", &self.probes_ms),
            self.refused,
            self.unknown,
            self.rss_mib.0,
            self.rss_mib.1,
        )
    }
}

/// Probes the admin port, on a new connection each time, and looks at the memory; gives the most of
/// it, and how long each probe took.
pub(crate) fn watch(admin: &str, pid: u32, length: Duration) -> anyhow::Result<(f64, Vec<f64>)> {
    let (mut peak, mut probes) = (0.0, Vec::new());
    let started = Instant::now();
    while started.elapsed() < length {
        for path in ["/livez", "/metrics"] {
            let asked = Instant::now();
            let mut stream = TcpStream::connect(admin)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            probes.push(asked.elapsed().as_secs_f64() * 1_000.0);
            ensure!(answer.starts_with("HTTP/1.0 200"), "{path}: {answer}");
        }
        peak = f64::max(peak, resident_mib(pid)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((peak, probes))
}

/// Patient clients, each with one command at a time.
async fn capacity(client: &Client, load: &Load) -> anyhow::Result<Vec<(Told, Duration)>> {
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, load) = (client.clone(), load.clone());
        clients.spawn(async move {
            let mut told = Vec::new();
            while started.elapsed() < MEASURE {
                told.push(load.send(&client).await);
            }
            told
        });
    }
    let told = clients.join_all().await.concat();
    for (one, _) in &told {
        let is_certain =
            matches!(one.outcome, Outcome::Accepted(_) | Outcome::Refused(429 | 503, _));
        ensure!(is_certain, "while nothing was wrong: {one:?}");
    }
    Ok(told)
}

/// Requests at a fixed rate, whatever becomes of them.
async fn flood(
    client: &Client,
    load: &Load,
    rate: f64,
    length: Duration,
) -> anyhow::Result<Vec<(Told, Duration)>> {
    let started = Instant::now();
    let mut sent = JoinSet::new();
    let mut answers = Vec::new();
    let mut due = started;
    while due < started + length {
        tokio::time::sleep_until(due.into()).await;
        while let Some(answer) = sent.try_join_next() {
            answers.push(answer?);
        }
        if sent.len() < SENT_MAX {
            let (client, load) = (client.clone(), load.clone());
            sent.spawn(async move { load.send(&client).await });
        }
        due += Duration::from_secs_f64(1.0 / rate);
    }
    while let Some(answer) = sent.join_next().await {
        answers.push(answer?);
    }
    Ok(answers)
}

/// A fault that makes every request to a table slow.
fn slow(table: &str) -> serde_json::Value {
    json!({"kind": "slow", "table": table, "count": u32::MAX, "delay_ms": SLOW_MS})
}

/// The same for the same order.
fn body(id: Uuid) -> serde_json::Value {
    let mut body = create_order(id, items(1));
    body["order_id"] = json!(id);
    body
}

/// From now on the process gets no more memory than it has, and a bounded bit.
fn limit_memory(pid: u32) -> anyhow::Result<()> {
    let now = status_kib(pid, "VmSize:")? * 1024;
    let limit = Some(now + ADDRESS_SPACE_GROWTH_MAX);
    let limit = Rlimit { current: limit, maximum: limit };
    prlimit(Pid::from_raw(pid.try_into()?), Resource::As, limit)?;
    Ok(())
}

/// Resident memory of a process, in MiB.
pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    Ok(status_kib(pid, "VmRSS:")? as f64 / 1024.0)
}

fn status_kib(pid: u32, name: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()).with_context(|| path.clone())?;
    Ok(kib.parse()?)
}
