//! Given these events, when that command comes, then this happens.
//!
//! ```text
//! given::<Order>([created(), confirmed()])
//!     .when(OrderCommand::Confirm)
//!     .then_nothing();
//! ```
//!
//! [`golden`] holds stored events to files, and [`live`] has an aggregate live through commands.

pub mod golden;
pub mod tally;

use crate::aggregate::{Aggregate, Decision, DecisionContext};
use crate::codec;
use crate::event::{DomainEvent, Timestamp};
use uuid::Uuid;

/// When every decision of a test is made: 2026-01-02T03:04:05.678Z.
pub const NOW: Timestamp = Timestamp(1_767_323_045_678);

/// The id of the aggregate that decides in tests.
pub const AGGREGATE_ID: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

/// An aggregate to which these events happened.
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given(fold(&events.into_iter().collect::<Vec<_>>()))
}

/// The state after these events.
pub fn fold<A: Aggregate>(events: &[A::Event]) -> A {
    let mut state = A::default();
    for event in events {
        state.apply(event);
    }
    state
}

/// See [`given`].
#[derive(Debug)]
pub struct Given<A>(A);

impl<A: Aggregate> Given<A> {
    /// Decides a command at [`NOW`].
    pub fn when(self, command: A::Command) -> When<A> {
        let ctx = DecisionContext { aggregate_id: AGGREGATE_ID, now: NOW };
        When { decision: self.0.decide(command, &ctx) }
    }
}

/// See [`Given::when`].
#[derive(Debug)]
pub struct When<A: Aggregate> {
    decision: Decision<A>,
}

impl<A: Aggregate> When<A> {
    /// Expects these events.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) {
        assert_eq!(self.decision, Ok(expected.into_iter().collect()));
    }

    /// Expects that the command found its own effect already there.
    #[track_caller]
    pub fn then_nothing(self) {
        assert_eq!(self.decision, Ok(Vec::new()));
    }

    /// Expects this refusal.
    #[track_caller]
    pub fn then_refused(self, expected: A::Error) {
        assert_eq!(self.decision, Err(expected));
    }
}

/// Has an aggregate decide these commands one after the other, each a second later; refused ones leave no trace.
/// Gives its state and its events.
///
/// # Panics
///
/// If a command that was accepted causes events again when it is repeated at once: it has to find its
/// own effect, or be refused.
pub fn live<A: Aggregate>(commands: impl IntoIterator<Item = A::Command>) -> (A, Vec<A::Event>) {
    let mut state = A::default();
    let mut events = Vec::new();
    for (command, second) in commands.into_iter().zip(0_i64..) {
        let ctx = DecisionContext { aggregate_id: AGGREGATE_ID, now: Timestamp(second * 1_000) };
        let Ok(decided) = state.decide(command.clone(), &ctx) else { continue };
        for event in &decided {
            state.apply(event);
        }
        events.extend(decided);
        if let Ok(again) = state.decide(command, &ctx) {
            assert!(again.is_empty(), "accepted twice: {again:?}");
        }
    }
    (state, events)
}

/// The events as they are after they were stored and read.
///
/// # Panics
///
/// If one of them cannot be stored or read.
pub fn stored_and_read<E: DomainEvent>(events: &[E]) -> Vec<E> {
    let read = events.iter().map(|event| {
        let kind = event.kind();
        let text = codec::encode(event).expect("a decided event can be stored");
        codec::decode(kind.name, kind.schema_version, &text).expect("a stored event can be read")
    });
    read.collect()
}
