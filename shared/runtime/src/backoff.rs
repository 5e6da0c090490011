//! Pauses between attempts: exponential, capped, with full jitter, so that processes which failed
//! together do not come back together.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// Bounds of the pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackoffConfig {
    /// Upper bound of the first pause; doubles, and each pause is evenly distributed below it.
    #[schemars(range(min = 1))]
    pub initial_ms: u64,
    /// Upper bound of every pause.
    #[schemars(range(min = 1))]
    pub max_ms: u64,
}

/// One series of attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    config: BackoffConfig,
    attempts: u32,
}

impl Backoff {
    /// A series before its first failure.
    pub fn new(config: BackoffConfig) -> Self {
        Self { config, attempts: 0 }
    }

    /// A series that has seen so many failures already.
    pub fn resumed(config: BackoffConfig, attempts: u32) -> Self {
        Self { config, attempts }
    }

    /// How many failures the series has seen.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Begins again, after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Counts a failure and gives the pause to make after it: evenly distributed between zero and a
    /// bound that doubles each time up to the cap.
    pub fn next_pause(&mut self) -> Duration {
        let doublings = self.attempts.min(63);
        self.attempts = self.attempts.saturating_add(1);
        let bound = self.config.initial_ms.saturating_mul(1 << doublings).min(self.config.max_ms);
        Duration::from_micros(rand::random_range(0..=bound.saturating_mul(1000)))
    }

    /// Counts a failure and makes the pause. False when `shutdown` came first.
    pub async fn pause(&mut self, shutdown: &CancellationToken) -> bool {
        let pause = self.next_pause();
        tokio::select! {
            () = shutdown.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_a_doubling_and_capped_bound() {
        let mut backoff = Backoff::new(BackoffConfig { initial_ms: 10, max_ms: 1000 });
        for (attempt, bound_ms) in [10, 20, 40, 80, 160, 320, 640, 1000, 1000].iter().enumerate() {
            let pause = backoff.next_pause();
            assert!(
                pause <= Duration::from_millis(*bound_ms),
                "attempt {attempt}: {pause:?} is above {bound_ms} ms"
            );
        }
        assert_eq!(backoff.attempts(), 9);
    }

    #[test]
    fn a_long_outage_overflows_nothing() {
        let mut backoff = Backoff::new(BackoffConfig { initial_ms: u64::MAX, max_ms: 5 });
        backoff.attempts = u32::MAX;
        assert!(backoff.next_pause() <= Duration::from_millis(5));
    }

    #[tokio::test]
    async fn shutdown_ends_a_pause() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let mut backoff = Backoff::new(BackoffConfig { initial_ms: u64::MAX, max_ms: 86_400_000 });
        backoff.next_pause();
        assert!(!backoff.pause(&shutdown).await);
    }
}
