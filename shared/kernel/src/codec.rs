//! The stored form of events: JSON text under a stored name and schema version.
//!
//! An event enum is serialised adjacently tagged (`#[serde(tag = "type", content = "data")]`) with
//! its stored name as the tag; the tag goes into its own column, the content into `event_data`.

use crate::event::{DomainEvent, EventEnvelope, RecordedEvent};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::any::type_name;
use std::borrow::Cow;

/// Why an event cannot be stored, or a stored one cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The event has no JSON.
    #[error("encode {event_type}")]
    Encode {
        /// Its stored name.
        event_type: &'static str,
        /// What serde says.
        source: serde_json::Error,
    },
    /// The enum is not tagged as this codec needs it.
    #[error(
        "{rust_type} needs #[serde(tag = \"type\", content = \"data\")]: {event_type} became {json}"
    )]
    NotTagged {
        /// The enum.
        rust_type: &'static str,
        /// The stored name of the event.
        event_type: &'static str,
        /// What serde made of it, shortened.
        json: String,
    },
    /// The variant's name for serde is not its stored name.
    #[error(
        "{rust_type}: kind() calls an event {event_type}, serde calls it {tag}; add #[serde(rename = \"{event_type}\")]"
    )]
    OtherName {
        /// The enum.
        rust_type: &'static str,
        /// The stored name of the event.
        event_type: &'static str,
        /// The name that serde writes.
        tag: String,
    },
    /// The data does not have the shape of its type and schema version.
    #[error("decode {event_type} schema version {schema_version}")]
    Decode {
        /// Stored event type.
        event_type: String,
        /// Stored schema version.
        schema_version: u32,
        /// What serde says.
        source: serde_json::Error,
    },
    /// This release does not know the schema version.
    #[error("{event_type} has schema version {found}, this release reads up to {known}")]
    SchemaVersion {
        /// Stored event type.
        event_type: String,
        /// Stored schema version.
        found: u32,
        /// The newest this release knows.
        known: u32,
    },
}

/// An event as serde writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tagged<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    /// Absent for a variant without fields.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// How much of a wrong form is shown, in characters.
const SHOWN_CHARS_MAX: usize = 100;

/// The stored text of an event: its fields in the order of their declaration, so that the same
/// event gives the same bytes in every build.
pub fn encode<E: DomainEvent>(event: &E) -> Result<String, CodecError> {
    let (event_type, rust_type) = (event.kind().name, type_name::<E>());
    let json =
        serde_json::to_string(event).map_err(|source| CodecError::Encode { event_type, source })?;
    let Ok(tagged) = serde_json::from_str::<Tagged<'_>>(&json) else {
        let json = json.chars().take(SHOWN_CHARS_MAX).collect();
        return Err(CodecError::NotTagged { rust_type, event_type, json });
    };
    if tagged.r#type != event_type {
        let tag = tagged.r#type.into_owned();
        return Err(CodecError::OtherName { rust_type, event_type, tag });
    }
    Ok(tagged.data.map_or("null", RawValue::get).to_owned())
}

/// Reads a stored event back, by way of the upcasters when it is of an older schema version. An
/// unknown type, a shape that does not fit, and a schema version from the future are errors, never a guess.
pub fn decode<E: DomainEvent>(
    event_type: &str,
    schema_version: u32,
    data: &str,
) -> Result<E, CodecError> {
    let error =
        |source| CodecError::Decode { event_type: event_type.to_owned(), schema_version, source };
    let kind = E::KINDS.iter().find(|kind| kind.name == event_type);
    if let Some(kind) = kind
        && !(1..=kind.schema_version).contains(&schema_version)
    {
        let (event_type, found) = (event_type.to_owned(), schema_version);
        return Err(CodecError::SchemaVersion { event_type, found, known: kind.schema_version });
    }
    let mut data: Value = serde_json::from_str(data).map_err(error)?;
    for from in schema_version..kind.map_or(schema_version, |kind| kind.schema_version) {
        let of_it = |upcaster: &&crate::Upcaster| {
            upcaster.event_type == event_type && upcaster.from == from
        };
        if let Some(upcaster) = E::UPCASTERS.iter().find(of_it) {
            data = (upcaster.upcast)(data);
        }
    }
    let mut tagged = serde_json::Map::new();
    tagged.insert("type".into(), event_type.into());
    if !data.is_null() {
        tagged.insert("data".into(), data);
    }
    serde_json::from_value(Value::Object(tagged)).map_err(error)
}

/// Decodes the data of a recorded event, keeping its envelope.
pub fn decode_recorded<E: DomainEvent>(
    event: &RecordedEvent,
) -> Result<EventEnvelope<E>, CodecError> {
    let payload = decode(&event.event_type, event.schema_version, &event.payload)?;
    Ok(event.clone().with_payload(payload))
}

#[cfg(test)]
mod tests;
