//! What a port counts of its connections.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntGauge, register_int_counter, register_int_counter_vec, register_int_gauge,
};

/// Those of this process, all of its ports together.
pub(super) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

pub(super) struct Metrics {
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
        let cut = register_int_counter_vec!(
            "http_connections_cut_total",
            "Connections closed on clients that were too slow",
            &["reason"]
        )
        .expect(WHY);
        Self {
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
