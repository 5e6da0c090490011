//! A client that only asks, and knows why it gets no answer.

use crate::broker_context::{BrokerContext, Unanswered};
use crate::connection::{KafkaConfig, KafkaConfigError};
use rdkafka::error::KafkaResult;
use rdkafka::producer::{FutureProducer, Producer};
use std::time::Duration;

/// Connected in the background. A producer, because that one has a thread which hears why connections fail.
pub(crate) struct Inquiry {
    client: FutureProducer<BrokerContext>,
    context: BrokerContext,
}

impl Inquiry {
    pub(crate) fn open(kafka: &KafkaConfig) -> Result<Self, KafkaConfigError> {
        let context = BrokerContext::new(kafka);
        Ok(Self { client: kafka.client(context.clone(), |_| {})?, context })
    }

    /// Errs with the reason when no broker answers within `timeout`. Blocks.
    pub(crate) fn reach(&self, timeout: Duration) -> Result<(), Unanswered> {
        self.asked(self.client.client().fetch_metadata(None, timeout).map(drop), timeout)
    }

    /// The partitions of a topic; none if it is not there. Blocks for at most `timeout`.
    pub(crate) fn partitions(
        &self,
        topic: &str,
        timeout: Duration,
    ) -> Result<Vec<i32>, Unanswered> {
        let metadata = self.client.client().fetch_metadata(Some(topic), timeout);
        let partitions = metadata.map(|metadata| {
            let all = metadata.topics().iter().flat_map(|topic| topic.partitions());
            all.map(|partition| partition.id()).collect()
        });
        self.asked(partitions, timeout)
    }

    /// The offset behind the last record of a partition. Blocks for at most `timeout`.
    pub(crate) fn end(
        &self,
        topic: &str,
        partition: i32,
        timeout: Duration,
    ) -> Result<i64, Unanswered> {
        let watermarks = self.client.client().fetch_watermarks(topic, partition, timeout);
        self.asked(watermarks.map(|(_, end)| end), timeout)
    }

    fn asked<T>(&self, answer: KafkaResult<T>, timeout: Duration) -> Result<T, Unanswered> {
        answer.map_err(|error| self.context.unanswered(&error, timeout))
    }
}
