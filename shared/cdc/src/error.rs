//! Why a group of consumers had to stop, and why an event could not be handled.

use crate::consumer::{ErrorClass, HandleError};
use kernel::{RecordedEvent, Version};
use runtime::config::BadValue;
use runtime::telemetry::about;
use runtime::traces;
use std::fmt;
use tracing::Span;
use uuid::Uuid;

/// Why a table, the log or a clock could not be read, or a table not written.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    /// What to do about it. Poison is a row of an event that cannot be read.
    pub class: ErrorClass,
    /// What was being done, to what.
    pub what: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// With its cause.
    pub fn new(
        class: ErrorClass,
        what: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { class, what: what.into(), source: Some(cause.into()) }
    }

    /// Something that is not there yet; it may come.
    pub(crate) fn missing(what: impl Into<String>) -> Self {
        Self { class: ErrorClass::Transport, what: what.into(), source: None }
    }
}

/// Why an event was not handled.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Its consumer cannot handle it.
    #[error(transparent)]
    Consumer(#[from] HandleError),
    /// The ledger, the cursors or the letters say no, or nothing.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EventError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Consumer(error) => error.class,
            Self::Store(error) => error.class,
        }
    }
}

/// Why a group stopped without being asked to. The checkpoint and the cursors stay before what
/// could not be done.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// A value of the configuration makes no sense.
    #[error("configuration")]
    Config(#[source] BadValue),
    /// A value of the configuration of the leases makes no sense.
    #[error("configuration")]
    Leases(#[source] BadValue),
    /// The group has no consumers, or two of one name.
    #[error("group {group} has {what}")]
    Consumers {
        /// The group.
        group: &'static str,
        /// What is wrong with its consumers.
        what: String,
    },
    /// An event cannot be handled for a reason that lies elsewhere: a bug or the configuration.
    #[error("consumer {consumer} cannot handle {event}")]
    Event {
        /// The consumer.
        consumer: String,
        /// The event.
        event: Box<EventName>,
        /// Why.
        #[source]
        source: EventError,
    },
    /// The work for a consumer panicked, outside of the consumer itself.
    #[error("the work for consumer {consumer} panicked at {event}")]
    Panicked {
        /// The consumer.
        consumer: String,
        /// The event that it had in hand, as far as known.
        event: Box<EventName>,
    },
    /// The log, the slots or the clock cannot be used, and trying again will not help.
    #[error("cannot {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// An event, as far as it is known, for a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName {
    /// Its id, when it could be read.
    pub event_id: Option<Uuid>,
    /// Its stored type, when it could be read.
    pub event_type: Option<String>,
    /// Its aggregate.
    pub aggregate_id: Uuid,
    /// Its version.
    pub version: Version,
    /// The request that brought it about, when it could be read.
    pub origin: Option<Origin>,
}

/// A request, as a person searches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its correlation id.
    pub correlation_id: Uuid,
    /// Its trace, or what stands for it.
    pub trace_id: String,
}

impl Origin {
    /// Of an event.
    pub fn of(event: &RecordedEvent) -> Self {
        let correlation_id = event.metadata.correlation_id;
        let trace_parent = event.metadata.trace_parent.as_deref();
        Self { correlation_id, trace_id: traces::trace_id(trace_parent, correlation_id) }
    }
}

impl EventName {
    /// The name of an event that could be read.
    pub fn of(event: &RecordedEvent) -> Self {
        Self {
            event_id: Some(event.event_id),
            event_type: Some(event.event_type.clone()),
            aggregate_id: event.aggregate_id,
            version: event.version,
            origin: Some(Origin::of(event)),
        }
    }

    /// The name of an event of which nothing else is known.
    pub fn unread(aggregate_id: Uuid, version: Version) -> Self {
        Self { event_id: None, event_type: None, aggregate_id, version, origin: None }
    }

    /// A span for what the log says about it.
    pub fn about(&self) -> Span {
        let origin = self.origin.as_ref();
        let trace_id = origin.map(|origin| origin.trace_id.as_str());
        about(Some(self.aggregate_id), origin.map(|origin| origin.correlation_id), trace_id)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("event ")?;
        if let Some(event_id) = self.event_id {
            write!(f, "{event_id} ")?;
        }
        if let Some(event_type) = &self.event_type {
            write!(f, "({event_type}) ")?;
        }
        write!(f, "version {} of aggregate {}", self.version, self.aggregate_id)
    }
}
