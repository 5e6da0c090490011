//! Publishes events to Kafka topics: one topic per aggregate type, the aggregate's id as key,
//! CloudEvents 1.0 in binary mode.
//!
//! The life of a message: the sequencer of `cdc` hands a change to [`Relay`], strictly in order
//! per aggregate; [`Message::of`] gives it headers; [`Publisher::publish`] sends it and waits for
//! the broker's acknowledgement, so that at most one record per aggregate is on its way. A failed
//! record comes again unchanged. Delivery is at least once, first occurrences in order.
//!
//! Every client is configured in [`KafkaConfig`]; why the broker does not let one in is told in terms of
//! its keys ([`Unanswered`]).

mod audit;
mod broker_context;
mod connection;
mod error_class;
mod inquiry;
mod message;
mod metrics;
mod producer;
mod reader;
mod refusal;
mod relay;
pub mod topics;
mod watch;

pub use audit::{Digest, Misplaced, Published, TopicAudit, TopicAuditError};
pub use broker_context::Unanswered;
pub use connection::{KafkaConfig, KafkaConfigError, SaslMechanism};
pub use message::{Message, MessageError};
pub use producer::{Acknowledged, PublishError, Publisher, PublisherConfig};
pub use reader::{ReadError, ReceivedMessage, TopicReader};
pub use relay::{CONSUMER, Relay};
pub use watch::{BrokerWatchConfig, watch_broker};

#[cfg(test)]
mod tests;
