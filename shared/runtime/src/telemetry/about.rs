//! Whose work goes on: in every JSON line that is written meanwhile, `trace_id`, `correlation_id` and
//! `aggregate_id` stand beside what the line itself says.

use tracing::{Span, field, info_span};
use uuid::Uuid;

use crate::traces;

/// The target of spans that are there for the log alone.
pub(super) const TARGET: &str = "about";

/// The name under which lines take a field of a span over.
pub(super) fn id(field: &str) -> Option<&'static str> {
    match field {
        traces::ORIGIN | "trace_id" => Some("trace_id"),
        "correlation_id" => Some("correlation_id"),
        "aggregate_id" => Some("aggregate_id"),
        _ => None,
    }
}

/// A span for lines on behalf of a request, or about an event that a request brought about, outside of those that
/// [`traces`] has for such work. Not for work that is traced: a span of the traces does not find its parent across this one.
/// What is `None` is what a span around it says.
pub fn about(
    aggregate_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    trace_id: Option<&str>,
) -> Span {
    info_span!(
        target: TARGET,
        "about",
        trace_id,
        correlation_id = correlation_id.map(field::display),
        aggregate_id = aggregate_id.map(field::display),
    )
}
