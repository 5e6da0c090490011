//! The stored form of events: JSON text under a stored name and schema version.
//!
//! An event enum is serialised adjacently tagged (`#[serde(tag = "type", content = "data")]`) with
//! its stored name as the tag; the tag goes into its own column, the content into `event_data`.

use crate::event::{DomainEvent, EventEnvelope, RecordedEvent};
use serde_json::Value;

/// Why a stored event cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
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

/// The stored text of an event: its fields in the order of their declaration, so that the same
/// event gives the same bytes in every build.
pub fn encode<E: DomainEvent>(event: &E) -> Result<String, serde_json::Error> {
    let tagged = serde_json::to_string(event)?;
    let name = event.kind().name;
    let content = tagged
        .strip_prefix("{\"type\":\"")
        .and_then(|rest| rest.strip_prefix(name))
        .and_then(|rest| rest.strip_prefix('"'))
        .and_then(|rest| rest.strip_suffix('}'));
    match content {
        Some("") => Ok("null".to_owned()),
        Some(content) if content.starts_with(",\"data\":") => {
            Ok(content[",\"data\":".len()..].to_owned())
        }
        _ => Err(serde::ser::Error::custom(format!("{name} is not tagged with its stored name"))),
    }
}

/// Reads a stored event back. An unknown type, a shape that does not fit, and a schema version
/// from the future are errors, never a guess.
pub fn decode<E: DomainEvent>(
    event_type: &str,
    schema_version: u32,
    data: &str,
) -> Result<E, CodecError> {
    let error =
        |source| CodecError::Decode { event_type: event_type.to_owned(), schema_version, source };
    let data: Value = serde_json::from_str(data).map_err(error)?;
    let mut tagged = serde_json::Map::new();
    tagged.insert("type".into(), event_type.into());
    if !data.is_null() {
        tagged.insert("data".into(), data);
    }
    let event: E = serde_json::from_value(Value::Object(tagged)).map_err(error)?;
    let known = event.kind().schema_version;
    if schema_version == 0 || schema_version > known {
        return Err(CodecError::SchemaVersion {
            event_type: event_type.to_owned(),
            found: schema_version,
            known,
        });
    }
    Ok(event)
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
