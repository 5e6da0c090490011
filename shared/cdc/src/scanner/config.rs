//! Paces and bounds of the scanner, the `[scanner]` section of its host's file.

use crate::config::ConfigError;
use runtime::BackoffConfig;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Paces and bounds. What a file leaves out has the value of [`Default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScannerConfig {
    /// Pause between two scans of the outbox, which holds one day.
    pub outbox_interval_ms: u64,
    /// Pause between two scans of the whole ledger.
    pub ledger_interval_ms: u64,
    /// Requests of the scanner to the database, at most.
    pub requests_per_second: u32,
    /// Aggregates per page of a scan.
    pub page_aggregates: u32,
    /// Aggregates that are looked into at the same time.
    pub aggregates_in_parallel_max: usize,
    /// How long an event must have been seen unhandled before anything is made of it: at least the
    /// grace period of the writers and the time to settle one.
    pub age_ms_min: u64,
    /// Unhandled events that are remembered between two looks; the rest is found again.
    pub suspects_max: usize,
    /// Aggregates that are remembered as handled, so that looking at them again costs nothing.
    pub settled_cached_max: u64,
    /// Stored events read per request when they are announced again.
    pub announce_events: u32,
    /// How long one request may take.
    pub request_timeout_ms: u64,
    /// How often a step of an announcement is tried again.
    pub announce_attempts_max: u32,
    /// Groups of other processes that are looked after too: each has one consumer of its own name
    /// that wants every event.
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
    /// Checks what serde cannot: that no bound is zero.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("outbox_interval_ms", self.outbox_interval_ms),
            ("ledger_interval_ms", self.ledger_interval_ms),
            ("requests_per_second", self.requests_per_second.into()),
            ("page_aggregates", self.page_aggregates.into()),
            ("aggregates_in_parallel_max", self.aggregates_in_parallel_max as u64),
            ("age_ms_min", self.age_ms_min),
            ("suspects_max", self.suspects_max as u64),
            ("announce_events", self.announce_events.into()),
            ("request_timeout_ms", self.request_timeout_ms),
        ];
        for (key, value) in positive {
            check(key, value > 0, "must be greater than 0")?;
        }
        check("page_aggregates", self.page_aggregates <= 5_000, "must not be above 5000")?;
        check("announce_events", self.announce_events <= 5_000, "must not be above 5000")
    }

    pub(crate) fn outbox_interval(&self) -> Duration {
        Duration::from_millis(self.outbox_interval_ms)
    }

    pub(crate) fn ledger_interval(&self) -> Duration {
        Duration::from_millis(self.ledger_interval_ms)
    }

    pub(crate) fn age_min(&self) -> Duration {
        Duration::from_millis(self.age_ms_min)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

fn check(key: &'static str, holds: bool, reason: &str) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError { section: "scanner", key, reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::Sources;

    #[test]
    fn the_file_shows_the_defaults() {
        #[derive(Deserialize)]
        struct File {
            scanner: ScannerConfig,
        }
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
        assert_eq!(error.to_string(), "scanner.suspects_max: must be greater than 0");
    }
}
