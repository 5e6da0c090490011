//! The figures, as JSON and for a reader.

use super::load::{Paced, Saturated};
use super::meters::Reading;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What commands at a steady rate saw.
#[derive(Debug, Serialize)]
pub struct Latencies {
    /// From the scheduled time of a command to its answer.
    pub answer_ms: Percentiles,
    /// From the answer to the read model, for the commands that were watched.
    pub visible_ms: Percentiles,
    /// From the answer to the topic.
    pub topic_ms: Percentiles,
}

impl Latencies {
    pub(super) fn new(paced: &Paced) -> Self {
        Self {
            answer_ms: Percentiles::of(&paced.answer_ms),
            visible_ms: Percentiles::of(&paced.visible_ms),
            topic_ms: Percentiles::of(&paced.topic_ms),
        }
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, of: &Percentiles| {
            writeln!(f, "{name:<24} p50 {:>8.2} ms   p99 {:>8.2} ms", of.p50, of.p99)
        };
        line(f, "command answered", &self.answer_ms)?;
        line(f, "visible after answer", &self.visible_ms)?;
        line(f, "on topic after answer", &self.topic_ms)
    }
}

/// The result of a benchmark.
#[derive(Debug, Serialize)]
pub struct BenchReport {
    /// At the fixed rate.
    #[serde(flatten)]
    pub latencies: Latencies,
    /// Saturated.
    pub commands_per_s: f64,
    /// Device syncs of the engine per command, saturated.
    pub syncs_per_command: f64,
    /// Processor time of all processes per command, saturated, in microseconds.
    pub cpu_us_per_command: f64,
    /// The engine's requests per command, saturated, by kind and table.
    pub requests_per_command: BTreeMap<String, f64>,
    /// Of one core, all processes together.
    pub idle_cpu_percent: f64,
    /// Idle, of one core, by process.
    pub idle_cpu_percent_by_process: BTreeMap<String, f64>,
    /// After the idle phase, by process.
    pub rss_mib: BTreeMap<String, f64>,
}

/// Two percentiles and how many values they are made of.
#[derive(Debug, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Number of values.
    pub count: usize,
}

impl Percentiles {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        Self { p50: round(at(0.50)), p99: round(at(0.99)), count: sorted.len() }
    }
}

/// Two decimals are more than the measurement is good for.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

impl BenchReport {
    pub(super) fn new(
        paced: &Paced,
        saturated: &Saturated,
        work: &Reading,
        idle: &Reading,
    ) -> Self {
        let commands = saturated.commands as f64;
        let requests_per_command = work
            .requests
            .iter()
            .map(|(key, count)| (key.clone(), round(count / commands)))
            .filter(|(_, share)| *share > 0.0)
            .collect();
        let percent = |cpu: f64| round(cpu / idle.elapsed.as_secs_f64() * 100.0);
        let each = |(name, cpu): (&String, &std::time::Duration)| {
            (name.clone(), percent(cpu.as_secs_f64()))
        };
        Self {
            latencies: Latencies::new(paced),
            commands_per_s: round(commands / saturated.elapsed.as_secs_f64()),
            syncs_per_command: round(work.syncs / commands),
            cpu_us_per_command: round(work.cpu_total().as_secs_f64() * 1e6 / commands),
            requests_per_command,
            idle_cpu_percent: percent(idle.cpu_total().as_secs_f64()),
            idle_cpu_percent_by_process: idle.cpu.iter().map(each).collect(),
            rss_mib: idle.rss_mib.iter().map(|(name, mib)| (name.clone(), round(*mib))).collect(),
        }
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.latencies)?;
        writeln!(f, "saturated                {:.0} commands/s", self.commands_per_s)?;
        writeln!(f, "device syncs per command {:.2}", self.syncs_per_command)?;
        writeln!(f, "CPU per command          {:.0} µs", self.cpu_us_per_command)?;
        for (key, share) in &self.requests_per_command {
            writeln!(f, "requests per command     {share:.2} {key}")?;
        }
        writeln!(f, "idle                     {:.1} % of one core", self.idle_cpu_percent)?;
        for (process, mib) in &self.rss_mib {
            writeln!(f, "memory                   {mib:.0} MiB {process}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let percentiles = Percentiles::of(&values);
        assert_eq!((percentiles.p50, percentiles.p99, percentiles.count), (100.0, 198.0, 200));
        assert!(Percentiles::of(&[]).p50.is_nan());
    }
}
