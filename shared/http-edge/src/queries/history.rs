//! The events of one aggregate, from the event store itself: never behind.

use super::answer;
use super::page::{malformed_parameter, parameters};
use super::routes::{Shared, id_in, not_found};
use crate::Problem;
use crate::ids::PathNames;
use crate::problem::{events_unusable, not_answered, of_other_type};
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use event_store::{EventReader, ReadError};
use kernel::{Aggregate, RecordedEvent, Timestamp, Version};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// `?after=…&limit=…`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

/// Events of one aggregate, oldest first.
#[derive(Debug, Serialize)]
struct HistoryView {
    aggregate_id: Uuid,
    events: Vec<EventView>,
    /// Given back as `after` to get the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Debug, Serialize)]
struct EventView {
    id: Uuid,
    version: u64,
    #[serde(rename = "type")]
    event_type: String,
    schema_version: u32,
    recorded_at: Timestamp,
    command_id: Uuid,
    correlation_id: Uuid,
    causation_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// As it is stored, byte for byte.
    data: Box<RawValue>,
}

/// Answers requests for a history.
pub(super) async fn history<A: Aggregate, Q>(
    State(shared): State<Shared<Q>>,
    path: PathNames,
    uri: Uri,
) -> Result<Response, Problem> {
    let id = id_in(path)?;
    let Parameters { after, limit } = parameters(uri.query().unwrap_or_default())?;
    let max = shared.limits.events_page_size_max;
    let limit = limit.unwrap_or(max);
    if limit == 0 || limit > max {
        return Err(malformed_parameter("limit", format!("must be between 1 and {max}")));
    }
    // The column is a signed 64-bit number, and there must be one after it.
    if after >= i64::MAX.cast_unsigned() {
        return Err(malformed_parameter("after", "is no version"));
    }
    let events = read::<A>(&shared.events, id, Version(after), limit).await?;
    answer::json(&HistoryView::of(id, events, limit)?)
}

/// The events after a version, of an aggregate of this type.
async fn read<A: Aggregate>(
    reader: &EventReader,
    id: Uuid,
    after: Version,
    limit: u32,
) -> Result<Vec<RecordedEvent>, Problem> {
    let failed = |error: ReadError| {
        let problem = if error.is_transient() { not_answered() } else { events_unusable() };
        problem.caused_by(&error)
    };
    let events = reader.after(id, after, limit).await.map_err(failed)?;
    // Behind the end of a history there is nothing; without a history neither.
    let tail = if events.is_empty() && after != Version::NONE {
        reader.tail(id, 1).await.map_err(failed)?
    } else {
        Vec::new()
    };
    match events.first().or(tail.first()) {
        Some(event) if event.aggregate_type == A::TYPE => Ok(events),
        Some(_) => Err(of_other_type()),
        None => Err(not_found(A::TYPE, id)),
    }
}

impl HistoryView {
    /// A page; full when it has `limit` events.
    fn of(aggregate_id: Uuid, events: Vec<RecordedEvent>, limit: u32) -> Result<Self, Problem> {
        let full = events.len() >= limit as usize;
        let next = events.last().filter(|_| full).map(|event| event.version.0);
        let events = events.into_iter().map(EventView::try_from).collect::<Result<_, _>>()?;
        Ok(Self { aggregate_id, events, next })
    }
}

impl TryFrom<RecordedEvent> for EventView {
    type Error = Problem;

    fn try_from(event: RecordedEvent) -> Result<Self, Problem> {
        let data = RawValue::from_string(event.payload)
            .map_err(|error| events_unusable().caused_by(&error))?;
        Ok(Self {
            id: event.event_id,
            version: event.version.0,
            event_type: event.event_type,
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            command_id: event.metadata.command_id,
            correlation_id: event.metadata.correlation_id,
            causation_id: event.metadata.causation_id,
            actor: event.metadata.actor,
            traceparent: event.metadata.trace_parent,
            data,
        })
    }
}
