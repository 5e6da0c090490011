//! What a caller asks of an aggregate and what it gets back.

use kernel::{Aggregate, Version};
use uuid::Uuid;

/// One command to one aggregate.
#[derive(Debug, Clone)]
pub struct CommandRequest<A: Aggregate> {
    /// The command's name for metrics, from a closed set, for example `confirm`.
    pub name: &'static str,
    /// The aggregate that decides.
    pub aggregate_id: Uuid,
    /// Identifies the command: sent again with the same fingerprint it has no second effect.
    pub command_id: Uuid,
    /// SHA-256 of the command in lower-case hex. The same id with another one is refused.
    pub fingerprint: String,
    /// What is asked.
    pub command: A::Command,
    /// The version that the sender decided upon (`If-Match`), where it named one.
    pub expected_version: Option<Version>,
    /// What directly caused the command; the command itself when absent.
    pub causation_id: Option<Uuid>,
    /// Shared by everything that one request set in motion.
    pub correlation_id: Uuid,
    /// Who asks, where known.
    pub actor: Option<String>,
    /// The W3C trace context of the request, where it has one.
    pub trace_parent: Option<String>,
}

/// An event as an answer names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEventRef {
    /// The event's id.
    pub event_id: Uuid,
    /// Stored event type, for example `OrderConfirmed`.
    pub event_type: String,
    /// Its version.
    pub version: Version,
}

/// The answer to an accepted command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The aggregate that decided.
    pub aggregate_id: Uuid,
    /// Its version after the command; after a replay the version that the first answer named.
    pub version: Version,
    /// The events the command led to; empty when it found its own effect already there.
    pub events: Vec<StoredEventRef>,
    /// Whether this is the answer of an earlier command with the same id.
    pub replayed: bool,
}
