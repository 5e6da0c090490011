//! Traces through every hop, sent to a collector over OTLP.
//!
//! ```text
//! request ─► append ─► announce          one trace, joined to the client's by `traceparent`
//!    ┊ the request's `traceparent` is stored with its events
//! consume (projection-worker, outbox-relay) ─► publish     traces of their own, each with a link to it
//! ```
//!
//! On only when the standard variable `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) names a
//! collector; the other `OTEL_*` variables of the SDK hold too: name, attributes, sampler, queue and
//! batch bounds. When the collector is away spans are dropped, never waited for. Of these spans the log
//! shows the ids.

mod collector;

use anyhow::Context;
use collector::Collector;
use opentelemetry::trace::{SpanContext, TraceContextExt, TracerProvider};
use opentelemetry::{SpanId, TraceFlags, TraceId};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use std::sync::OnceLock;
use std::time::Duration;
use tracing::{Span, field, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

/// The target of all spans here: nothing else goes to the collector.
pub(crate) const TARGET: &str = "traces";

/// The field of spans that names the trace of the request which set their work in motion.
pub(crate) const ORIGIN: &str = "origin.trace_id";

/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Set once traces are on; to be flushed at the end.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Starts sending, when the environment names a collector.
pub(crate) fn start(process: &'static str) -> anyhow::Result<Option<Tracer>> {
    let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|endpoint| !endpoint.is_empty());
    let disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value == "true");
    let Some(endpoint) = endpoint.filter(|_| !disabled) else { return Ok(None) };
    let collector = Collector::at(&endpoint, |name| std::env::var(name).ok())?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .context("open the exporter of traces")?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(process);
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let tracer = provider.tracer(process);
    PROVIDER.set(provider).map_err(|_| anyhow::anyhow!("traces were started before"))?;
    Ok(Some(tracer))
}

/// Sends what is left, within the time of one export.
pub(crate) fn flush() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown_with_timeout(EXPORT_TIMEOUT)
    {
        tracing::warn!(%error, "the last spans were not sent");
    }
}

/// A request of a client, in its trace if it sent one.
pub fn request(method: &str, path: &str, correlation_id: Uuid, trace_parent: Option<&str>) -> Span {
    let span = info_span!(
        target: TARGET,
        "request",
        otel.name = format!("{method} {path}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method,
        url.path = path,
        http.response.status_code = field::Empty,
        correlation_id = %correlation_id,
        origin.trace_id = field::Empty,
    );
    if let Some(parent) = trace_parent.and_then(parse) {
        let context = opentelemetry::Context::new().with_remote_span_context(parent);
        // Errs when nobody listens, or when it began already, which it has not.
        let _ = span.set_parent(context);
    }
    span
}

/// The trace of a request, which is known once its span is.
pub fn belongs_to(span: &Span, trace_id: &str) {
    span.record(ORIGIN, trace_id);
}

/// The end of a request.
pub fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// A step within the trace that is current.
pub fn step(name: &'static str, aggregate_id: Uuid) -> Span {
    info_span!(target: TARGET, "step", otel.name = name, aggregate_id = %aggregate_id)
}

/// An event that a consumer works on.
#[derive(Debug, Clone, Copy)]
pub struct Consumed<'a> {
    /// Its aggregate.
    pub aggregate_id: Uuid,
    /// Its version.
    pub version: u64,
    /// Its stored type.
    pub event_type: &'a str,
    /// Of the request that brought it about.
    pub correlation_id: Uuid,
    /// The `traceparent` of that request.
    pub trace_parent: Option<&'a str>,
}

/// A consumer's work on an event: a trace of its own, with a link to the one that made the event.
pub fn consume(consumer: &str, event: Consumed<'_>) -> Span {
    let Consumed { aggregate_id, version, event_type, correlation_id, trace_parent } = event;
    let span = info_span!(
        target: TARGET,
        parent: None,
        "consume",
        otel.name = format!("process {event_type}"),
        otel.kind = "consumer",
        consumer,
        aggregate_id = %aggregate_id,
        version,
        correlation_id = %correlation_id,
        origin.trace_id = trace_id(trace_parent, correlation_id),
    );
    if let Some(origin) = trace_parent.and_then(parse) {
        span.add_link(origin);
    }
    span
}

/// The sending of a record to a topic.
pub fn publish(topic: &str, aggregate_id: Uuid) -> Span {
    info_span!(
        target: TARGET,
        "publish",
        otel.name = format!("send {topic}"),
        otel.kind = "producer",
        messaging.system = "kafka",
        messaging.operation.type = "send",
        messaging.destination.name = topic,
        messaging.kafka.message.key = %aggregate_id,
    )
}

/// What a span is called elsewhere, as W3C `traceparent`. `None` while traces are off.
pub fn trace_parent(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| {
        let (trace, span) = (context.trace_id(), context.span_id());
        format!("00-{trace:032x}-{span:016x}-{:02x}", context.trace_flags().to_u8())
    })
}

/// What a person searches for: the trace that a `traceparent` names, or the correlation id that stands for
/// it when there is none.
pub fn trace_id(trace_parent: Option<&str>, correlation_id: Uuid) -> String {
    match trace_parent.and_then(|parent| parent.split('-').nth(1)) {
        Some(trace_id) => trace_id.to_owned(),
        None => correlation_id.simple().to_string(),
    }
}

/// Reads a valid `traceparent`.
fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?);
    let context = SpanContext::new(trace, span, flags, true, Default::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_parent_is_read_as_it_was_written() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = parse(text).expect("valid");
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        for invalid in
            ["", "00", "00-0-0-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"]
        {
            assert!(parse(invalid).is_none(), "{invalid}");
        }
    }
}
