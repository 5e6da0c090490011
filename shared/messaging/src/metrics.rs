//! What the relay reports.

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, exponential_buckets, register_histogram,
    register_int_counter, register_int_counter_vec, register_int_gauge,
};
use std::sync::LazyLock;

/// From the commit of an event to the broker's acknowledgement.
pub(crate) static PUBLISH_LATENCY: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(
        "publish_latency_seconds",
        "From the commit of an event to the broker's acknowledgement.",
        exponential_buckets(0.001, 2.0, 16).expect("a positive start and a factor above one")
    )
    .expect("registered once")
});

/// Records sent and not yet acknowledged.
pub(crate) static PUBLISH_IN_FLIGHT: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("publish_in_flight", "Records sent and not yet acknowledged.")
        .expect("registered once")
});

/// Attempts to publish, by topic and outcome (`acknowledged`, `failed`).
pub(crate) static PUBLISHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "relay_published_total",
        "Attempts to publish an event, by topic and outcome.",
        &["topic", "outcome"]
    )
    .expect("registered once")
});

/// Producers that were replaced because a record timed out, or they died.
pub(crate) static PRODUCERS_REBUILT: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "relay_producers_rebuilt_total",
        "Producers that were replaced because a record timed out, or they died."
    )
    .expect("registered once")
});
