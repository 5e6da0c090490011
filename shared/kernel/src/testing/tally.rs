//! The smallest aggregate that can refuse, find its effect already there, and record several events: for tests of
//! what works with any aggregate.

use crate::aggregate::{Aggregate, Decision, DecisionContext, DomainError, ErrorCode, RefusalKind};
use crate::aggregates::{AggregateType, Aggregates};
use crate::event::{CommitPlace, EventMetadata, RecordedEvent, Timestamp, Version};
use uuid::Uuid;

/// An application of tallies alone.
pub const TALLIES: Aggregates = Aggregates::new(&[AggregateType::of::<Tally>()]);

/// A sum.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// All numbers that were added.
    pub total: u64,
}

/// What may be asked of a tally.
#[derive(Debug, Clone)]
pub enum TallyCommand {
    /// One event.
    Add(u64),
    /// One event per number.
    AddEach(Vec<u64>),
    /// Adds one, unless the total is above the limit.
    AddBelow(u64),
    /// Adds one, unless the total is below the limit.
    AddFrom(u64),
    /// Raises the total to a number; nothing to do when it is there already.
    RaiseTo(u64),
}

impl TallyCommand {
    /// As it is called in metrics and fingerprints.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::AddEach(_) => "add_each",
            Self::AddBelow(_) => "add_below",
            Self::AddFrom(_) => "add_from",
            Self::RaiseTo(_) => "raise_to",
        }
    }
}

crate::events! {
    /// What happened to a tally.
    pub enum TallyEvent, samples = one;

    /// A number was added.
    Added = "TallyAdded" 1 {
        /// The number.
        number: u64,
    }
}

fn one() -> Vec<TallyEvent> {
    vec![TallyEvent::Added { number: 1 }]
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the total is {total}")]
pub struct TallyError {
    /// What it is.
    pub total: u64,
}

impl DomainError for TallyError {
    const CODES: &'static [ErrorCode] =
        &[ErrorCode { code: "tally_full", kind: RefusalKind::WrongState }];

    fn code(&self) -> &'static str {
        Self::CODES[0].code
    }

    fn kind(&self) -> RefusalKind {
        Self::CODES[0].kind
    }
}

impl Aggregate for Tally {
    const TYPE: &'static str = "tally";
    const TOPIC: &'static str = "tallies.events";
    type Command = TallyCommand;
    type Event = TallyEvent;
    type Error = TallyError;

    fn decide(&self, command: TallyCommand, _: &DecisionContext) -> Decision<Self> {
        let total = self.total;
        let numbers = match command {
            TallyCommand::Add(number) => vec![number],
            TallyCommand::AddEach(numbers) => numbers,
            TallyCommand::AddBelow(limit) if total < limit => vec![1],
            TallyCommand::AddFrom(limit) if total >= limit => vec![1],
            TallyCommand::AddBelow(_) | TallyCommand::AddFrom(_) => {
                return Err(TallyError { total });
            }
            TallyCommand::RaiseTo(wanted) if wanted <= total => Vec::new(),
            TallyCommand::RaiseTo(wanted) => vec![wanted - total],
        };
        Ok(numbers.into_iter().map(|number| TallyEvent::Added { number }).collect())
    }

    fn apply(&mut self, event: &TallyEvent) {
        let TallyEvent::Added { number } = event;
        self.total += number;
    }
}

/// A stored event that adds one, as if another process had committed it.
#[must_use]
pub fn event(aggregate_id: Uuid, version: u64) -> RecordedEvent {
    let id = Uuid::from_u128(0xE000_0000 + u128::from(version));
    RecordedEvent {
        event_id: id,
        aggregate_id,
        aggregate_type: Tally::TYPE.to_owned(),
        version: Version(version),
        event_type: "TallyAdded".to_owned(),
        schema_version: 1,
        recorded_at: Timestamp(0),
        metadata: EventMetadata {
            command_id: id,
            fingerprint: "another".to_owned(),
            causation_id: id,
            correlation_id: id,
            actor: None,
            trace_parent: None,
            commit: CommitPlace { index: 0, count: 1 },
        },
        payload: r#"{"number":1}"#.to_owned(),
    }
}
