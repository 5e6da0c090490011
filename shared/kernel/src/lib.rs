//! What every aggregate is made of, whatever the domain. Pure: no clock, no randomness, no input or output outside of
//! [`testing`].
//!
//! The life of a decision: a command is decided by [`Aggregate::decide`] against the state that
//! [`Aggregate::apply`] folded from the aggregate's events; the resulting events are written with
//! their [`EventEnvelope`] in the stored form of [`codec`]. An application lists its aggregates in one
//! value, [`Aggregates`]; topics, checks and everything else that has to know all of them follow from it.

mod aggregate;
mod aggregates;
pub mod codec;
mod event;
mod events;
pub mod testing;

pub use aggregate::{Aggregate, Decision, DecisionContext, DomainError, ErrorCode, RefusalKind};
pub use aggregates::{AggregateType, Aggregates, RegistrationError};
pub use event::{
    CommitPlace, DomainEvent, EventEnvelope, EventKind, EventMetadata, RecordedEvent, Timestamp,
    Upcaster, Version,
};
