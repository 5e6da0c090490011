//! Orders and customers, and what every aggregate is made of. Pure: no clock, no randomness, no
//! input or output.
//!
//! The life of a decision: a command is decided by [`Aggregate::decide`] against the state that
//! [`Aggregate::apply`] folded from the aggregate's events; the resulting events are written with
//! their [`EventEnvelope`] in the stored form of [`codec`].

mod aggregate;
pub mod codec;
pub mod customer;
mod event;
#[cfg(test)]
mod golden;
pub mod order;
#[cfg(test)]
mod replay;
pub mod testing;
pub mod value;

pub use aggregate::{Aggregate, Decision, DecisionContext, DomainError, RefusalKind};
pub use customer::{Customer, CustomerCommand, CustomerError, CustomerEvent, CustomerStatus};
pub use event::{
    CommitPlace, DomainEvent, EventEnvelope, EventKind, EventMetadata, RecordedEvent, Timestamp,
    Version,
};
pub use order::{Order, OrderCommand, OrderError, OrderEvent, OrderItem, OrderStatus};
pub use value::ValueError;

/// The topic that the events of an aggregate type are published to; `None` for a type that this
/// release does not know.
#[must_use]
pub fn topic_of(aggregate_type: &str) -> Option<&'static str> {
    match aggregate_type {
        Order::TYPE => Some(Order::TOPIC),
        Customer::TYPE => Some(Customer::TOPIC),
        _ => None,
    }
}

/// Every aggregate type with the kinds of its events.
#[must_use]
pub fn event_kinds() -> [(&'static str, &'static [EventKind]); 2] {
    [(Order::TYPE, &OrderEvent::KINDS), (Customer::TYPE, &CustomerEvent::KINDS)]
}
