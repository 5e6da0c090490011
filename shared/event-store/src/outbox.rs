//! The announcement's row: names of the table and its columns, and the event in it. Whoever reads
//! the CDC log of the table decodes its rows with [`Row`].

use crate::error::CorruptError;
use kernel::{EventMetadata, RecordedEvent, Timestamp, Version};
use scylla::value::{CqlTimestamp, CqlValue};
use uuid::Uuid;

/// The table.
pub const TABLE: &str = "outbox_messages";

/// Its columns.
pub mod column {
    /// Partition key.
    pub const AGGREGATE_ID: &str = "aggregate_id";
    /// Clustering key, newest first: the event's version.
    pub const SEQUENCE_NUMBER: &str = "sequence_number";
    /// `uuid`
    pub const EVENT_ID: &str = "event_id";
    /// `text`
    pub const AGGREGATE_TYPE: &str = "aggregate_type";
    /// `text`
    pub const EVENT_TYPE: &str = "event_type";
    /// `int`
    pub const SCHEMA_VERSION: &str = "schema_version";
    /// `text`, JSON
    pub const EVENT_DATA: &str = "event_data";
    /// `text`, JSON of [`kernel::EventMetadata`]
    pub const METADATA: &str = "metadata";
    /// `timestamp`
    pub const RECORDED_AT: &str = "recorded_at";
    /// `text`
    pub const TOPIC: &str = "topic";
    /// `text`: the key of the published message, the aggregate's id
    pub const MESSAGE_KEY: &str = "message_key";
}

/// The columns of an event, as `event_store` and `outbox_messages` have them. A row that holds
/// nothing but the partition's static column has none of them but the id.
#[derive(Debug, Clone, PartialEq, scylla::DeserializeRow)]
pub struct Row {
    /// Partition key.
    pub aggregate_id: Uuid,
    /// The event's version.
    pub sequence_number: Option<i64>,
    /// Event id.
    pub event_id: Option<Uuid>,
    /// Aggregate type.
    pub aggregate_type: Option<String>,
    /// Stored event type.
    pub event_type: Option<String>,
    /// Schema version of the data.
    pub schema_version: Option<i32>,
    /// The event's data as JSON.
    pub event_data: Option<String>,
    /// [`kernel::EventMetadata`] as JSON.
    pub metadata: Option<String>,
    /// Commit time.
    pub recorded_at: Option<CqlTimestamp>,
}

impl Row {
    /// Takes the row's values from wherever they are, for example a CDC row: `take` is asked once
    /// per column.
    pub fn take_from(
        mut take: impl FnMut(&'static str) -> Option<CqlValue>,
    ) -> Result<Self, CorruptError> {
        let aggregate_id = match take(column::AGGREGATE_ID) {
            Some(CqlValue::Uuid(id)) => id,
            _ => return Err(missing(Uuid::nil(), -1, column::AGGREGATE_ID)),
        };
        let mut text = |column| match take(column) {
            Some(CqlValue::Text(text) | CqlValue::Ascii(text)) => Some(text),
            _ => None,
        };
        let (aggregate_type, event_type) = (text(column::AGGREGATE_TYPE), text(column::EVENT_TYPE));
        let (event_data, metadata) = (text(column::EVENT_DATA), text(column::METADATA));
        Ok(Self {
            aggregate_id,
            sequence_number: take(column::SEQUENCE_NUMBER).and_then(|v| v.as_bigint()),
            event_id: take(column::EVENT_ID).and_then(|v| v.as_uuid()),
            aggregate_type,
            event_type,
            schema_version: take(column::SCHEMA_VERSION).and_then(|v| v.as_int()),
            event_data,
            metadata,
            recorded_at: take(column::RECORDED_AT).and_then(|v| v.as_cql_timestamp()),
        })
    }

    /// The event in the row; an error names the column that has no usable value.
    pub fn into_event(self) -> Result<RecordedEvent, CorruptError> {
        let id = self.aggregate_id;
        let number = self.sequence_number.unwrap_or(-1);
        let version = u64::try_from(number).ok().filter(|version| *version > 0);
        let version = version.ok_or_else(|| missing(id, number, column::SEQUENCE_NUMBER))?;
        let schema_version = self.schema_version.and_then(|v| u32::try_from(v).ok());
        let metadata = self.metadata.ok_or_else(|| missing(id, number, column::METADATA))?;
        let metadata: EventMetadata =
            serde_json::from_str(&metadata).map_err(|source| CorruptError::Column {
                aggregate_id: id,
                version: number,
                column: column::METADATA,
                source: Some(source),
            })?;
        let absent = |column| move || missing(id, number, column);
        Ok(RecordedEvent {
            event_id: self.event_id.ok_or_else(absent(column::EVENT_ID))?,
            aggregate_id: id,
            aggregate_type: self.aggregate_type.ok_or_else(absent(column::AGGREGATE_TYPE))?,
            version: Version(version),
            event_type: self.event_type.ok_or_else(absent(column::EVENT_TYPE))?,
            schema_version: schema_version.ok_or_else(absent(column::SCHEMA_VERSION))?,
            recorded_at: self
                .recorded_at
                .map(|at| Timestamp(at.0))
                .ok_or_else(absent(column::RECORDED_AT))?,
            metadata,
            payload: self.event_data.ok_or_else(absent(column::EVENT_DATA))?,
        })
    }
}

fn missing(aggregate_id: Uuid, version: i64, column: &'static str) -> CorruptError {
    CorruptError::Column { aggregate_id, version, column, source: None }
}

/// The key under which an aggregate's events are published.
#[must_use]
pub fn message_key(aggregate_id: Uuid) -> String {
    aggregate_id.to_string()
}
