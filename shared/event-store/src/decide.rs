//! From a command to its events, or to the reason why there are none. Pure but for the time that
//! comes in.

use crate::command::{CommandRequest, Outcome, StoredEventRef};
use crate::config::EventStoreConfig;
use crate::error::ExecuteError;
use crate::state::Loaded;
use kernel::codec::CodecError;
use kernel::{
    Aggregate, CommitPlace, DecisionContext, DomainEvent, EventMetadata, RecordedEvent, Timestamp,
    Version, codec,
};
use std::sync::Arc;
use uuid::Uuid;

/// What an aggregate says to a command.
pub(crate) enum Verdict<A: Aggregate> {
    /// The command was accepted before: its first answer.
    Replay(Outcome),
    /// Events to commit, as they are to be stored and as they are.
    Events(Arc<[RecordedEvent]>, Vec<A::Event>),
    /// The command finds its own effect already there.
    Nothing,
    /// It is refused.
    Refused(ExecuteError<A::Error>),
}

/// Decides a command: command id first, then the expected version, then the domain.
pub(crate) fn decide<A: Aggregate>(
    loaded: &Loaded<A>,
    request: &CommandRequest<A>,
    now: Timestamp,
    config: &EventStoreConfig,
) -> Verdict<A> {
    let (command_id, version) = (request.command_id, loaded.version);
    if let Some(seen) = loaded.commands.get(&command_id) {
        if seen.fingerprint != request.fingerprint {
            return Verdict::Refused(ExecuteError::CommandReused { command_id, version });
        }
        return Verdict::Replay(Outcome {
            aggregate_id: loaded.aggregate_id,
            version: seen.version(),
            events: seen.events.clone(),
            replayed: true,
        });
    }
    if let Some(expected) = request.expected_version
        && expected != version
    {
        return Verdict::Refused(ExecuteError::VersionMismatch { expected, actual: version });
    }
    let now = loaded.not_before_last(now);
    let context = DecisionContext { aggregate_id: loaded.aggregate_id, now };
    match loaded.state.decide(request.command.clone(), &context) {
        Err(error) => Verdict::Refused(ExecuteError::Refused { error, version }),
        Ok(events) if events.is_empty() => Verdict::Nothing,
        Ok(events) => match record(&events, request, version, now) {
            Ok(recorded) => within_bounds(recorded, events, config),
            Err(source) => {
                let aggregate_id = loaded.aggregate_id;
                Verdict::Refused(ExecuteError::Unstorable { aggregate_id, source })
            }
        },
    }
}

fn within_bounds<A: Aggregate>(
    recorded: Vec<RecordedEvent>,
    events: Vec<A::Event>,
    config: &EventStoreConfig,
) -> Verdict<A> {
    let (events_max, bytes_max) = (config.events_per_commit_max, config.commit_bytes_max);
    let bytes = recorded.iter().map(stored_bytes).sum();
    if recorded.len() > events_max || bytes > bytes_max {
        let events = recorded.len();
        return Verdict::Refused(ExecuteError::TooLarge { events, bytes, events_max, bytes_max });
    }
    Verdict::Events(recorded.into(), events)
}

/// About how many bytes an event takes; ids and times count with what names them in JSON.
fn stored_bytes(event: &RecordedEvent) -> usize {
    const FIXED: usize = 512;
    let metadata = &event.metadata;
    let actor = metadata.actor.as_ref().map_or(0, String::len);
    let trace = metadata.trace_parent.as_ref().map_or(0, String::len);
    FIXED + event.payload.len() + metadata.fingerprint.len() + actor + trace
}

/// Gives events the form in which they are stored.
fn record<A: Aggregate>(
    events: &[A::Event],
    request: &CommandRequest<A>,
    after: Version,
    now: Timestamp,
) -> Result<Vec<RecordedEvent>, CodecError> {
    let count = u16::try_from(events.len()).unwrap_or(u16::MAX);
    let mut version = after;
    let mut recorded = Vec::with_capacity(events.len());
    for (index, event) in (0..=u16::MAX).zip(events) {
        version = version.next();
        let payload = codec::encode(event)?;
        let kind = event.kind();
        recorded.push(RecordedEvent {
            event_id: event_id(request.command_id, &request.fingerprint, index),
            aggregate_id: request.aggregate_id,
            aggregate_type: A::TYPE.to_owned(),
            version,
            event_type: kind.name.to_owned(),
            schema_version: kind.schema_version,
            recorded_at: now,
            metadata: EventMetadata {
                command_id: request.command_id,
                fingerprint: request.fingerprint.clone(),
                causation_id: request.causation_id.unwrap_or(request.command_id),
                correlation_id: request.correlation_id,
                actor: request.actor.clone(),
                trace_parent: request.trace_parent.clone(),
                commit: CommitPlace { index, count },
            },
            payload,
        });
    }
    Ok(recorded)
}

/// The id of an event: the same whenever and wherever the command is decided.
fn event_id(command_id: Uuid, fingerprint: &str, index: u16) -> Uuid {
    Uuid::new_v5(&command_id, format!("{fingerprint}/{index}").as_bytes())
}

/// The answer to a command whose events are facts now.
pub(crate) fn accepted(aggregate_id: Uuid, events: &[RecordedEvent]) -> Outcome {
    let version = events.last().map_or(Version::NONE, |event| event.version);
    let events = events.iter().map(|event| StoredEventRef {
        event_id: event.event_id,
        event_type: event.event_type.clone(),
        version: event.version,
    });
    Outcome { aggregate_id, version, events: events.collect(), replayed: false }
}
