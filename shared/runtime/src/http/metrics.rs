//! What an HTTP port counts.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, exponential_buckets, register_histogram,
    register_int_counter, register_int_counter_vec, register_int_gauge,
};

/// Those of this process, all of its ports together.
pub(super) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

pub(super) struct Metrics {
    pub(super) problems: IntCounterVec,
    pub(super) in_flight: IntGauge,
    pub(super) limit: IntGauge,
    pub(super) queued: IntGauge,
    pub(super) queue_seconds: Histogram,
    pub(super) shed: IntCounterVec,
    pub(super) connections: IntGauge,
    pub(super) cut_to_make_room: IntCounter,
    pub(super) cut_slow_handshake: IntCounter,
    pub(super) cut_slow_header: IntCounter,
    pub(super) cut_slow_answer: IntCounter,
    pub(super) handshakes_failed: IntCounter,
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
        for label in super::admission::Refused::LABELS {
            shed.with_label_values(&[label]);
        }
        let cut = register_int_counter_vec!(
            "http_connections_cut_total",
            "Connections closed on clients that were too slow",
            &["reason"]
        )
        .expect(WHY);
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
            connections: register_int_gauge!("http_connections", "Open connections").expect(WHY),
            cut_to_make_room: cut.with_label_values(&["made_room"]),
            cut_slow_handshake: cut.with_label_values(&["slow_handshake"]),
            cut_slow_header: cut.with_label_values(&["slow_header"]),
            cut_slow_answer: cut.with_label_values(&["slow_answer"]),
            handshakes_failed: register_int_counter!(
                "http_tls_handshakes_failed_total",
                "Connections of clients that speak no TLS, or were not let in"
            )
            .expect(WHY),
        }
    }
}
