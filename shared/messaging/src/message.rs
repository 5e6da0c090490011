//! What is published: an event as a CloudEvent in binary mode.
//!
//! | header | value |
//! | --- | --- |
//! | `ce_specversion` | `1.0` |
//! | `ce_id` | event id; the same for every delivery of the event |
//! | `ce_source` | `/` and the aggregate type, for example `/order` |
//! | `ce_type` | event type, for example `OrderCreated` |
//! | `ce_subject` | aggregate id |
//! | `ce_time` | when it was recorded, RFC 3339 |
//! | `ce_partitionkey` | aggregate id, as the record's key |
//! | `ce_sequence` | version of the aggregate, decimal |
//! | `ce_schemaversion` | version of the data's schema, decimal |
//! | `ce_correlationid`, `ce_causationid` | as stored |
//! | `ce_traceparent` | the request's trace context, where it had one |
//! | `content-type` | `application/json` |

use cdc::Change;
use kernel::Aggregates;

/// One record for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic of the aggregate type.
    pub topic: String,
    /// Aggregate id: everything of one aggregate goes to one partition.
    pub key: String,
    /// In the order of the table above.
    pub headers: Vec<(&'static str, String)>,
    /// The event's data, JSON, as it is stored.
    pub payload: String,
}

/// Why an event has no message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    /// Neither the announcement nor this release knows the topic of the aggregate type.
    #[error("aggregate type {0:?} has no topic")]
    NoTopic(String),
}

impl Message {
    /// The message of an event; `aggregates` know its topic when its announcement does not. The same event always gives the same message. Event types that
    /// this release does not know are published like any other.
    pub fn of(change: &Change, aggregates: Aggregates) -> Result<Self, MessageError> {
        let event = &change.event;
        let topic = match &change.topic {
            Some(topic) => topic.clone(),
            None => aggregates
                .topic_of(&event.aggregate_type)
                .ok_or_else(|| MessageError::NoTopic(event.aggregate_type.clone()))?
                .to_owned(),
        };
        let key = event.aggregate_id.to_string();
        let mut headers = vec![
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", event.event_id.to_string()),
            ("ce_source", format!("/{}", event.aggregate_type)),
            ("ce_type", event.event_type.clone()),
            ("ce_subject", key.clone()),
            ("ce_time", event.recorded_at.to_string()),
            ("ce_partitionkey", key.clone()),
            ("ce_sequence", event.version.to_string()),
            ("ce_schemaversion", event.schema_version.to_string()),
            ("ce_correlationid", event.metadata.correlation_id.to_string()),
            ("ce_causationid", event.metadata.causation_id.to_string()),
        ];
        if let Some(trace_parent) = &event.metadata.trace_parent {
            headers.push(("ce_traceparent", trace_parent.clone()));
        }
        headers.push(("content-type", "application/json".to_owned()));
        Ok(Self { topic, key, headers, payload: event.payload.clone() })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kernel::testing::tally::TALLIES;
    use kernel::{CommitPlace, EventMetadata, RecordedEvent, Timestamp, Version};
    use uuid::Uuid;

    pub(crate) fn change(aggregate_type: &str, topic: Option<&str>) -> Change {
        Change {
            event: RecordedEvent {
                event_id: Uuid::from_u128(1),
                aggregate_id: Uuid::from_u128(2),
                aggregate_type: aggregate_type.to_owned(),
                version: Version(7),
                event_type: "TallyHalved".to_owned(),
                schema_version: 3,
                recorded_at: Timestamp(1_700_000_000_123),
                metadata: EventMetadata {
                    command_id: Uuid::from_u128(3),
                    fingerprint: "f".to_owned(),
                    causation_id: Uuid::from_u128(4),
                    correlation_id: Uuid::from_u128(5),
                    actor: None,
                    trace_parent: Some("00-aa-bb-01".to_owned()),
                    commit: CommitPlace { index: 0, count: 1 },
                },
                payload: r#"{"reason":"broken"}"#.to_owned(),
            },
            topic: topic.map(str::to_owned),
        }
    }

    #[test]
    fn an_event_type_of_a_later_release_is_published_as_it_is() {
        let message = Message::of(&change("tally", Some("tallies.events")), TALLIES).unwrap();
        assert_eq!(message.topic, "tallies.events");
        assert_eq!(message.key, Uuid::from_u128(2).to_string());
        assert_eq!(message.payload, r#"{"reason":"broken"}"#);
        let header = |name: &str| {
            message.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(header("ce_id"), Some(Uuid::from_u128(1).to_string().as_str()));
        assert_eq!(header("ce_type"), Some("TallyHalved"));
        assert_eq!(header("ce_sequence"), Some("7"));
        assert_eq!(header("ce_time"), Some("2023-11-14T22:13:20.123Z"));
        assert_eq!(header("ce_traceparent"), Some("00-aa-bb-01"));
        assert_eq!(header("content-type"), Some("application/json"));
    }

    #[test]
    fn a_healed_event_finds_the_topic_of_its_aggregate_type() {
        assert_eq!(Message::of(&change("tally", None), TALLIES).unwrap().topic, "tallies.events");
    }

    #[test]
    fn an_unknown_aggregate_type_without_topic_has_no_message() {
        assert_eq!(
            Message::of(&change("parcel", None), TALLIES),
            Err(MessageError::NoTopic("parcel".to_owned()))
        );
    }
}
