//! Paces and bounds of the retrier, the `[retry]` section of its file.

use runtime::{BackoffConfig, BreakerConfig};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Paces and bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Pause between two looks for letters.
    pub scan_interval_ms: u64,
    /// Letters of one consumer that are looked at; more wait until others are gone.
    pub letters_max: usize,
    /// Letters that are tried at the same time.
    pub letters_in_parallel_max: usize,
    /// Attempts of a poison event before its letter is parked, the worker's own included.
    pub attempts_max: u32,
    /// How often processes may end while they try one letter, in a row; then it is parked.
    pub crash_attempts_max: u32,
    /// Events of one aggregate read at once.
    pub batch_events: u32,
    /// How long such a read may take.
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

/// A value of the `[retry]` section that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("retry.{key}: {reason}")]
pub struct ConfigError {
    /// The key.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl RetryConfig {
    /// Checks what serde cannot: that no bound is zero or too large for the database.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("scan_interval_ms", self.scan_interval_ms),
            ("letters_max", self.letters_max as u64),
            ("letters_in_parallel_max", self.letters_in_parallel_max as u64),
            ("attempts_max", self.attempts_max.into()),
            ("crash_attempts_max", self.crash_attempts_max.into()),
            ("batch_events", self.batch_events.into()),
            ("read_timeout_ms", self.read_timeout_ms),
            ("backoff.initial_ms", self.backoff.initial_ms),
            ("backoff.max_ms", self.backoff.max_ms),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError { key, reason: "must be greater than 0" });
        }
        if self.breaker.nonsense().is_some() {
            let reason = "has a bound that must be greater than 0";
            return Err(ConfigError { key: "breaker", reason });
        }
        if self.batch_events > 5_000 {
            return Err(ConfigError { key: "batch_events", reason: "must not be above 5000" });
        }
        if i32::try_from(self.letters_max).is_err() {
            return Err(ConfigError { key: "letters_max", reason: "is too large" });
        }
        Ok(())
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
    use runtime::config::Sources;

    #[test]
    fn the_defaults_are_valid() {
        RetryConfig::default().validate().expect("valid");
    }

    #[test]
    fn the_file_shows_the_defaults() {
        #[derive(Deserialize)]
        struct File {
            retry: RetryConfig,
        }
        let text = include_str!("../../../config/dlq-retrier.toml");
        let file = runtime::config::load::<File>("dlq-retrier", text, &Sources::default());
        let file = file.unwrap_or_else(|error| panic!("{error}")).config;
        assert_eq!(file.retry, RetryConfig::default());
    }

    #[test]
    fn a_bound_of_zero_is_refused_by_its_key() {
        let config = RetryConfig { letters_max: 0, ..RetryConfig::default() };
        let error = config.validate().expect_err("refused");
        assert_eq!(error.to_string(), "retry.letters_max: must be greater than 0");
    }
}
