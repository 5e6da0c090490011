//! Paces and bounds of the scanner, the `[scanner]` section of its host's file.

use runtime::BackoffConfig;
use runtime::config::{BadValue, in_range};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The scanner, which looks for events that somebody missed: paces and bounds.
///
/// What a file leaves out has the value of [`Default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScannerConfig {
    /// Pause between two scans of the outbox for events that somebody missed.
    #[schemars(range(min = 1))]
    pub outbox_interval_ms: u64,
    /// Pause between two scans of the whole ledger, for events that were never announced.
    #[schemars(range(min = 1))]
    pub ledger_interval_ms: u64,
    /// Budget of all its requests.
    #[schemars(range(min = 1))]
    pub requests_per_second: u32,
    /// Aggregates per page of a scan.
    #[schemars(range(min = 1, max = 5000))]
    pub page_aggregates: u32,
    /// Aggregates that are looked into at a time.
    #[schemars(range(min = 1))]
    pub aggregates_in_parallel_max: usize,
    /// How long an event must have been seen unhandled; at least `event_store.grace_ms` of the writers and
    /// five seconds.
    #[schemars(range(min = 1))]
    pub age_ms_min: u64,
    /// Unhandled events that are remembered between two looks; the rest is found again.
    #[schemars(range(min = 1))]
    pub suspects_max: usize,
    /// Aggregates that are remembered as handled, so that looking at them again costs nothing.
    pub settled_cached_max: u64,
    /// Events per read when they are announced again.
    #[schemars(range(min = 1, max = 5000))]
    pub announce_events: u32,
    /// How long one request may take.
    #[schemars(range(min = 1))]
    pub request_timeout_ms: u64,
    /// How often a step of an announcement is tried again.
    pub announce_attempts_max: u32,
    /// Groups of other processes that are looked after too, each with one consumer of the same name; one that
    /// is not there is left alone.
    pub other_groups: Vec<String>,
    /// Pauses while the database is out of reach.
    pub backoff: BackoffConfig,
}

impl Default for ScannerConfig {
    fn default() -> Self {
        Self {
            outbox_interval_ms: 5_000,
            ledger_interval_ms: 600_000,
            requests_per_second: 100,
            page_aggregates: 200,
            aggregates_in_parallel_max: 8,
            age_ms_min: 15_000,
            suspects_max: 10_000,
            settled_cached_max: 100_000,
            announce_events: 100,
            request_timeout_ms: 5_000,
            announce_attempts_max: 5,
            other_groups: vec!["relay".to_owned()],
            backoff: BackoffConfig { initial_ms: 20, max_ms: 5_000 },
        }
    }
}

impl ScannerConfig {
    /// Checks the bounds, for who did not load a file.
    pub fn validate(&self) -> Result<(), BadValue> {
        in_range(self).map_err(|bad| bad.within("scanner"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::{Configuration, Sources};

    #[test]
    fn the_file_shows_the_defaults() {
        #[derive(Serialize, Deserialize, JsonSchema)]
        struct File {
            scanner: ScannerConfig,
        }
        impl Configuration for File {}
        let text = include_str!("../../../../config/projection-worker.toml");
        let file: File = runtime::config::load("projection-worker", text, &Sources::default())
            .unwrap_or_else(|error| panic!("{error}"))
            .config;
        assert_eq!(file.scanner, ScannerConfig::default());
        file.scanner.validate().expect("valid");
    }

    #[test]
    fn a_bound_of_zero_is_refused_by_its_key() {
        let config = ScannerConfig { suspects_max: 0, ..ScannerConfig::default() };
        let error = config.validate().expect_err("refused");
        assert_eq!(error.to_string(), "scanner.suspects_max: must be at least 1, not 0");
    }
}
