//! What projections report.

use prometheus::{
    HistogramVec, IntCounter, IntCounterVec, exponential_buckets, register_histogram_vec,
    register_int_counter, register_int_counter_vec,
};
use std::sync::LazyLock;

/// Events by projection and outcome (`applied`, `retried`, `refused`).
pub(crate) static EVENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "projection_events_total",
        "Events handled, by projection and outcome.",
        &["projection", "outcome"]
    )
    .expect("registered once")
});

/// From the commit of an event to its rows being written.
pub(crate) static FRESHNESS: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "projection_freshness_seconds",
        "From the commit of an event to its rows being written.",
        &["projection"],
        exponential_buckets(0.001, 2.0, 16).expect("a positive start and a factor above one")
    )
    .expect("registered once")
});

/// Aggregates that the audit looked at.
pub(crate) static AUDITED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "audit_aggregates_total",
        "Aggregates whose rows the audit compared with their events."
    )
    .expect("registered once")
});

/// Rows that differed from the events at the audit's second look.
pub(crate) static DRIFT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "audit_drift_total",
        "Rows of read models that differed from the events at the audit's second look.",
        &["projection"]
    )
    .expect("registered once")
});
