//! What the engine counts, in a registry of its own.
//!
//! | metric | labels | meaning |
//! | --- | --- | --- |
//! | `requests_total` | `kind`, `table` | statements executed; the cost model is checked against these |
//! | `errors_total` | `code` | ERROR frames sent, by wire code |
//! | `frames_total` | `direction` | frames read (`in`) and written (`out`) |
//! | `panics_total` | | requests that ended in a panic and were answered with a server error |
//! | `connections` | | open client connections |
//! | `request_bytes` | | bytes of request bodies now in flight |
//! | `syncs_total`, `sync_seconds` | | device syncs and how long they took |
//! | `commit_group_size` | | writes that one sync made durable |

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// The kinds of `requests_total`, in no particular order.
pub const KINDS: [&str; 12] = [
    "select",
    "serial_select",
    "insert",
    "update",
    "delete",
    "lwt",
    "batch",
    "lwt_batch",
    "ddl",
    "truncate",
    "prepare",
    "other",
];

/// How many tables get label values of their own; the rest share [`OTHER_TABLE`]. With the
/// twelve kinds this bounds the number of `requests_total` series.
const TABLES_MAX: usize = 256;

/// The `table` label of requests beyond the bound, and of those without a table.
const OTHER_TABLE: &str = "other";

/// All metrics of one engine. Cheap to share behind an [`Arc`].
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    /// Keyspace → table → counters, so that the hot path neither formats nor allocates.
    tables: RwLock<HashMap<String, HashMap<String, Arc<TableCounters>>>>,
    other: Arc<TableCounters>,
    errors: IntCounterVec,
    frames_in: IntCounter,
    frames_out: IntCounter,
    panics: IntCounter,
    connections: IntGauge,
    request_bytes: IntGauge,
    syncs: IntCounter,
    sync_seconds: Histogram,
    commit_group_size: Histogram,
}

/// The counters of one table, made when a kind first occurs.
#[derive(Debug)]
struct TableCounters {
    label: String,
    by_kind: [OnceLock<IntCounter>; KINDS.len()],
}

impl TableCounters {
    fn new(label: String) -> Arc<Self> {
        Arc::new(Self { label, by_kind: [const { OnceLock::new() }; KINDS.len()] })
    }
}

impl Metrics {
    /// Registers everything; fails only if two metrics had one name.
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let registry = Registry::new();
        let requests = counters(
            &registry,
            "requests_total",
            "Statements executed, by kind and table.",
            &["kind", "table"],
        )?;
        let errors = counters(&registry, "errors_total", "ERROR frames, by code.", &["code"])?;
        let frames =
            counters(&registry, "frames_total", "Frames read and written.", &["direction"])?;
        let (frames_in, frames_out) =
            (frames.with_label_values(&["in"]), frames.with_label_values(&["out"]));
        let panics = IntCounter::new("panics_total", "Requests that ended in a panic.")?;
        let connections = IntGauge::new("connections", "Open client connections.")?;
        let request_bytes =
            IntGauge::new("request_bytes", "Bytes of request bodies now in flight.")?;
        let syncs = IntCounter::new("syncs_total", "Device syncs.")?;
        let sync_seconds = Histogram::with_opts(
            HistogramOpts::new("sync_seconds", "How long a device sync took.")
                .buckets(prometheus::exponential_buckets(0.000_1, 2.0, 15)?),
        )?;
        let commit_group_size = Histogram::with_opts(
            HistogramOpts::new("commit_group_size", "Writes that one sync made durable.")
                .buckets(prometheus::exponential_buckets(1.0, 2.0, 11)?),
        )?;
        registry.register(Box::new(panics.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(request_bytes.clone()))?;
        registry.register(Box::new(syncs.clone()))?;
        registry.register(Box::new(sync_seconds.clone()))?;
        registry.register(Box::new(commit_group_size.clone()))?;
        Ok(Arc::new(Self {
            registry,
            requests,
            tables: RwLock::default(),
            other: TableCounters::new(OTHER_TABLE.to_owned()),
            errors,
            frames_in,
            frames_out,
            panics,
            connections,
            request_bytes,
            syncs,
            sync_seconds,
            commit_group_size,
        }))
    }

    /// Counts one executed statement. `kind` is one of [`KINDS`] (anything else counts as
    /// `other`); the `table` label is `keyspace.table`, or `other` when the table is empty.
    pub fn request(&self, kind: &'static str, keyspace: &str, table: &str) {
        let kind = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1);
        let counters = self.table(keyspace, table);
        counters.by_kind[kind]
            .get_or_init(|| self.requests.with_label_values(&[KINDS[kind], &counters.label]))
            .inc();
    }

    fn table(&self, keyspace: &str, table: &str) -> Arc<TableCounters> {
        if table.is_empty() {
            return Arc::clone(&self.other);
        }
        let known = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = known.get(keyspace).and_then(|tables| tables.get(table)) {
            return Arc::clone(counters);
        }
        drop(known);
        let mut known = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if known.values().map(HashMap::len).sum::<usize>() >= TABLES_MAX {
            return Arc::clone(&self.other);
        }
        Arc::clone(
            known
                .entry(keyspace.to_owned())
                .or_default()
                .entry(table.to_owned())
                .or_insert_with(|| TableCounters::new(format!("{keyspace}.{table}"))),
        )
    }

    /// Counts one device sync that took this long.
    pub fn sync(&self, seconds: f64) {
        self.syncs.inc();
        self.sync_seconds.observe(seconds);
    }

    /// Counts one commit group of this many writes.
    pub fn commit_group(&self, writes: usize) {
        self.commit_group_size.observe(writes as f64);
    }

    /// Device syncs so far.
    pub fn syncs(&self) -> u64 {
        self.syncs.get()
    }

    /// Counts one ERROR frame.
    pub(crate) fn error(&self, code: i32) {
        self.errors.with_label_values(&[&format!("0x{code:04x}")]).inc();
    }

    pub(crate) fn frame_in(&self) {
        self.frames_in.inc();
    }

    pub(crate) fn frame_out(&self) {
        self.frames_out.inc();
    }

    pub(crate) fn panic(&self) {
        self.panics.inc();
    }

    pub(crate) fn connections(&self) -> &IntGauge {
        &self.connections
    }

    pub(crate) fn request_bytes(&self) -> &IntGauge {
        &self.request_bytes
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// `GET /metrics`
    pub(crate) fn router(self: Arc<Self>) -> axum::Router {
        axum::Router::new().route("/metrics", axum::routing::get(async move || self.answer()))
    }

    fn answer(&self) -> axum::response::Response {
        match self.render() {
            Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be rendered");
                axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_per_kind_and_table() {
        let metrics = Metrics::new().expect("names are unique");
        metrics.request("lwt", "shop", "event_store");
        metrics.request("lwt", "shop", "event_store");
        metrics.request("select", "shop", "event_store");
        metrics.request("no such kind", "", "");
        let text = metrics.render().expect("counters have text form");
        for line in [
            r#"requests_total{kind="lwt",table="shop.event_store"} 2"#,
            r#"requests_total{kind="select",table="shop.event_store"} 1"#,
            r#"requests_total{kind="other",table="other"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let metrics = Metrics::new().expect("names are unique");
        for table in 0..TABLES_MAX + 10 {
            metrics.request("insert", "ks", &format!("t{table}"));
        }
        let text = metrics.render().expect("counters have text form");
        let line = r#"requests_total{kind="insert",table="other"} 10"#;
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
}
