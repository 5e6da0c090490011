//! `system_traces`: what clients show of a traced request.

use super::VirtualReader;
use super::rows::{bigint, inet, int, map, row, text, uuid};
use crate::mutation::Row;
use crate::schema::Table;
use crate::trace::{Trace, micros};
use bytes::Bytes;
use std::sync::Arc;

pub(super) const SESSIONS: &str = "sessions";
pub(super) const EVENTS: &str = "events";

/// The one shard is what runs everything.
const THREAD: &str = "shard 0";

/// The ids of all traces.
pub(super) fn partition_keys(reader: &VirtualReader) -> Vec<Vec<Bytes>> {
    reader.node.traces.all().iter().map(|trace| vec![uuid(trace.id)]).collect()
}

/// The rows of one trace.
pub(super) fn rows(reader: &VirtualReader, table: &Table, key: &[Bytes]) -> Vec<Row> {
    let traces = reader.node.traces.all();
    let found = traces.iter().find(|trace| key == [uuid(trace.id)]);
    match (found, table.name.as_str()) {
        (Some(trace), SESSIONS) => vec![session(table, trace)],
        (Some(trace), EVENTS) => events(table, trace),
        _ => Vec::new(),
    }
}

/// Clients take a trace for complete when it has a duration.
fn session(table: &Table, trace: &Arc<Trace>) -> Row {
    let mut values = vec![
        ("client", inet(trace.client)),
        ("command", text("QUERY")),
        ("coordinator", inet(trace.coordinator)),
        ("parameters", map(&trace.parameters())),
        ("request", text(trace.title)),
        ("request_size", size(trace.request_bytes)),
        ("started_at", bigint(trace.started_micros.div_euclid(1000))),
        ("username", text("anonymous")),
    ];
    if let Some(ended) = trace.ended() {
        values.push(("duration", elapsed(micros(ended.duration))));
        values.push(("response_size", size(ended.response_bytes)));
    }
    row(table, values)
}

fn events(table: &Table, trace: &Arc<Trace>) -> Vec<Row> {
    let event = |event: crate::trace::Event| {
        row(
            table,
            vec![
                ("event_id", uuid(event.id)),
                ("activity", text(&event.activity)),
                ("scylla_parent_id", bigint(0)),
                ("scylla_span_id", bigint(1)),
                ("source", inet(trace.coordinator)),
                ("source_elapsed", elapsed(micros(event.elapsed))),
                ("thread", text(THREAD)),
            ],
        )
    };
    trace.events().into_iter().map(event).collect()
}

fn elapsed(micros: i64) -> Bytes {
    int(i32::try_from(micros).unwrap_or(i32::MAX))
}

fn size(bytes: usize) -> Bytes {
    int(i32::try_from(bytes).unwrap_or(i32::MAX))
}
