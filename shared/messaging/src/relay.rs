//! The consumer that publishes every event to its topic.

use crate::message::Message;
use crate::metrics::PUBLISH_LATENCY;
use crate::producer::{PublishError, Publisher};
use async_trait::async_trait;
use cdc::{Change, ChangeConsumer, ErrorClass, HandleError, Target};
use kernel::Aggregates;
use runtime::traces;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::{Instrument, debug};

/// The stored name in `consumer_cursors`; the relay has one name for ever.
pub const CONSUMER: &str = "relay";

/// Kafka or Redpanda, as circuit breakers know it.
const BROKER: Target = Target::new("broker");

/// Publishes each change it is handed. Publishing an event twice puts it on the topic twice, with
/// the same `ce_id`.
pub struct Relay {
    publisher: Publisher,
    aggregates: Aggregates,
}

impl Relay {
    /// A relay that publishes the events of these aggregates through `publisher`.
    pub fn new(publisher: Publisher, aggregates: Aggregates) -> Self {
        Self { publisher, aggregates }
    }
}

#[async_trait]
impl ChangeConsumer for Relay {
    fn name(&self) -> &str {
        CONSUMER
    }

    fn wants(&self, _aggregate_type: &str) -> bool {
        true
    }

    fn target(&self) -> Target {
        BROKER
    }

    async fn handle(
        &self,
        change: &Change,
        _view: Option<&str>,
    ) -> Result<Option<String>, HandleError> {
        let event = &change.event;
        let failed = |class, source: Box<dyn std::error::Error + Send + Sync>| HandleError {
            class,
            what: format!(
                "publish {} {} of {}",
                event.event_type, event.version, event.aggregate_id
            ),
            source: Some(source),
        };
        let message = Message::of(change, self.aggregates)
            .map_err(|e| failed(ErrorClass::Poison, Box::new(e)))?;
        let send = traces::publish(&message.topic, event.aggregate_id);
        let at = self.publisher.publish(&message).instrument(send).await.map_err(|error| {
            let class = match &error {
                PublishError::Transport { .. } => ErrorClass::Transport,
                PublishError::Refused { .. } => ErrorClass::Poison,
                PublishError::Denied { .. } => ErrorClass::Fatal,
            };
            failed(class, Box::new(error))
        })?;
        if let Some(age) = age_seconds(event.recorded_at.0) {
            PUBLISH_LATENCY.observe(age);
        }
        debug!(
            aggregate_id = %event.aggregate_id,
            version = event.version.0,
            topic = message.topic,
            partition = at.partition,
            offset = at.offset,
            "published"
        );
        Ok(None)
    }
}

/// Seconds since a time in milliseconds; `None` when the clocks disagree.
fn age_seconds(recorded_at_ms: i64) -> Option<f64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let age = now.as_secs_f64() - recorded_at_ms as f64 / 1000.0;
    (age >= 0.0).then_some(age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::change;
    use crate::tests::Broker;
    use kernel::testing::tally::TALLIES;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    const TOPIC: Option<&str> = Some("tallies.events");

    #[tokio::test(flavor = "multi_thread")]
    async fn an_event_is_handled_once_the_broker_has_it() {
        let broker = Broker::start();
        let relay = Relay::new(broker.publisher(10_000), TALLIES);
        assert_eq!(
            (relay.name(), relay.wants("tally"), relay.wants("parcel")),
            ("relay", true, true)
        );
        // A relay remembers nothing of an aggregate.
        let view = relay.handle(&change("tally", TOPIC), None).await.expect("published");
        assert_eq!(view, None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_failure_has_its_class_and_names_the_event() {
        let broker = Broker::start();
        let failed = async |message_timeout_ms, change| {
            let relay = Relay::new(broker.publisher(message_timeout_ms), TALLIES);
            let error = relay.handle(&change, None).await.expect_err("must fail");
            let named = error.to_string();
            assert!(named.contains(&change.event.aggregate_id.to_string()), "{named}");
            error.class
        };
        assert_eq!(failed(10_000, change("parcel", None)).await, ErrorClass::Poison, "no topic");
        let invalid = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
        broker.fail(RDKafkaApiKey::Produce, invalid, 1);
        assert_eq!(failed(10_000, change("tally", TOPIC)).await, ErrorClass::Poison, "refused");
        broker.cluster.broker_down(1).expect("down");
        assert_eq!(
            failed(300, change("tally", TOPIC)).await,
            ErrorClass::Transport,
            "nobody there"
        );
    }

    #[test]
    fn an_event_from_the_future_has_no_age() {
        assert_eq!(age_seconds(i64::MAX), None);
        assert!(age_seconds(0).is_some_and(|age| age > 1.0e9));
    }
}
