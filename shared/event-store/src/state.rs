//! An aggregate as far as it is known: folded state, version, fence, and the commands it has seen.

use crate::error::CorruptError;
use crate::ids::Fence;
use crate::seen_commands::SeenCommands;
use kernel::{Aggregate, RecordedEvent, Timestamp, Version, codec};
use uuid::Uuid;

/// The fold of an aggregate's events up to `version`. Everything in it is a stored fact; it may be
/// old, but never wrong.
#[derive(Debug, Clone)]
pub(crate) struct Loaded<A> {
    pub(crate) aggregate_id: Uuid,
    pub(crate) version: Version,
    /// The fence as last read; the commit checks it.
    pub(crate) fence: Option<Fence>,
    pub(crate) state: A,
    pub(crate) commands: SeenCommands,
    /// Id and time of the last event.
    last: Option<(Uuid, Timestamp)>,
    bytes: usize,
}

/// Why events could not be folded.
#[derive(Debug)]
pub(crate) enum FoldError {
    OtherType(String),
    Corrupt(CorruptError),
}

impl<A: Aggregate> Loaded<A> {
    /// An aggregate before its first event.
    pub(crate) fn new(aggregate_id: Uuid) -> Self {
        Self {
            aggregate_id,
            version: Version::NONE,
            fence: None,
            state: A::default(),
            commands: SeenCommands::default(),
            last: None,
            bytes: 0,
        }
    }

    /// The id of the last event.
    pub(crate) fn last_event_id(&self) -> Option<Uuid> {
        self.last.map(|(id, _)| id)
    }

    /// The time to record next: now, but never before the last event's.
    pub(crate) fn not_before_last(&self, now: Timestamp) -> Timestamp {
        self.last.map_or(now, |(_, last)| now.max(last))
    }

    /// About how much memory this takes.
    pub(crate) fn weight(&self) -> u32 {
        const PER_COMMAND: usize = 300;
        let bytes = size_of::<Self>() + self.bytes + self.commands.len() * PER_COMMAND;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// Folds stored events, which must follow on each other.
    pub(crate) fn fold(&mut self, events: &[RecordedEvent]) -> Result<(), FoldError> {
        for event in events {
            if event.aggregate_type != A::TYPE {
                return Err(FoldError::OtherType(event.aggregate_type.clone()));
            }
            let decoded = codec::decode(&event.event_type, event.schema_version, &event.payload);
            let payload: A::Event = decoded.map_err(|source| {
                FoldError::Corrupt(CorruptError::Data {
                    aggregate_id: self.aggregate_id,
                    version: event.version,
                    source,
                })
            })?;
            self.apply(event, &payload)?;
        }
        Ok(())
    }

    /// Folds one event whose payload is at hand.
    pub(crate) fn apply(
        &mut self,
        event: &RecordedEvent,
        payload: &A::Event,
    ) -> Result<(), FoldError> {
        let expected = self.version.next();
        if event.version != expected {
            return Err(FoldError::Corrupt(CorruptError::Gap {
                aggregate_id: self.aggregate_id,
                expected,
                found: event.version,
            }));
        }
        self.state.apply(payload);
        self.commands.record(event);
        self.version = event.version;
        self.last = Some((event.event_id, event.recorded_at));
        self.bytes = self.bytes.saturating_add(event.payload.len());
        Ok(())
    }
}
