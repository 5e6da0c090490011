//! Paces and bounds of a group of consumers, the `[cdc]` section of a process's file.

use runtime::config::{BadValue, in_range};
use runtime::{BackoffConfig, BreakerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// More than anybody can hold in memory, and within what semaphores can count.
const IN_MEMORY_MAX: usize = 1 << 30;

/// So many milliseconds, as the keys of the configuration count.
pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// How announced events are read from the CDC log: paces and bounds.
///
/// What a file leaves out has the value of [`Default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CdcConfig {
    /// Pause between two looks at streams that had news lately.
    #[schemars(range(min = 1))]
    pub busy_interval_ms: u64,
    /// How long after its last news a stream is looked at with `busy_interval_ms`.
    pub busy_linger_ms: u64,
    /// Log queries per second of all processes of the group together while nothing happens; each has as
    /// much of it as it has slots.
    #[schemars(range(min = 1))]
    pub idle_queries_per_second: u32,
    /// Log queries per second of one process while all streams have news.
    #[schemars(range(min = 1))]
    pub busy_queries_per_second: u32,
    /// How far each look goes back behind the end of the last one, at least: rows become visible a
    /// little after their timestamp. Further, up to `look_back_ms`, while they come later than that.
    pub overlap_ms: u64,
    /// How often streams with news are looked at further back, for rows of slower coordinators.
    #[schemars(range(min = 1))]
    pub look_back_interval_ms: u64,
    /// How far back they are looked at then.
    pub look_back_ms: u64,
    /// Pause between two confirm passes.
    #[schemars(range(min = 1))]
    pub confirm_interval_ms: u64,
    /// How often a slot's checkpoint is written.
    pub checkpoint_interval_ms: u64,
    /// How often newer stream generations are looked for.
    #[schemars(range(min = 1))]
    pub generation_interval_ms: u64,
    /// How often the database's clock is read; at least four times per safety interval.
    #[schemars(range(min = 1))]
    pub clock_interval_ms: u64,
    /// Longest part of the log that one query asks for.
    #[schemars(range(min = 1))]
    pub window_ms_max: u64,
    /// Rows per page of a log query.
    #[schemars(range(min = 1, max = 5000))]
    pub page_rows: u32,
    /// How long the log keeps its rows, the `ttl` of the table's CDC options; at least eight safety intervals.
    #[schemars(range(min = 1))]
    pub log_ttl_s: u64,
    /// Aggregates that are worked on at the same time.
    #[schemars(range(min = 1, max = IN_MEMORY_MAX))]
    pub aggregates_in_parallel_max: usize,
    /// Events read from the log and not yet handled; at this bound the reader waits.
    #[schemars(range(min = 1, max = IN_MEMORY_MAX))]
    pub events_in_flight_max: usize,
    /// Events of one aggregate that wait for each other in memory; the rest is read again.
    #[schemars(range(min = 1))]
    pub events_per_aggregate_max: usize,
    /// Missing events read from the event store per request.
    #[schemars(range(min = 1, max = 5000))]
    pub heal_events: u32,
    /// How long reading them may take.
    #[schemars(range(min = 1))]
    pub heal_timeout_ms: u64,
    /// Cursors kept in memory.
    #[schemars(range(min = 1))]
    pub cursors_cached_max: usize,
    /// Aggregates with a dead letter kept in memory, and letters of a slot loaded when it is taken; beyond it
    /// an event is tried once more before its letter is found.
    #[schemars(range(min = 1))]
    pub blocked_aggregates_max: usize,
    /// How often a target may refuse an aggregate, while fewer than `cdc.breaker.failing_keys_min` fail and
    /// others are handled between, until the event becomes a dead letter.
    #[schemars(range(min = 1))]
    pub lonely_failures_max: u32,
    /// How many processes may end while they handle one event until it becomes a dead letter.
    #[schemars(range(min = 1))]
    pub crash_attempts_max: u32,
    /// Attempts of all aggregates together that are repeated per second.
    #[schemars(range(min = 1))]
    pub retries_per_second_max: u32,
    /// Pauses while the database or a consumer's target is out of reach.
    pub backoff: BackoffConfig,
    /// When all aggregates wait because a target answers nobody.
    pub breaker: BreakerConfig,
    /// The scan of the ledger, for who lost the place in the log or never had one.
    pub catch_up: CatchUpConfig,
}

/// The scan of the ledger, for who lost the place in the log or never had one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CatchUpConfig {
    /// Aggregates per page of a scan of the ledger.
    #[schemars(range(min = 1, max = 5000))]
    pub page_aggregates: u32,
    /// Pages of it read per second.
    #[schemars(range(min = 1))]
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

impl CdcConfig {
    /// Checks everything: bounds, and that the log outlives the safety interval that all processes share.
    pub fn validate(&self, safety_interval: Duration) -> Result<(), BadValue> {
        let check = || {
            in_range(self)?;
            if Duration::from_secs(self.log_ttl_s) < safety_interval * 8 {
                let reason = "must be at least eight safety intervals";
                return Err(BadValue::new("log_ttl_s", reason));
            }
            Ok(())
        };
        check().map_err(|bad| bad.within("cdc"))
    }

    /// At least four readings per safety interval, so that a jump is seen in time.
    pub(crate) fn clock_interval(&self, safety_interval: Duration) -> Duration {
        millis(self.clock_interval_ms).min(safety_interval / 4)
    }

    /// Older than this a checkpoint is not to be trusted: rows after it may have expired.
    pub(crate) fn checkpoint_age_max(&self) -> Duration {
        Duration::from_secs(self.log_ttl_s) * 3 / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::{Configuration, Sources};

    #[test]
    fn the_defaults_are_valid() {
        CdcConfig::default().validate(Duration::from_secs(10)).expect("valid");
    }

    #[test]
    fn the_files_show_the_defaults() {
        #[derive(Serialize, Deserialize, JsonSchema)]
        struct File {
            cdc: CdcConfig,
        }
        impl Configuration for File {}
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
        assert_eq!(error.to_string(), "cdc.page_rows: must be between 1 and 5000, not 0");
    }

    #[test]
    fn a_log_that_expires_within_a_few_safety_intervals_is_refused() {
        let config = CdcConfig { log_ttl_s: 60, ..CdcConfig::default() };
        let error = config.validate(Duration::from_secs(10)).expect_err("refused");
        assert_eq!(error.key, "cdc.log_ttl_s");
    }
}
