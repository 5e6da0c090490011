//! Terms and paces of the leases, the `[leases]` section of a process's file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Terms and paces. What a file leaves out has the value of [`Default`]. The term must be the same in
/// all processes of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseConfig {
    /// How long a slot's row stands still before another process may take the slot. Its owner stops
    /// working after two thirds of it without a renewal.
    pub term_ms: u64,
    /// How often a lease is renewed, and a member shows that it is there.
    pub renew_interval_ms: u64,
    /// How often slots and members are looked at: two requests, more with more than 100 slots.
    pub poll_interval_ms: u64,
    /// How long one request may take.
    pub request_timeout_ms: u64,
    /// Slots taken, and members removed, at the same time.
    pub changes_in_parallel_max: usize,
    /// How long the checkpoint of a held slot may stand still before the process says that the slot is
    /// stuck and is not ready.
    pub stuck_ms: u64,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            term_ms: 6_000,
            renew_interval_ms: 2_000,
            poll_interval_ms: 300,
            request_timeout_ms: 1_500,
            changes_in_parallel_max: 8,
            stuck_ms: 60_000,
        }
    }
}

/// A value of the `[leases]` section that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("leases.{key}: {reason}")]
pub struct LeaseConfigError {
    /// The key.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl LeaseConfig {
    /// Checks what serde cannot: that no bound is zero, and that a lease can be renewed more than
    /// once before its owner has to stop.
    pub fn validate(&self) -> Result<(), LeaseConfigError> {
        let check = |key, holds: bool, reason| {
            if holds { Ok(()) } else { Err(LeaseConfigError { key, reason }) }
        };
        let positive = "must be greater than 0";
        check("poll_interval_ms", self.poll_interval_ms > 0, positive)?;
        check("request_timeout_ms", self.request_timeout_ms > 0, positive)?;
        check("changes_in_parallel_max", self.changes_in_parallel_max > 0, positive)?;
        check("renew_interval_ms", self.renew_interval_ms > 0, positive)?;
        check("stuck_ms", self.stuck_ms > 0, positive)?;
        let renewals = self.term_ms >= self.renew_interval_ms.saturating_mul(3);
        check("term_ms", renewals, "must be at least three times renew_interval_ms")?;
        let looks = self.term_ms >= self.poll_interval_ms.saturating_mul(4);
        check("poll_interval_ms", looks, "must be at most a quarter of term_ms")
    }

    pub(crate) fn term(&self) -> Duration {
        Duration::from_millis(self.term_ms)
    }

    /// How long an owner works on without a renewal.
    pub(crate) fn working_time(&self) -> Duration {
        self.term() * 2 / 3
    }

    pub(crate) fn renew_interval(&self) -> Duration {
        Duration::from_millis(self.renew_interval_ms)
    }

    /// Between two looks at so many slots.
    pub(crate) fn poll_interval(&self, requests: u32) -> Duration {
        Duration::from_millis(self.poll_interval_ms).saturating_mul(requests.max(1))
    }

    pub(crate) fn stuck(&self) -> Duration {
        Duration::from_millis(self.stuck_ms)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::Sources;

    #[test]
    fn the_files_show_the_defaults_and_these_are_valid() {
        #[derive(Deserialize)]
        struct File {
            leases: LeaseConfig,
        }
        for (name, text) in [
            ("projection-worker", include_str!("../../../config/projection-worker.toml")),
            ("outbox-relay", include_str!("../../../config/outbox-relay.toml")),
        ] {
            let file: File = runtime::config::load(name, text, &Sources::default())
                .unwrap_or_else(|error| panic!("{name}: {error}"))
                .config;
            assert_eq!(file.leases, LeaseConfig::default(), "{name}");
        }
        LeaseConfig::default().validate().expect("valid");
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        let check = |config: LeaseConfig, key: &str| {
            assert_eq!(config.validate().expect_err("refused").key, key, "{config:?}");
        };
        let good = LeaseConfig::default;
        check(LeaseConfig { term_ms: 5_999, ..good() }, "term_ms");
        check(LeaseConfig { poll_interval_ms: 0, ..good() }, "poll_interval_ms");
        check(LeaseConfig { poll_interval_ms: 1_501, ..good() }, "poll_interval_ms");
        check(LeaseConfig { changes_in_parallel_max: 0, ..good() }, "changes_in_parallel_max");
        check(LeaseConfig { renew_interval_ms: 0, ..good() }, "renew_interval_ms");
    }
}
