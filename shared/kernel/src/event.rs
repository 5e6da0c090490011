//! Events, their metadata, and the newtypes that both are made of.

use serde::{Deserialize, Serialize};
use std::fmt;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use uuid::Uuid;

/// The 1-based place of an event in its aggregate; 0 is "no event yet".
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version before the first event.
    pub const NONE: Self = Self(0);

    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time with millisecond precision: milliseconds since 1970 in memory and in CQL,
/// RFC 3339 in UTC in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Always three digits after the second, so that texts sort as the times do.
const TEXT_FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

impl Timestamp {
    fn to_rfc3339(self) -> Option<String> {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).ok()?;
        (0..=9999).contains(&at.year()).then(|| at.format(TEXT_FORMAT).ok()).flatten()
    }

    /// Reads an RFC 3339 text; finer parts than milliseconds are cut off.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_rfc3339() {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_rfc3339() {
            Some(text) => serializer.serialize_str(&text),
            None => Err(serde::ser::Error::custom("timestamp outside the years 0 to 9999")),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_rfc3339(&text)
            .ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 timestamp"))
    }
}

/// The stored name and schema version of an event. Stored names are literals: renaming a Rust
/// type leaves them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventKind {
    /// For example `OrderCreated`.
    pub name: &'static str,
    /// Starts at 1; raised when the stored shape changes.
    pub schema_version: u32,
}

impl EventKind {
    /// A kind by its stored name and schema version.
    #[must_use]
    pub const fn new(name: &'static str, schema_version: u32) -> Self {
        Self { name, schema_version }
    }
}

/// An event of one aggregate type. Its stored form is made and read by [`crate::codec`].
///
/// The enum is tagged for serde as the codec needs it, each variant under its stored name:
///
/// ```text
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// #[serde(tag = "type", content = "data")]
/// enum AccountEvent {
///     #[serde(rename = "AccountOpened")]
///     Opened { owner: String },
/// }
/// ```
pub trait DomainEvent:
    Clone + fmt::Debug + PartialEq + Serialize + for<'de> Deserialize<'de> + Send + Sync + 'static
{
    /// Every event of the type, each with its current schema version.
    const KINDS: &'static [EventKind];

    /// How older stored shapes become the current ones.
    const UPCASTERS: &'static [Upcaster] = &[];

    /// The stored name and current schema version.
    fn kind(&self) -> EventKind;

    /// At least one event of each kind. Their stored form is what `golden/` keeps, and what
    /// [`crate::Aggregates::check`] tries at each start.
    fn samples() -> Vec<Self>;
}

/// Brings the stored data of one event from one schema version to the next.
///
/// Pure and total: old events are facts, so there is nothing to refuse. Data that it does not
/// recognise is returned as it came, and decoding tells what is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The stored name of the event.
    pub event_type: &'static str,
    /// The schema version that it takes; it gives the one after it.
    pub from: u32,
    /// Data of schema version `from` to data of `from + 1`.
    pub upcast: fn(serde_json::Value) -> serde_json::Value,
}

/// The place of an event among the events of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitPlace {
    /// 0-based.
    pub index: u16,
    /// How many events the commit has.
    pub count: u16,
}

/// What is stored beside an event's data, in the `metadata` column, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMetadata {
    /// The command that caused the commit.
    pub command_id: Uuid,
    /// SHA-256 of the command in lower-case hex: the same id with another one is refused.
    pub fingerprint: String,
    /// The id of what directly caused the event: the command, or the event a saga reacted to.
    pub causation_id: Uuid,
    /// Shared by everything that one request set in motion.
    pub correlation_id: Uuid,
    /// Who asked for it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The W3C trace context of the request, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_parent: Option<String>,
    /// Place in the commit.
    pub commit: CommitPlace,
}

/// An event with its identity and metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct EventEnvelope<E> {
    /// Derived from command id, fingerprint and place in the commit (UUIDv5).
    pub event_id: Uuid,
    /// The aggregate it happened to.
    pub aggregate_id: Uuid,
    /// For example `order`.
    pub aggregate_type: String,
    /// 1-based, without gaps.
    pub version: Version,
    /// Stored event type, for example `OrderCreated`.
    pub event_type: String,
    /// Of the stored data.
    pub schema_version: u32,
    /// When the commit was decided; never goes back within an aggregate.
    pub recorded_at: Timestamp,
    /// Command, fingerprint, causation, correlation, actor, trace.
    pub metadata: EventMetadata,
    /// The event itself.
    pub payload: E,
}

/// An event as it is stored: its data is still JSON text.
pub type RecordedEvent = EventEnvelope<String>;

impl<E> EventEnvelope<E> {
    /// The same envelope around another payload.
    pub fn with_payload<T>(self, payload: T) -> EventEnvelope<T> {
        EventEnvelope {
            event_id: self.event_id,
            aggregate_id: self.aggregate_id,
            aggregate_type: self.aggregate_type,
            version: self.version,
            event_type: self.event_type,
            schema_version: self.schema_version,
            recorded_at: self.recorded_at,
            metadata: self.metadata,
            payload,
        }
    }
}
