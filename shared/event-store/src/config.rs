//! Bounds and intervals of the event store, the `[event_store]` section of a process's file.

use runtime::BackoffConfig;
use runtime::config::{BadValue, in_range};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The append and what goes with it: bounds and intervals.
///
/// What a file leaves out has the value of [`Default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventStoreConfig {
    /// How long a caller waits, when its request has as much time left; the append itself is never stopped
    /// half-way.
    #[schemars(range(min = 1))]
    pub wait_ms_max: u64,
    /// How long one database request of an append may take.
    #[schemars(range(min = 1))]
    pub request_timeout_ms: u64,
    /// Commands queued, running or waiting for announcement; then 429.
    #[schemars(range(min = 1))]
    pub open_commands_max: usize,
    /// Commands of one aggregate that wait for each other; then 429.
    #[schemars(range(min = 1))]
    pub queue_per_aggregate_max: usize,
    /// Events that one command may lead to.
    #[schemars(range(min = 1, max = 65535))]
    pub events_per_commit_max: usize,
    /// Bytes that the events of one command may have as stored.
    #[schemars(range(min = 1))]
    pub commit_bytes_max: usize,
    /// How often a command is decided again after others appended first.
    pub conflict_retries_max: u32,
    /// How often a commit of unknown outcome is sent again before its fence is moved.
    pub commit_resends_max: u32,
    /// Bound of the first pause between two tries; doubles, with full jitter.
    #[schemars(range(min = 1))]
    pub backoff_ms_min: u64,
    /// Longest pause between two tries.
    #[schemars(range(min = 1))]
    pub backoff_ms_max: u64,
    /// Size of the aggregate cache.
    pub cache_bytes_max: u64,
    /// Events read per request while loading.
    #[schemars(range(min = 1, max = 5000))]
    pub load_page_events: i32,
    /// Interval of the writer's heartbeat.
    #[schemars(range(min = 1))]
    pub heartbeat_ms: u64,
    /// How long a writer stands still before others declare it dead and settle it; at least four heartbeats,
    /// the same in all processes.
    #[schemars(range(min = 1))]
    pub grace_ms: u64,
    /// A new intent bucket is opened after this time.
    #[schemars(range(min = 1))]
    pub intent_bucket_ms: u64,
    /// And after this many intents.
    #[schemars(range(min = 1))]
    pub intent_bucket_intents_max: usize,
    /// Buckets that a heartbeat announces ahead.
    #[schemars(range(min = 1))]
    pub intent_buckets_ahead: u32,
    /// Partitions that a bucket is spread over.
    #[schemars(range(min = 1, max = 256))]
    pub intent_spread: u32,
    /// An announcement that waits this long while the database answers ends the process.
    #[schemars(range(min = 1))]
    pub announcement_stuck_ms: u64,
    /// Bounds of finishing what dead writers left.
    pub settle: SettleConfig,
}

/// Bounds of finishing what dead writers left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SettleConfig {
    /// Longest pause between two looks at the writers' rows, one request each; the shortest is half of it; at
    /// most a quarter of `grace_ms`.
    #[schemars(range(min = 1))]
    pub interval_ms: u64,
    /// Writers that are watched; those beyond it wait until there is room.
    #[schemars(range(min = 1))]
    pub writers_watched_max: usize,
    /// Dead writers settled at a time by this process.
    #[schemars(range(min = 1))]
    pub writers_in_parallel_max: usize,
    /// Aggregates of one dead writer settled at a time.
    #[schemars(range(min = 1))]
    pub aggregates_in_parallel_max: usize,
    /// Rows of writers or intents per request.
    #[schemars(range(min = 1, max = 5000))]
    pub page_rows: i32,
    /// How often one step is tried before the writer is left for later.
    #[schemars(range(min = 1))]
    pub attempts_max: u32,
    /// Longest wait before a writer that could not be settled is tried again; the first is `grace_ms`,
    /// doubling.
    #[schemars(range(min = 1))]
    pub retry_ms_max: u64,
}

impl Default for SettleConfig {
    fn default() -> Self {
        Self {
            interval_ms: 1_000,
            writers_watched_max: 4_096,
            writers_in_parallel_max: 4,
            aggregates_in_parallel_max: 16,
            page_rows: 500,
            attempts_max: 10,
            retry_ms_max: 600_000,
        }
    }
}

impl Default for EventStoreConfig {
    fn default() -> Self {
        Self {
            wait_ms_max: 10_000,
            request_timeout_ms: 2_000,
            open_commands_max: 1_024,
            queue_per_aggregate_max: 64,
            events_per_commit_max: 100,
            commit_bytes_max: 1_500_000,
            conflict_retries_max: 20,
            commit_resends_max: 3,
            backoff_ms_min: 5,
            backoff_ms_max: 500,
            cache_bytes_max: 64 * 1024 * 1024,
            load_page_events: 100,
            heartbeat_ms: 2_000,
            grace_ms: 10_000,
            intent_bucket_ms: 1_000,
            intent_bucket_intents_max: 1_000,
            intent_buckets_ahead: 16,
            intent_spread: 16,
            announcement_stuck_ms: 60_000,
            settle: SettleConfig::default(),
        }
    }
}

impl EventStoreConfig {
    /// Checks what the bounds of the keys cannot: that intervals fit each other.
    pub fn check(&self) -> Result<(), BadValue> {
        let check = |key: &str, holds: bool, reason: &str| {
            if holds { Ok(()) } else { Err(BadValue::new(key, reason)) }
        };
        // A writer is judged by what was seen during a whole grace period.
        let looks = self.settle.interval_ms.saturating_mul(4) <= self.grace_ms;
        check("settle.interval_ms", looks, "must not be above a quarter of grace_ms")?;
        let backoff = self.backoff_ms_min <= self.backoff_ms_max;
        check("backoff_ms_max", backoff, "must not be below backoff_ms_min")?;
        // Commits need a heartbeat younger than half the grace period: one may fail in between.
        let beats = self.heartbeat_ms.saturating_mul(4) <= self.grace_ms;
        check("grace_ms", beats, "must be at least four times heartbeat_ms")
    }

    /// Checks everything, for who did not load a file.
    pub fn validate(&self) -> Result<(), BadValue> {
        in_range(self).and_then(|()| self.check()).map_err(|bad| bad.within("event_store"))
    }

    pub(crate) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms_max)
    }

    pub(crate) fn backoff(&self) -> BackoffConfig {
        BackoffConfig { initial_ms: self.backoff_ms_min, max_ms: self.backoff_ms_max }
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    /// How old the last applied heartbeat may be when a commit is sent.
    pub(crate) fn heartbeat_age_max(&self) -> Duration {
        self.grace() / 2
    }
}
