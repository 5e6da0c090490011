//! The publisher against librdkafka's broker for tests, which fails on demand.

use crate::connection::KafkaConfig;
use crate::message::Message;
use crate::producer::{PublishError, Publisher, PublisherConfig};
use crate::reader::TopicReader;
use futures::future::join_all;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use runtime::BackoffConfig;
use std::time::{Duration, Instant};

const TOPIC: &str = "tallies.events";
const PARTITIONS: i32 = 4;
const REBUILD: BackoffConfig = BackoffConfig { initial_ms: 100, max_ms: 60_000 };
/// Long enough for a busy machine; nothing here waits for it when all is well.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Broker {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Broker {
    pub(crate) fn start() -> Self {
        let cluster = MockCluster::new(1).expect("a broker for tests");
        cluster.create_topic(TOPIC, PARTITIONS, 1).expect("a topic");
        Self { cluster }
    }

    fn kafka(&self) -> KafkaConfig {
        KafkaConfig::open(vec![self.cluster.bootstrap_servers()])
    }

    pub(crate) fn publisher(&self, message_timeout_ms: u32) -> Publisher {
        self.publisher_with(message_timeout_ms, REBUILD)
    }

    fn publisher_with(&self, message_timeout_ms: u32, rebuild: BackoffConfig) -> Publisher {
        let config = PublisherConfig {
            message_timeout_ms,
            linger_ms: 0,
            queue_messages_max: 1_000,
            rebuild,
        };
        Publisher::new(self.kafka(), config).expect("a publisher")
    }

    pub(crate) fn fail(&self, request: RDKafkaApiKey, error: RDKafkaRespErr, times: usize) {
        self.cluster.request_errors(request, &vec![error; times]);
    }
}

fn message(key: &str, version: u64) -> Message {
    Message {
        topic: TOPIC.to_owned(),
        key: key.to_owned(),
        headers: vec![("ce_sequence", version.to_string()), ("ce_subject", key.to_owned())],
        payload: format!("{{\"version\":{version}}}"),
    }
}

/// Sends a record until it is acknowledged, as the sequencer does.
async fn publish_until_acknowledged(publisher: &Publisher, message: &Message) -> u32 {
    let deadline = Instant::now() + TIMEOUT;
    for failures in 0.. {
        match publisher.publish(message).await {
            Ok(_) => return failures,
            Err(error @ PublishError::Transport { .. }) => {
                assert!(Instant::now() < deadline, "{error:?}");
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    unreachable!("the loop ends by returning")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_read_back_with_key_and_headers() {
    let broker = Broker::start();
    let publisher = broker.publisher(10_000);
    let first = publisher.publish(&message("a", 1)).await.expect("acknowledged");
    let second = publisher.publish(&message("a", 2)).await.expect("acknowledged");
    assert_eq!((second.partition, second.offset), (first.partition, first.offset + 1));

    let reader = TopicReader::from_beginning(&broker.kafka(), &[TOPIC], TIMEOUT).expect("reader");
    for version in [1, 2] {
        let next = tokio::time::timeout(TIMEOUT, reader.next()).await.expect("in time");
        let record = next.expect("a record");
        assert_eq!((record.key.as_str(), record.version()), ("a", Some(version)));
        assert_eq!(record.attribute("subject"), Some("a"));
        assert_eq!(record.payload, format!("{{\"version\":{version}}}"));
        assert_eq!(record.partition, first.partition);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_a_matter_of_time() {
    let broker = Broker::start();
    let publisher = broker.publisher(300);
    publisher.reach(TIMEOUT).expect("somebody is there");
    publish_until_acknowledged(&publisher, &message("a", 1)).await;
    broker.cluster.broker_down(1).expect("down");
    let error = publisher.publish(&message("a", 2)).await.expect_err("nobody is there");
    assert!(matches!(error, PublishError::Transport { .. }), "{error:?}");
    publisher.reach(Duration::from_millis(200)).expect_err("nobody is there");
    broker.cluster.broker_up(1).expect("up");
    publish_until_acknowledged(&publisher, &message("a", 2)).await;
    publisher.reach(TIMEOUT).expect("somebody is there");
    assert!(publisher.generation() > 1, "a producer whose record timed out is replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_refused_for_good_is_told_apart() {
    let broker = Broker::start();
    let publisher = broker.publisher(10_000);
    let invalid = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    broker.fail(RDKafkaApiKey::Produce, invalid, 1);
    let error = publisher.publish(&message("a", 1)).await.expect_err("refused by the broker");
    assert!(matches!(error, PublishError::Refused { .. }), "{error:?}");

    let large = Message { payload: "x".repeat(2_000_000), ..message("b", 1) };
    let error = publisher.publish(&large).await.expect_err("refused before it is sent");
    assert!(matches!(error, PublishError::Refused { .. }), "{error:?}");

    // Neither stands in the way of the others.
    publish_until_acknowledged(&publisher, &message("c", 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_does_not_wait() {
    let broker = Broker::start();
    broker.cluster.broker_down(1).expect("down");
    let config = PublisherConfig {
        message_timeout_ms: 60_000,
        linger_ms: 0,
        queue_messages_max: 2,
        rebuild: REBUILD,
    };
    let publisher = Publisher::new(broker.kafka(), config).expect("a publisher");
    let waiting = ["a", "b"].map(|key| message(key, 1));
    let waiting = join_all(waiting.iter().map(|message| publisher.publish(message)));
    let third = message("c", 1);
    tokio::select! {
        // In this order: the two are in the queue before the third comes.
        biased;
        answers = waiting => panic!("answered by nobody: {answers:?}"),
        error = publisher.publish(&third) => {
            let error = error.expect_err("there is no room");
            assert!(matches!(error, PublishError::Transport { .. }), "{error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_died_is_replaced_once_for_all_and_every_record_arrives_in_order() {
    let broker = Broker::start();
    // Kills an idempotent producer before its first record.
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    broker.fail(RDKafkaApiKey::InitProducerId, denied, 1);
    let publisher = broker.publisher(10_000);
    let keys: Vec<_> = (0..32).map(|number| format!("order-{number}")).collect();
    let failures = join_all(keys.iter().map(async |key| {
        let mut failures = 0;
        for version in 1..=3 {
            failures += publish_until_acknowledged(&publisher, &message(key, version)).await;
        }
        failures
    }))
    .await;
    assert!(failures.iter().all(|failures| *failures >= 1), "{failures:?}");
    assert_eq!(publisher.generation(), 2, "replaced once");

    let reader = TopicReader::from_beginning(&broker.kafka(), &[TOPIC], TIMEOUT).expect("reader");
    let mut seen = std::collections::BTreeMap::<String, Vec<u64>>::new();
    while seen.values().map(Vec::len).sum::<usize>() < keys.len() * 3 {
        let next = tokio::time::timeout(TIMEOUT, reader.next()).await;
        let record = next.unwrap_or_else(|_| panic!("only {seen:?}")).expect("a record");
        let version = record.version().expect("a version");
        let versions = seen.entry(record.key).or_default();
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    assert!(seen.values().all(|versions| *versions == [1, 2, 3]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_stays_away_new_producers_are_far_between() {
    let broker = Broker::start();
    // A pause that this test does not live to see the end of.
    let rebuild = BackoffConfig { initial_ms: u64::MAX / 10_000, max_ms: u64::MAX / 10_000 };
    let publisher = broker.publisher_with(50, rebuild);
    publish_until_acknowledged(&publisher, &message("a", 1)).await;
    broker.cluster.broker_down(1).expect("down");
    for _ in 0..4 {
        publisher.publish(&message("a", 2)).await.expect_err("nobody is there");
    }
    assert_eq!(publisher.generation(), 2, "one for the first timeout, none for the others");
    broker.cluster.broker_up(1).expect("up");
    publish_until_acknowledged(&publisher, &message("a", 2)).await;
}
