//! What every aggregate is: a pure decision and a pure fold.

use crate::event::{DomainEvent, Timestamp};
use uuid::Uuid;

/// What an aggregate's decision yields: the events to store, or the rule that forbids it.
///
/// An empty list means that the command found its own effect already there: it is accepted and
/// nothing is stored.
pub type Decision<A> = Result<Vec<<A as Aggregate>::Event>, <A as Aggregate>::Error>;

/// Everything a decision may know besides state and command. Time comes in as a value, so that
/// a decision is a plain function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionContext {
    /// The id of the aggregate that decides.
    pub aggregate_id: Uuid,
    /// The time that the events of this decision carry; never before the aggregate's last event.
    pub now: Timestamp,
}

/// A consistency boundary: commands are decided against its state, events change the state.
///
/// `Default` is the state before the first event. Neither function may look at a clock, a random
/// source or anything outside its arguments: replaying the same events gives the same state.
pub trait Aggregate: Default + Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The stored name of the aggregate's type, for example `order`.
    const TYPE: &'static str;
    /// The topic that its events are published to, for example `orders.events`.
    const TOPIC: &'static str;
    /// What may be asked of it.
    type Command: Clone + Send + Sync + 'static;
    /// What happened to it.
    type Event: DomainEvent;
    /// Why a command is refused.
    type Error: DomainError;

    /// Decides a command against the current state.
    fn decide(&self, command: Self::Command, ctx: &DecisionContext) -> Decision<Self>;

    /// Changes the state by one event that happened. Never fails: an event is a fact.
    fn apply(&mut self, event: &Self::Event);
}

/// How a refusal is to be understood by whoever sent the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The aggregate does not exist.
    NotFound,
    /// The command does not fit the aggregate's current state.
    WrongState,
    /// The command's values break a rule whatever the state is.
    InvalidValue,
}

/// A refusal by the domain: typed, with a stable code.
pub trait DomainError: std::error::Error + Clone + PartialEq + Send + Sync + 'static {
    /// A stable snake-case code for clients, for example `order_already_shipped`.
    fn code(&self) -> &'static str;
    /// What kind of refusal it is.
    fn kind(&self) -> RefusalKind;
}
