//! What the kernel and the engine count.

use anyhow::Context;
use local_stack::http::HttpClient;
use local_stack::{Process, Stack};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Reads the meters of a stack.
pub(super) struct Meters {
    http: HttpClient,
    engine_metrics: String,
    processes: Vec<(String, u32)>,
}

/// One reading, or the difference of two.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    at: Instant,
    /// Between two readings.
    pub(super) elapsed: Duration,
    /// Processor time by process.
    pub(super) cpu: BTreeMap<String, Duration>,
    /// Resident memory by process, in MiB; of the later reading.
    pub(super) rss_mib: BTreeMap<String, f64>,
    /// The engine's requests by `kind table`.
    pub(super) requests: BTreeMap<String, f64>,
    /// The engine's device syncs.
    pub(super) syncs: f64,
}

impl Meters {
    pub(super) fn new(stack: &Stack) -> Self {
        let processes = stack
            .processes()
            .filter_map(|process| Some((process.name(), stack.pid(process)?)))
            .collect();
        let metrics = stack.addresses().metrics(Process::Engine).unwrap_or_default();
        Self {
            http: HttpClient::default(),
            engine_metrics: format!("http://{metrics}/metrics"),
            processes,
        }
    }

    pub(super) async fn read(&self) -> anyhow::Result<Reading> {
        let answer = self.http.get(&self.engine_metrics).await?;
        let text = answer.body.as_str().context("the engine's metrics are not text")?;
        let (mut requests, mut syncs) = (BTreeMap::new(), 0.0);
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            if series == "syncs_total" {
                syncs = value;
            } else if let Some(labels) = series.strip_prefix("requests_total") {
                let label = |name: &str| {
                    let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
                    let end = labels[start..].find('"')? + start;
                    Some(&labels[start..end])
                };
                let key = format!(
                    "{} {}",
                    label("kind").unwrap_or_default(),
                    label("table").unwrap_or_default()
                );
                requests.insert(key, value);
            }
        }
        let (mut cpu, mut rss_mib) = (BTreeMap::new(), BTreeMap::new());
        for (name, pid) in &self.processes {
            cpu.insert(name.clone(), processor_time(*pid)?);
            rss_mib.insert(name.clone(), resident_mib(*pid)?);
        }
        Ok(Reading { at: Instant::now(), elapsed: Duration::ZERO, cpu, rss_mib, requests, syncs })
    }
}

impl Reading {
    /// What was counted since an earlier reading.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let cpu = self.cpu.iter().map(|(name, used)| {
            let before = earlier.cpu.get(name).copied().unwrap_or_default();
            (name.clone(), used.saturating_sub(before))
        });
        let requests = self.requests.iter().map(|(key, count)| {
            (key.clone(), count - earlier.requests.get(key).copied().unwrap_or_default())
        });
        Self {
            at: self.at,
            elapsed: self.at - earlier.at,
            cpu: cpu.collect(),
            rss_mib: self.rss_mib.clone(),
            requests: requests.collect(),
            syncs: self.syncs - earlier.syncs,
        }
    }

    /// Of all processes together.
    pub(super) fn cpu_total(&self) -> Duration {
        self.cpu.values().sum()
    }
}

/// User and system time of a process so far.
fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in parentheses may hold spaces; fields count from behind it.
    let (_, fields) = stat.rsplit_once(')').with_context(|| path.clone())?;
    let field = |index: usize| -> anyhow::Result<u64> {
        Ok(fields.split_whitespace().nth(index).with_context(|| path.clone())?.parse()?)
    };
    let ticks = field(11)? + field(12)?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Resident memory of a process, in MiB.
fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).with_context(|| path.clone())?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
