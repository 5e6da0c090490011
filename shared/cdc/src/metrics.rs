//! What reader and sequencer report.

use crate::consumer::{ChangeConsumer, ErrorClass};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, exponential_buckets,
    register_gauge, register_gauge_vec, register_histogram, register_histogram_vec,
    register_int_counter, register_int_counter_vec,
};
use std::sync::{Arc, LazyLock};

pub(crate) static LAG: LazyLock<GaugeVec> = LazyLock::new(|| {
    gauges(
        "cdc_lag_seconds",
        "How far a slot's confirmed part of the log is behind now minus the safety interval.",
        &["consumer", "slot"],
    )
});

/// Rows read from the log, by pass (`fast`, `look_back`, `confirm`).
pub(crate) static ROWS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("cdc_rows_total", "Rows read from the CDC log, by pass.", &["pass"]));

/// Pages asked of the log, by pass (`fast`, `look_back`, `confirm`).
pub(crate) static QUERIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "cdc_log_queries_total",
        "Queries of the CDC log (each page is one), by pass.",
        &["pass"],
    )
});

pub(crate) static WINDOW: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "Length of the windows of the confirm pass, in seconds of the log.";
    register_histogram!("cdc_window_seconds", help, buckets(0.1, 2.0, 12)).expect("registered once")
});

pub(crate) static GAPS_DETECTED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("gaps_detected_total", "Gaps in front of an announced version, not filled by the log.")
});

pub(crate) static GAPS_HEALED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("gaps_healed_total", "Gaps filled from the event store."));

pub(crate) static CLOCK_SKEW: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!("clock_skew_seconds", "How far the clocks of the database's nodes are apart.")
        .expect("registered once")
});

/// Requests to the cursors' table, by kind (`read`, `write`).
pub(crate) static CURSORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("cdc_cursor_requests_total", "Reads and writes of cursors.", &["kind"])
});

pub(crate) static HANDLED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "cdc_events_handled_total",
        "Events handled, by consumer; an event that is handled twice counts twice.",
        &["consumer"],
    )
});

pub(crate) static RETRIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "cdc_retries_total",
        "Attempts that failed and are repeated, by what was tried.",
        &["what"],
    )
});

pub(crate) static LETTERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "cdc_dead_letters_total",
        "Events that a consumer could not handle and that were put into a letter.",
        &["consumer", "class"],
    )
});

pub(crate) static TTL_HEADROOM: LazyLock<GaugeVec> = LazyLock::new(|| {
    gauges(
        "log_ttl_headroom_ratio",
        "Share of the log's lifetime that is left before unconfirmed rows of a slot expire.",
        &["slot"],
    )
});

pub(crate) static CATCH_UP: LazyLock<GaugeVec> = LazyLock::new(|| {
    gauges("cdc_catch_up_ratio", "Share of a slot that a running catch-up has scanned.", &["slot"])
});

/// Newest versions that the scanner looked at, by source (`outbox`, `ledger`).
pub(crate) static SCAN_TAILS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "scan_tails_total",
        "Newest versions of aggregates that the scanner looked at, by source.",
        &["source"],
    )
});

pub(crate) static SCAN_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "How long one scan of all owned slots took, by source.";
    register_histogram_vec!("scan_seconds", help, &["source"], buckets(0.01, 4.0, 10))
        .expect("registered once")
});

/// Events that consumers missed, by kind (`unannounced`, `unheard`).
pub(crate) static SCAN_ANOMALIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "scan_anomalies_total",
        "Events that a consumer missed and that were announced by the scanner, by kind.",
        &["kind"],
    )
});

pub(crate) static SCAN_SUSPECTS: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!("scan_suspects", "Events seen unhandled by a scan and not cleared up yet.")
        .expect("registered once")
});

fn counter(name: &str, help: &str) -> IntCounter {
    register_int_counter!(name, help).expect("registered once")
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register_int_counter_vec!(name, help, labels).expect("registered once")
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register_gauge_vec!(name, help, labels).expect("registered once")
}

fn buckets(first: f64, factor: f64, count: usize) -> Vec<f64> {
    exponential_buckets(first, factor, count).expect("a positive start and a factor above one")
}

/// Shows what a group counts from its start on: a series that is not there cannot be told from zero.
pub(crate) fn show_group(consumers: &[Arc<dyn ChangeConsumer>]) {
    for counter in [&*GAPS_DETECTED, &*GAPS_HEALED] {
        counter.inc_by(0);
    }
    LazyLock::force(&WINDOW);
    for what in WHAT_IS_RETRIED {
        RETRIES.with_label_values(&[what]);
    }
    for consumer in consumers {
        for class in [ErrorClass::Poison, ErrorClass::Transport] {
            LETTERS.with_label_values(&[consumer.name(), class.name()]);
        }
    }
}

/// The same for the scanner.
pub(crate) fn show_scanner() {
    for kind in ["unannounced", "unheard"] {
        SCAN_ANOMALIES.with_label_values(&[kind]);
    }
}

#[rustfmt::skip]
const WHAT_IS_RETRIED: [&str; 14] = [
    "log", "load", "heal", "handle", "flush", "block", "ask", "tail", "finish", "confirm", "generations",
    "catch_up", "admission", "scan",
];
