//! What the append counts. Labels come from closed sets: aggregate types and command names are
//! literals of the code.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The metrics of this process.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics::register();
    // Shown from the start on.
    for outcome in ["settled", "lives", "others", "failed"] {
        metrics.settlements.with_label_values(&[outcome]);
    }
    metrics
});

pub(crate) struct Metrics {
    commands: IntCounterVec,
    duration: HistogramVec,
    pub(crate) conflicts: IntCounter,
    pub(crate) unknown_outcomes: IntCounter,
    pub(crate) fence_moves: IntCounter,
    pub(crate) announce_lag: Histogram,
    pub(crate) announce_retries: IntCounter,
    pub(crate) announcements_waiting: IntGauge,
    pub(crate) open_commands: IntGauge,
    heartbeat: IntGauge,
    pub(crate) declared_dead: IntCounter,
    /// By how it ended.
    pub(crate) settlements: IntCounterVec,
    pub(crate) settle_duration: Histogram,
    pub(crate) settle_aggregates: IntCounter,
    pub(crate) settle_events: IntCounter,
    pub(crate) settle_writers_watched: IntGauge,
    pub(crate) settle_looks_failed: IntCounter,
}

impl Metrics {
    fn register() -> Self {
        const WHY: &str = "metric names are valid and registered once";
        let seconds = |name: &str, help: &str| {
            let buckets = prometheus::exponential_buckets(0.0005, 2.0, 16).expect(WHY);
            HistogramOpts::new(name, help).buckets(buckets)
        };
        let counter = |name: &str, help: &str| {
            prometheus::register_int_counter!(Opts::new(name, help)).expect(WHY)
        };
        let gauge = |name: &str, help: &str| {
            prometheus::register_int_gauge!(Opts::new(name, help)).expect(WHY)
        };
        Self {
            commands: prometheus::register_int_counter_vec!(
                Opts::new("commands_total", "Commands by name and outcome"),
                &["command", "outcome"]
            )
            .expect(WHY),
            duration: prometheus::register_histogram_vec!(
                seconds("command_duration_seconds", "From the call to the answer"),
                &["command"]
            )
            .expect(WHY),
            conflicts: counter("append_conflicts_total", "Commits that lost against another's"),
            unknown_outcomes: counter(
                "append_unknown_outcome_total",
                "Commits without a certain answer from the database",
            ),
            fence_moves: counter(
                "append_fence_moves_total",
                "Fences moved to make sure that a commit cannot land any more",
            ),
            announce_lag: prometheus::register_histogram!(seconds(
                "announce_lag_seconds",
                "From the known commit to the announcement that counts"
            ))
            .expect(WHY),
            announce_retries: counter(
                "announce_retries_total",
                "Announcements sent again after a failure or a late acknowledgement",
            ),
            announcements_waiting: gauge("announcements_waiting", "Commits not yet announced"),
            open_commands: gauge(
                "open_commands",
                "Commands that are queued, running or waiting for announcement",
            ),
            heartbeat: gauge(
                "append_heartbeat_timestamp_seconds",
                "When the writer's last applied heartbeat was sent",
            ),
            declared_dead: counter(
                "writer_declared_dead_total",
                "How often this process found itself declared dead and started anew",
            ),
            settlements: prometheus::register_int_counter_vec!(
                Opts::new(
                    "settle_writers_total",
                    "Attempts to settle a dead writer, by how they ended"
                ),
                &["outcome"]
            )
            .expect(WHY),
            settle_duration: prometheus::register_histogram!(seconds(
                "settle_duration_seconds",
                "From the death certificate to the removal of the writer's row"
            ))
            .expect(WHY),
            settle_aggregates: counter(
                "settle_aggregates_total",
                "Aggregates fenced and announced for dead writers",
            ),
            settle_events: counter(
                "settle_events_total",
                "Events announced, some of them again, for dead writers",
            ),
            settle_writers_watched: gauge(
                "settle_writers_watched",
                "Rows of other writers that this process watches",
            ),
            settle_looks_failed: counter(
                "settle_looks_failed_total",
                "Looks at the writers' rows that the database did not answer",
            ),
        }
    }

    /// A command got its answer.
    pub(crate) fn answered(
        &self,
        aggregate_type: &str,
        command: &str,
        outcome: &str,
        took: Duration,
    ) {
        let command = format!("{aggregate_type}.{command}");
        self.commands.with_label_values(&[command.as_str(), outcome]).inc();
        self.duration.with_label_values(&[command.as_str()]).observe(took.as_secs_f64());
    }

    /// A heartbeat that was sent `age` ago has been applied.
    pub(crate) fn heartbeat_applied(&self, age: Duration) {
        let sent = SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH);
        let seconds = sent.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.heartbeat.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
}
