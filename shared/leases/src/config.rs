//! Terms and paces of the leases, the `[leases]` section of a process's file.

use std::time::Duration;

use runtime::config::{BadValue, in_range};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the processes of a group share the slots: terms and paces.
///
/// What a file leaves out has the value of [`Default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseConfig {
    /// How long a slot's row stands still before another process takes the slot; its owner stops after two
    /// thirds of it. The same in all replicas; at least three renew intervals.
    #[schemars(range(min = 1))]
    pub term_ms: u64,
    /// How often a lease is renewed, and a process shows that it is there.
    #[schemars(range(min = 1))]
    pub renew_interval_ms: u64,
    /// How often members and slots are looked at: two requests, one more per further 100 slots, then as much
    /// more seldom; at most a quarter of the term.
    #[schemars(range(min = 1))]
    pub poll_interval_ms: u64,
    /// How long one request of the leases may take.
    #[schemars(range(min = 1))]
    pub request_timeout_ms: u64,
    /// Slots taken, or dead members removed, at the same time.
    #[schemars(range(min = 1))]
    pub changes_in_parallel_max: usize,
    /// How long the checkpoint of a held slot may stand still before the slot counts as stuck and the process
    /// as not ready; keep it above `cdc.checkpoint_interval_ms`, or `retry.scan_interval_ms`.
    #[schemars(range(min = 1))]
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

impl LeaseConfig {
    /// Checks what the bounds of the keys cannot: that a lease can be renewed more than once before its owner
    /// has to stop.
    pub fn check(&self) -> Result<(), BadValue> {
        if self.term_ms < self.renew_interval_ms.saturating_mul(3) {
            return Err(BadValue::new("term_ms", "must be at least three times renew_interval_ms"));
        }
        if self.term_ms < self.poll_interval_ms.saturating_mul(4) {
            return Err(BadValue::new("poll_interval_ms", "must be at most a quarter of term_ms"));
        }
        Ok(())
    }

    /// Checks everything, for who did not load a file.
    pub fn validate(&self) -> Result<(), BadValue> {
        in_range(self).and_then(|()| self.check()).map_err(|bad| bad.within("leases"))
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
    use runtime::config::{Configuration, Sources};

    #[test]
    fn the_files_show_the_defaults_and_these_are_valid() {
        #[derive(Serialize, Deserialize, JsonSchema)]
        struct File {
            leases: LeaseConfig,
        }
        impl Configuration for File {}
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
            assert_eq!(
                config.validate().expect_err("refused").key,
                format!("leases.{key}"),
                "{config:?}"
            );
        };
        let good = LeaseConfig::default;
        check(LeaseConfig { term_ms: 5_999, ..good() }, "term_ms");
        check(LeaseConfig { poll_interval_ms: 0, ..good() }, "poll_interval_ms");
        check(LeaseConfig { poll_interval_ms: 1_501, ..good() }, "poll_interval_ms");
        check(LeaseConfig { changes_in_parallel_max: 0, ..good() }, "changes_in_parallel_max");
        check(LeaseConfig { renew_interval_ms: 0, ..good() }, "renew_interval_ms");
    }
}
