//! Given these events, when that command comes, then this happens.
//!
//! ```text
//! given::<Order>([created(), confirmed()])
//!     .when(OrderCommand::Confirm)
//!     .then_nothing();
//! ```

use crate::aggregate::{Aggregate, Decision, DecisionContext};
use crate::event::Timestamp;
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
