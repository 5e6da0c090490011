//! What projections report.

use prometheus::{
    HistogramVec, IntCounterVec, exponential_buckets, register_histogram_vec,
    register_int_counter_vec,
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
