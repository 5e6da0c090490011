//! Bounds and intervals of the event store, the `[event_store]` section of a process's file.

use crate::error::OpenError;
use runtime::BackoffConfig;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bounds and intervals. What a file leaves out has the value of [`Default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventStoreConfig {
    /// How long a caller waits for its answer. Longer work goes on without the caller.
    pub wait_ms_max: u64,
    /// How long one database request of an append may take.
    pub request_timeout_ms: u64,
    /// Commands in this process that are queued, running or waiting for announcement.
    pub open_commands_max: usize,
    /// Commands of one aggregate that wait for each other in this process.
    pub queue_per_aggregate_max: usize,
    /// Events that one command may lead to.
    pub events_per_commit_max: usize,
    /// Bytes that the events of one command may have as stored.
    pub commit_bytes_max: usize,
    /// How often a command is decided again after others appended first.
    pub conflict_retries_max: u32,
    /// How often a commit of unknown outcome is sent again before its fence is moved.
    pub commit_resends_max: u32,
    /// First pause between two tries; doubles, with full jitter.
    pub backoff_ms_min: u64,
    /// Longest pause between two tries.
    pub backoff_ms_max: u64,
    /// Size of the aggregate cache.
    pub cache_bytes_max: u64,
    /// Events read per request while loading.
    pub load_page_events: i32,
    /// Interval of the writer's heartbeat.
    pub heartbeat_ms: u64,
    /// How long a writer's row stands still before others may settle it. The same in all processes.
    pub grace_ms: u64,
    /// A new intent bucket is opened after this time.
    pub intent_bucket_ms: u64,
    /// A new intent bucket is opened after this many intents.
    pub intent_bucket_intents_max: usize,
    /// Buckets that a heartbeat announces ahead.
    pub intent_buckets_ahead: u32,
    /// Partitions that a bucket is spread over.
    pub intent_spread: u32,
    /// An announcement that waits this long while the database answers ends the process.
    pub announcement_stuck_ms: u64,
    /// Bounds of finishing what dead writers left.
    pub settle: SettleConfig,
}

/// Bounds of finishing what dead writers left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettleConfig {
    /// Longest pause between two looks at the writers' rows; the shortest is half of it.
    pub interval_ms: u64,
    /// Writers that are watched; those beyond it wait until there is room.
    pub writers_watched_max: usize,
    /// Dead writers settled at the same time by this process.
    pub writers_in_parallel_max: usize,
    /// Aggregates of one dead writer settled at the same time.
    pub aggregates_in_parallel_max: usize,
    /// Rows of writers or intents per request.
    pub page_rows: i32,
    /// How often one step is tried before the writer is left for later.
    pub attempts_max: u32,
    /// Longest wait before a writer that could not be settled is tried again.
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
    /// Checks what serde cannot: that bounds are not zero and intervals fit each other.
    pub fn validate(&self) -> Result<(), OpenError> {
        let positive = [
            ("wait_ms_max", self.wait_ms_max),
            ("request_timeout_ms", self.request_timeout_ms),
            ("open_commands_max", self.open_commands_max as u64),
            ("queue_per_aggregate_max", self.queue_per_aggregate_max as u64),
            ("events_per_commit_max", self.events_per_commit_max as u64),
            ("commit_bytes_max", self.commit_bytes_max as u64),
            ("backoff_ms_min", self.backoff_ms_min),
            ("heartbeat_ms", self.heartbeat_ms),
            ("intent_bucket_ms", self.intent_bucket_ms),
            ("intent_bucket_intents_max", self.intent_bucket_intents_max as u64),
            ("intent_buckets_ahead", u64::from(self.intent_buckets_ahead)),
            ("announcement_stuck_ms", self.announcement_stuck_ms),
            ("settle.interval_ms", self.settle.interval_ms),
            ("settle.writers_watched_max", self.settle.writers_watched_max as u64),
            ("settle.writers_in_parallel_max", self.settle.writers_in_parallel_max as u64),
            ("settle.aggregates_in_parallel_max", self.settle.aggregates_in_parallel_max as u64),
            ("settle.attempts_max", u64::from(self.settle.attempts_max)),
        ];
        for (key, value) in positive {
            check(key, value > 0, "must be greater than 0")?;
        }
        let page = (1..=5_000).contains(&self.load_page_events);
        check("load_page_events", page, "must be between 1 and 5000")?;
        let events = self.events_per_commit_max <= usize::from(u16::MAX);
        let rows = (1..=5_000).contains(&self.settle.page_rows);
        check("settle.page_rows", rows, "must be between 1 and 5000")?;
        // A writer is judged by what was seen during a whole grace period.
        let looks = self.settle.interval_ms.saturating_mul(4) <= self.grace_ms;
        check("settle.interval_ms", looks, "must not be above a quarter of grace_ms")?;
        check("events_per_commit_max", events, "must fit 16 bits")?;
        let spread = (1..=256).contains(&self.intent_spread);
        check("intent_spread", spread, "must be between 1 and 256")?;
        let backoff = self.backoff_ms_min <= self.backoff_ms_max;
        check("backoff_ms_max", backoff, "must not be below backoff_ms_min")?;
        // Commits need a heartbeat younger than half the grace period: one may fail in between.
        let beats = self.heartbeat_ms.saturating_mul(4) <= self.grace_ms;
        check("grace_ms", beats, "must be at least four times heartbeat_ms")
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

fn check(key: &'static str, holds: bool, reason: &str) -> Result<(), OpenError> {
    if holds { Ok(()) } else { Err(OpenError::Config { key, reason: reason.to_owned() }) }
}
