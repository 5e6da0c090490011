//! What an API counts of its requests.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounterVec, IntGauge, exponential_buckets, register_histogram,
    register_int_counter_vec, register_int_gauge,
};

/// Those of this process, all of its ports together.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

/// Registers them, so that they are there before the first request.
pub(crate) fn register() {
    LazyLock::force(&METRICS);
}

pub(crate) struct Metrics {
    pub(crate) problems: IntCounterVec,
    pub(crate) in_flight: IntGauge,
    pub(crate) limit: IntGauge,
    pub(crate) queued: IntGauge,
    pub(crate) queue_seconds: Histogram,
    pub(crate) shed: IntCounterVec,
}

impl Metrics {
    fn register() -> Self {
        const WHY: &str = "metric names are valid and registered once";
        // Codes are literals of the code.
        let problems = register_int_counter_vec!(
            "http_problems_total",
            "Requests refused or failed, by code",
            &["code"]
        )
        .expect(WHY);
        problems.with_label_values(&["internal_error"]);
        let shed = register_int_counter_vec!(
            "http_requests_shed_total",
            "Requests refused before any work, because there was too much of it",
            &["reason"]
        )
        .expect(WHY);
        for label in crate::admission::Refused::LABELS {
            shed.with_label_values(&[label]);
        }
        let seconds = exponential_buckets(0.000_5, 2.0, 12).expect(WHY);
        Self {
            problems,
            in_flight: register_int_gauge!(
                "http_requests_in_flight",
                "Requests that are worked on"
            )
            .expect(WHY),
            limit: register_int_gauge!(
                "http_requests_limit",
                "Requests that may be worked on at once, as it is now"
            )
            .expect(WHY),
            queued: register_int_gauge!(
                "http_requests_queued",
                "Requests that wait to be worked on"
            )
            .expect(WHY),
            queue_seconds: register_histogram!(
                "http_queue_seconds",
                "How long admitted requests waited to be worked on",
                seconds
            )
            .expect(WHY),
            shed,
        }
    }
}
