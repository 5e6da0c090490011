//! Paces and bounds of the retrier, the `[retry]` section of its file.

use runtime::config::{BadValue, in_range};
use runtime::{BackoffConfig, BreakerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The retrier, which tries dead letters again: paces and bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Pause between two looks for letters.
    #[schemars(range(min = 1))]
    pub scan_interval_ms: u64,
    /// Letters of one consumer looked at; more wait until others are gone.
    #[schemars(range(min = 1, max = i32::MAX))]
    pub letters_max: usize,
    /// Letters tried at the same time.
    #[schemars(range(min = 1))]
    pub letters_in_parallel_max: usize,
    /// Attempts of a poison event, the worker's own included; then its letter is parked.
    #[schemars(range(min = 1))]
    pub attempts_max: u32,
    /// How many processes in a row may end while they try one letter; then it is parked.
    #[schemars(range(min = 1))]
    pub crash_attempts_max: u32,
    /// Events of one aggregate read at once.
    #[schemars(range(min = 1, max = 5000))]
    pub batch_events: u32,
    /// How long such a read may take.
    #[schemars(range(min = 1))]
    pub read_timeout_ms: u64,
    /// Pauses between the attempts of one letter, each evenly distributed below a bound that doubles.
    pub backoff: BackoffConfig,
    /// When letters wait because their target answers nobody.
    pub breaker: BreakerConfig,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            scan_interval_ms: 2_000,
            letters_max: 10_000,
            letters_in_parallel_max: 16,
            attempts_max: 10,
            crash_attempts_max: 3,
            batch_events: 100,
            read_timeout_ms: 5_000,
            backoff: BackoffConfig { initial_ms: 1_000, max_ms: 60_000 },
            breaker: BreakerConfig::default(),
        }
    }
}

impl RetryConfig {
    /// Checks the bounds, for who did not load a file.
    pub fn validate(&self) -> Result<(), BadValue> {
        in_range(self).map_err(|bad| bad.within("retry"))
    }

    pub(crate) fn scan_interval(&self) -> Duration {
        Duration::from_millis(self.scan_interval_ms)
    }

    /// Pause between two looks at a breaker whose probe is under way.
    pub(crate) fn breaker_look(&self) -> Duration {
        Duration::from_millis(self.breaker.pause.initial_ms)
    }

    /// How long one read of events may take.
    pub fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::{Configuration, Sources};

    #[test]
    fn the_defaults_are_valid() {
        RetryConfig::default().validate().expect("valid");
    }

    #[test]
    fn the_file_shows_the_defaults() {
        #[derive(Serialize, Deserialize, JsonSchema)]
        struct File {
            retry: RetryConfig,
        }
        impl Configuration for File {}
        let text = include_str!("../../../config/dlq-retrier.toml");
        let file = runtime::config::load::<File>("dlq-retrier", text, &Sources::default());
        let file = file.unwrap_or_else(|error| panic!("{error}")).config;
        assert_eq!(file.retry, RetryConfig::default());
    }

    #[test]
    fn a_bound_of_zero_is_refused_by_its_key() {
        let config = RetryConfig { letters_max: 0, ..RetryConfig::default() };
        let error = config.validate().expect_err("refused");
        assert_eq!(error.to_string(), "retry.letters_max: must be between 1 and 2147483647, not 0");
    }
}
