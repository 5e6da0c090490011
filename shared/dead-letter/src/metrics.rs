//! What the retrier reports, of the slots that it holds.

use prometheus::{
    Gauge, GaugeVec, IntCounterVec, IntGauge, register_gauge, register_gauge_vec,
    register_int_counter_vec, register_int_gauge,
};
use std::sync::LazyLock;

/// Letters by consumer (`stage`) and state (`blocked`, `parked`, `released`, `unreadable`).
pub(crate) static ENTRIES: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!(
        "dlq_entries",
        "Dead letters in the slots of this process, by consumer and state.",
        &["stage", "state"]
    )
    .expect("registered once")
});

/// Aggregates that wait because of a letter, counted once per consumer.
pub(crate) static BLOCKED: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "dlq_blocked_sequences",
        "Aggregates that wait behind a dead letter in the slots of this process, per consumer."
    )
    .expect("registered once")
});

/// Age of the oldest letter.
pub(crate) static OLDEST: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!(
        "dlq_oldest_age_seconds",
        "Age of the oldest dead letter in the slots of this process."
    )
    .expect("registered once")
});

/// Attempts by consumer (`target`) and what came of it (`class`).
pub(crate) static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "retry_attempts_total",
        "Attempts to handle a dead letter, by consumer and class of failure; none when it succeeded.",
        &["target", "class"]
    )
    .expect("registered once")
});
