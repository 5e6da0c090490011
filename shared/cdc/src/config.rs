//! Paces and bounds of a group of consumers, the `[cdc]` section of a process's file.

use runtime::{BackoffConfig, BreakerConfig};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Paces and bounds. What a file leaves out has the value of [`Default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CdcConfig {
    /// Pause between two looks at streams that had news lately.
    pub busy_interval_ms: u64,
    /// How long after its last news a stream is looked at with `busy_interval_ms`.
    pub busy_linger_ms: u64,
    /// Log queries per second of all processes of the group together while nothing happens; each has as
    /// much of it as it has slots.
    pub idle_queries_per_second: u32,
    /// Log queries per second of the process while all streams have news.
    pub busy_queries_per_second: u32,
    /// How far each look goes back behind the end of the last one, at least: rows become visible a
    /// little after their timestamp. Further, up to `look_back_ms`, while they come later than that.
    pub overlap_ms: u64,
    /// How often streams with news are looked at further back, for rows of slower coordinators.
    pub look_back_interval_ms: u64,
    /// How far back.
    pub look_back_ms: u64,
    /// Pause between two confirm passes.
    pub confirm_interval_ms: u64,
    /// How often the checkpoint of a slot is written.
    pub checkpoint_interval_ms: u64,
    /// How often newer stream generations are looked for.
    pub generation_interval_ms: u64,
    /// How often the database's clock is read; more often when the safety interval is short.
    pub clock_interval_ms: u64,
    /// Longest part of the log that one query asks for.
    pub window_ms_max: u64,
    /// Rows per page of a log query.
    pub page_rows: u32,
    /// How long the log keeps its rows; the `ttl` of the table's CDC options.
    pub log_ttl_s: u64,
    /// Aggregates that are worked on at the same time.
    pub aggregates_in_parallel_max: usize,
    /// Events read from the log and not yet handled; at this bound the reader waits.
    pub events_in_flight_max: usize,
    /// Events of one aggregate that wait for each other in memory; the rest is read again.
    pub events_per_aggregate_max: usize,
    /// Missing events read from the event store per request.
    pub heal_events: u32,
    /// How long such a request may take.
    pub heal_timeout_ms: u64,
    /// Cursors kept in memory.
    pub cursors_cached_max: usize,
    /// Aggregates with a letter kept in memory.
    pub blocked_aggregates_max: usize,
    /// How often the target may refuse one aggregate while others of its consumer are handled
    /// between; then the event goes into a letter.
    pub lonely_failures_max: u32,
    /// How often processes may end while they handle one event; then it goes into a letter.
    pub crash_attempts_max: u32,
    /// Attempts of all aggregates together that are repeated per second at most.
    pub retries_per_second_max: u32,
    /// Pauses after the database or a consumer's target could not be reached.
    pub backoff: BackoffConfig,
    /// When all aggregates wait because a target answers nobody.
    pub breaker: BreakerConfig,
    /// Bounds of a catch-up from the ledger.
    pub catch_up: CatchUpConfig,
}

/// Bounds of a catch-up from the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatchUpConfig {
    /// Aggregates per page of the scan.
    pub page_aggregates: u32,
    /// Pages read per second at most.
    pub pages_per_second: u32,
}

impl Default for CdcConfig {
    fn default() -> Self {
        Self {
            busy_interval_ms: 5,
            busy_linger_ms: 500,
            idle_queries_per_second: 50,
            busy_queries_per_second: 400,
            overlap_ms: 30,
            look_back_interval_ms: 200,
            look_back_ms: 1_000,
            confirm_interval_ms: 1_500,
            checkpoint_interval_ms: 5_000,
            generation_interval_ms: 5_000,
            clock_interval_ms: 1_000,
            window_ms_max: 10_000,
            page_rows: 500,
            log_ttl_s: 86_400,
            aggregates_in_parallel_max: 64,
            events_in_flight_max: 1_024,
            events_per_aggregate_max: 100,
            heal_events: 100,
            heal_timeout_ms: 5_000,
            cursors_cached_max: 20_000,
            blocked_aggregates_max: 100_000,
            lonely_failures_max: 10,
            crash_attempts_max: 3,
            retries_per_second_max: 100,
            backoff: BackoffConfig { initial_ms: 20, max_ms: 5_000 },
            breaker: BreakerConfig::default(),
            catch_up: CatchUpConfig::default(),
        }
    }
}

impl Default for CatchUpConfig {
    fn default() -> Self {
        Self { page_aggregates: 200, pages_per_second: 50 }
    }
}

/// A value of a section that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{section}.{key}: {reason}")]
pub struct ConfigError {
    /// The section: `cdc` or `scanner`.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl CdcConfig {
    /// Checks what serde cannot: that no bound is zero and that intervals fit the safety
    /// interval that all processes share.
    pub fn validate(&self, safety_interval: Duration) -> Result<(), ConfigError> {
        let positive = [
            ("busy_interval_ms", self.busy_interval_ms),
            ("idle_queries_per_second", self.idle_queries_per_second.into()),
            ("busy_queries_per_second", self.busy_queries_per_second.into()),
            ("look_back_interval_ms", self.look_back_interval_ms),
            ("confirm_interval_ms", self.confirm_interval_ms),
            ("generation_interval_ms", self.generation_interval_ms),
            ("clock_interval_ms", self.clock_interval_ms),
            ("window_ms_max", self.window_ms_max),
            ("page_rows", self.page_rows.into()),
            ("log_ttl_s", self.log_ttl_s),
            ("aggregates_in_parallel_max", self.aggregates_in_parallel_max as u64),
            ("events_in_flight_max", self.events_in_flight_max as u64),
            ("events_per_aggregate_max", self.events_per_aggregate_max as u64),
            ("heal_events", self.heal_events.into()),
            ("heal_timeout_ms", self.heal_timeout_ms),
            ("cursors_cached_max", self.cursors_cached_max as u64),
            ("blocked_aggregates_max", self.blocked_aggregates_max as u64),
            ("lonely_failures_max", self.lonely_failures_max.into()),
            ("crash_attempts_max", self.crash_attempts_max.into()),
            ("retries_per_second_max", self.retries_per_second_max.into()),
            ("catch_up.page_aggregates", self.catch_up.page_aggregates.into()),
            ("catch_up.pages_per_second", self.catch_up.pages_per_second.into()),
        ];
        for (key, value) in positive {
            check(key, value > 0, "must be greater than 0")?;
        }
        let is_good = self.breaker.nonsense().is_none();
        check("breaker", is_good, "has a bound that must be greater than 0")?;
        for (key, value) in [
            ("page_rows", self.page_rows),
            ("heal_events", self.heal_events),
            ("catch_up.page_aggregates", self.catch_up.page_aggregates),
        ] {
            check(key, value <= 5_000, "must not be above 5000")?;
        }
        let semaphore = tokio::sync::Semaphore::MAX_PERMITS;
        check("events_in_flight_max", self.events_in_flight_max <= semaphore, "is too large")?;
        let parallel = self.aggregates_in_parallel_max <= semaphore;
        check("aggregates_in_parallel_max", parallel, "is too large")?;
        let ttl = Duration::from_secs(self.log_ttl_s) >= safety_interval * 8;
        check("log_ttl_s", ttl, "must be at least eight safety intervals")
    }

    pub(crate) fn busy_interval(&self) -> Duration {
        Duration::from_millis(self.busy_interval_ms)
    }

    pub(crate) fn busy_linger(&self) -> Duration {
        Duration::from_millis(self.busy_linger_ms)
    }

    pub(crate) fn overlap(&self) -> Duration {
        Duration::from_millis(self.overlap_ms)
    }

    pub(crate) fn look_back_interval(&self) -> Duration {
        Duration::from_millis(self.look_back_interval_ms)
    }

    pub(crate) fn look_back(&self) -> Duration {
        Duration::from_millis(self.look_back_ms)
    }

    pub(crate) fn confirm_interval(&self) -> Duration {
        Duration::from_millis(self.confirm_interval_ms)
    }

    pub(crate) fn checkpoint_interval(&self) -> Duration {
        Duration::from_millis(self.checkpoint_interval_ms)
    }

    pub(crate) fn generation_interval(&self) -> Duration {
        Duration::from_millis(self.generation_interval_ms)
    }

    /// At least four readings per safety interval, so that a jump is seen in time.
    pub(crate) fn clock_interval(&self, safety_interval: Duration) -> Duration {
        Duration::from_millis(self.clock_interval_ms).min(safety_interval / 4)
    }

    pub(crate) fn window_max(&self) -> Duration {
        Duration::from_millis(self.window_ms_max)
    }

    /// Older than this a checkpoint is not to be trusted: rows after it may have expired.
    pub(crate) fn checkpoint_age_max(&self) -> Duration {
        Duration::from_secs(self.log_ttl_s) * 3 / 4
    }
}

fn check(key: &'static str, holds: bool, reason: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError { section: "cdc", key, reason: reason.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::Sources;

    #[test]
    fn the_defaults_are_valid() {
        CdcConfig::default().validate(Duration::from_secs(10)).expect("valid");
    }

    #[test]
    fn the_files_show_the_defaults() {
        #[derive(Deserialize)]
        struct File {
            cdc: CdcConfig,
        }
        for (name, text) in [
            ("projection-worker", include_str!("../../../config/projection-worker.toml")),
            ("outbox-relay", include_str!("../../../config/outbox-relay.toml")),
        ] {
            let file: File = runtime::config::load(name, text, &Sources::default())
                .unwrap_or_else(|error| panic!("{name}: {error}"))
                .config;
            assert_eq!(file.cdc, CdcConfig::default(), "{name}");
        }
    }

    #[test]
    fn a_bound_of_zero_is_refused_by_its_key() {
        let config = CdcConfig { page_rows: 0, ..CdcConfig::default() };
        let error = config.validate(Duration::from_secs(10)).expect_err("refused");
        assert_eq!(error.to_string(), "cdc.page_rows: must be greater than 0");
    }

    #[test]
    fn a_log_that_expires_within_a_few_safety_intervals_is_refused() {
        let config = CdcConfig { log_ttl_s: 60, ..CdcConfig::default() };
        let error = config.validate(Duration::from_secs(10)).expect_err("refused");
        assert_eq!(error.key, "log_ttl_s");
    }
}
