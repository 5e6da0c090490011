//! What the operating system knows about this process, read when it is asked for.

use std::sync::LazyLock;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, register_int_counter,
    register_int_counter_vec, register_int_gauge_vec,
};

const WHY: &str = "metric names are valid and registered once";

/// Restarts of children, by name and by how they fell (`panic`, `ended`).
pub(crate) static CHILD_RESTARTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "child_restarts_total",
        "Children of the process that fell and were started again",
        &["child", "reason"]
    )
    .expect(WHY)
});

/// Which children are running.
pub(crate) static CHILD_UP: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!("child_up", "1 while a child of the process is running", &["child"])
        .expect(WHY)
});

/// Panics, contained ones too.
pub(crate) static PANICS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("panics_total", "Panics of any thread or task, contained ones too")
        .expect(WHY)
});

/// Ticks per second in `/proc/<pid>/stat`; Linux fixes it for programs at 100.
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers `build_info{process,version}` and the process's own figures.
pub(crate) fn register(process: &str, version: &str) -> prometheus::Result<()> {
    let build = IntGaugeVec::new(
        Opts::new("build_info", "What runs here; the value is always 1"),
        &["process", "version"],
    )?;
    build.with_label_values(&[process, version]).set(1);
    prometheus::register(Box::new(build))?;
    crate::port::register_metrics();
    prometheus::register(Box::new(ProcessCollector::new()?))
}

struct ProcessCollector {
    cpu: Counter,
    resident: Gauge,
    open_files: IntGauge,
    threads: IntGauge,
}

impl ProcessCollector {
    fn new() -> prometheus::Result<Self> {
        Ok(Self {
            cpu: Counter::new("process_cpu_seconds_total", "User and system time spent")?,
            resident: Gauge::new("process_resident_memory_bytes", "Memory in use")?,
            open_files: IntGauge::new("process_open_fds", "Open files and sockets")?,
            threads: IntGauge::new("process_threads", "Threads of the process")?,
        })
    }

    fn refresh(&self) {
        if let Some(seconds) = read("/proc/self/stat").as_deref().and_then(cpu_seconds) {
            let growth = seconds - self.cpu.get();
            if growth > 0.0 {
                self.cpu.inc_by(growth);
            }
        }
        if let Some(status) = read("/proc/self/status") {
            if let Some(kibibytes) = field(&status, "VmRSS:") {
                self.resident.set(kibibytes * 1024.0);
            }
            if let Some(threads) = field(&status, "Threads:") {
                self.threads.set(threads as i64);
            }
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            self.open_files.set(entries.count() as i64);
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        let parts: [&dyn Collector; 4] =
            [&self.cpu, &self.resident, &self.open_files, &self.threads];
        parts.into_iter().flat_map(|part| part.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        let parts: [&dyn Collector; 4] =
            [&self.cpu, &self.resident, &self.open_files, &self.threads];
        parts.into_iter().flat_map(|part| part.collect()).collect()
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Fields 14 and 15 of `stat`, counted behind the command, which may itself contain spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let user: f64 = fields.get(11)?.parse().ok()?;
    let system: f64 = fields.get(12)?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// The number after `name` in `status`.
fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_command_name() {
        let stat = "12 (a b) c) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1000 0 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
    }

    #[test]
    fn this_process_uses_memory_and_files() {
        let collector = ProcessCollector::new().expect("metric names are valid");
        assert_eq!(collector.collect().len(), 4);
        assert!(collector.resident.get() > 0.0, "resident memory is zero");
        assert!(collector.open_files.get() > 0, "no open files");
        assert!(collector.threads.get() > 0, "no threads");
    }
}
