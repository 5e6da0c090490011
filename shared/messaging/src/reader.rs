//! Reads topics as an auditor does: all partitions, no consumer group, nothing committed.

use crate::broker_context::{BrokerContext, Unanswered};
use crate::connection::{KafkaConfig, KafkaConfigError};
use crate::inquiry::Inquiry;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;

/// One record of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Record key; empty when it has none.
    pub key: String,
    /// By name.
    pub headers: BTreeMap<String, String>,
    /// The record's value.
    pub payload: String,
}

impl ReceivedMessage {
    /// A CloudEvents attribute, without its `ce_` prefix.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.headers.get(&format!("ce_{name}")).map(String::as_str)
    }

    /// The version of the aggregate that the event made.
    pub fn version(&self) -> Option<u64> {
        self.attribute("sequence")?.parse().ok()
    }
}

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No client can be made of the configuration.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// The broker does not answer, or does not let us in.
    #[error("ask the broker for topic {topic}")]
    Unanswered {
        /// Topic.
        topic: String,
        /// Why.
        source: Unanswered,
    },
    /// The topic is not there, or cannot be read.
    #[error("read topic {topic}")]
    Kafka {
        /// Topic.
        topic: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// Key, header or payload is not UTF-8.
    #[error("record {partition}/{offset} of {topic} is not text")]
    NotText {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
    },
}

/// Follows some topics.
pub struct TopicReader {
    consumer: StreamConsumer<BrokerContext>,
}

impl TopicReader {
    /// Starts at the first record of every partition of `topics`, which must exist. Blocks for at
    /// most `timeout` per topic while the broker is asked for its partitions.
    pub fn from_beginning(
        kafka: &KafkaConfig,
        topics: &[&str],
        timeout: Duration,
    ) -> Result<Self, ReadError> {
        Self::open(kafka, topics, timeout, |_, _, _| Ok(Offset::Beginning))
    }

    /// Starts behind the last record that is there now, otherwise as [`Self::from_beginning`]. Blocks for
    /// at most `timeout` per partition.
    pub fn from_now(
        kafka: &KafkaConfig,
        topics: &[&str],
        timeout: Duration,
    ) -> Result<Self, ReadError> {
        Self::open(kafka, topics, timeout, |inquiry, topic, partition| {
            Ok(Offset::Offset(inquiry.end(topic, partition, timeout)?))
        })
    }

    fn open(
        kafka: &KafkaConfig,
        topics: &[&str],
        timeout: Duration,
        start: impl Fn(&Inquiry, &str, i32) -> Result<Offset, Unanswered>,
    ) -> Result<Self, ReadError> {
        let inquiry = Inquiry::open(kafka)?;
        let mut assignment = TopicPartitionList::new();
        for topic in topics {
            let unanswered = |source| ReadError::Unanswered { topic: (*topic).to_owned(), source };
            for partition in inquiry.partitions(topic, timeout).map_err(unanswered)? {
                let offset = start(&inquiry, topic, partition).map_err(unanswered)?;
                let added = assignment.add_partition_offset(topic, partition, offset);
                added.map_err(|source| ReadError::Kafka { topic: (*topic).to_owned(), source })?;
            }
        }
        let consumer: StreamConsumer<BrokerContext> =
            kafka.client(BrokerContext::new(kafka), |client| {
                client
                    .set("group.id", "topic-reader")
                    .set("enable.auto.commit", "false")
                    .set("fetch.wait.max.ms", "10");
            })?;
        let failed = |source| ReadError::Kafka { topic: topics.join(","), source };
        consumer.assign(&assignment).map_err(failed)?;
        Ok(Self { consumer })
    }

    /// Of each partition: topic, number, first offset and the offset after the last one, now. Blocks
    /// for at most `timeout` per partition.
    pub fn ends(&self, timeout: Duration) -> Result<Vec<(String, i32, i64, i64)>, ReadError> {
        let failed = |topic: &str, source| ReadError::Kafka { topic: topic.to_owned(), source };
        let assignment =
            self.consumer.assignment().map_err(|error| failed("of the assignment", error))?;
        let mut ends = Vec::new();
        for element in assignment.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let watermarks = self.consumer.fetch_watermarks(topic, partition, timeout);
            let (low, high) = watermarks.map_err(|error| failed(topic, error))?;
            ends.push((topic.to_owned(), partition, low, high));
        }
        Ok(ends)
    }

    /// The next record, however long it takes.
    pub async fn next(&self) -> Result<ReceivedMessage, ReadError> {
        let message = self
            .consumer
            .recv()
            .await
            .map_err(|source| ReadError::Kafka { topic: "of the assignment".to_owned(), source })?;
        let not_text = || ReadError::NotText {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
        };
        let text = |bytes: Option<&[u8]>| {
            std::str::from_utf8(bytes.unwrap_or_default())
                .map(str::to_owned)
                .map_err(|_| not_text())
        };
        let mut headers = BTreeMap::new();
        if let Some(found) = message.headers() {
            for header in found.iter() {
                headers.insert(header.key.to_owned(), text(header.value)?);
            }
        }
        Ok(ReceivedMessage {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            key: text(message.key())?,
            headers,
            payload: text(message.payload())?,
        })
    }
}
