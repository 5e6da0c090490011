//! Sends one record at a time per caller and waits for the broker's acknowledgement.

use crate::error_class;
use crate::message::Message;
use crate::metrics::{PRODUCERS_REBUILT, PUBLISH_IN_FLIGHT, PUBLISHED};
use cdc::ErrorClass;
use prometheus::IntGauge;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use runtime::test_hooks::{crash_point, defect};
use runtime::{Backoff, BackoffConfig};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tracing::warn;

/// How to reach the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port` of one or more brokers.
    pub brokers: Vec<String>,
    /// How long a record is tried before it is reported as failed and sent again by its consumer, in
    /// milliseconds.
    pub message_timeout_ms: u32,
    /// How long librdkafka waits for more records before it sends a batch, in milliseconds.
    pub linger_ms: u32,
    /// How many records may wait inside librdkafka.
    pub queue_messages_max: u32,
    /// Pauses between two new producers in place of one whose record timed out, or which died; from
    /// the beginning again once a record was acknowledged.
    #[serde(default = "rebuild")]
    pub rebuild: BackoffConfig,
}

/// The default of [`KafkaConfig::rebuild`].
fn rebuild() -> BackoffConfig {
    BackoffConfig { initial_ms: 500, max_ms: 30_000 }
}

/// Where an acknowledged record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// Why a record was not acknowledged. It may have reached the topic all the same.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker cannot be reached, is overloaded, or did not answer in time: send it again.
    #[error("publish to {topic}")]
    Transport {
        /// The topic.
        topic: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// The broker refuses this record for good (too large, invalid).
    #[error("{topic} refuses the record")]
    Refused {
        /// The topic.
        topic: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// The broker refuses all records of this producer: its rights or its configuration are wrong.
    #[error("{topic} refuses this producer")]
    Denied {
        /// The topic.
        topic: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// The producer cannot be made from its configuration.
    #[error("configure the producer")]
    Configuration {
        /// What librdkafka says.
        source: KafkaError,
    },
}

/// A producer shared by all aggregates. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    config: KafkaConfig,
    /// Locked for writing only to put a new producer in the place of a dead one.
    current: RwLock<Current>,
    /// Held by the one caller that makes the new producer.
    rebuilding: tokio::sync::Mutex<Rebuilding>,
    /// Whether a record was acknowledged since the newest producer was made.
    has_acknowledged: AtomicBool,
}

/// When the next producer may be made.
struct Rebuilding {
    pauses: Backoff,
    not_before: Option<Instant>,
}

struct Current {
    producer: FutureProducer,
    /// Counts the producers, so that one that died is replaced once.
    generation: u64,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher; the connection is made in the background.
    pub fn new(config: KafkaConfig) -> Result<Self, PublishError> {
        let current = RwLock::new(Current { producer: create(&config)?, generation: 1 });
        let rebuilding = Rebuilding { pauses: Backoff::new(config.rebuild), not_before: None };
        let rebuilding = tokio::sync::Mutex::new(rebuilding);
        let has_acknowledged = AtomicBool::new(false);
        // Shown from the start on.
        PRODUCERS_REBUILT.inc_by(0);
        Ok(Self { inner: Arc::new(Inner { config, current, rebuilding, has_acknowledged }) })
    }

    /// Sends a record and waits until the broker acknowledged it. The caller sends the next record
    /// of the same aggregate only after `Ok`, and this one again after an error: order on the
    /// topic rests on that.
    pub async fn publish(&self, message: &Message) -> Result<Acknowledged, PublishError> {
        let in_flight = Counted::enter(&PUBLISH_IN_FLIGHT);
        let (generation, delivery) = self.inner.enqueue(message);
        crash_point("relay.sent");
        if defect("parallel-produce-per-key") && delivery.is_ok() {
            return Ok(Acknowledged { partition: -1, offset: -1 });
        }
        let result = match delivery {
            Ok(delivery) => {
                let within = Duration::from_millis(self.inner.config.message_timeout_ms.into());
                delivered(delivery, within).await
            }
            Err(error) => Err(error),
        };
        drop(in_flight);
        let outcome = if result.is_ok() { "acknowledged" } else { "failed" };
        PUBLISHED.with_label_values(&[message.topic.as_str(), outcome]).inc();
        match result {
            Ok(at) => {
                crash_point("relay.acknowledged");
                self.inner.has_acknowledged.store(true, Ordering::Relaxed);
                Ok(at)
            }
            Err(source) => {
                self.rebuild_after(generation, &source).await;
                let topic = message.topic.clone();
                Err(match error_class::of_record(&source) {
                    ErrorClass::Transport => PublishError::Transport { topic, source },
                    ErrorClass::Poison => PublishError::Refused { topic, source },
                    ErrorClass::Fatal => PublishError::Denied { topic, source },
                })
            }
        }
    }

    /// An idempotent producer in its fatal state never sends again, and one whose record was not
    /// acknowledged in time may wait for a connection that is dead: a new one takes its place. Of all
    /// callers whose records failed with the old one, the first makes the new one
    /// and the others wait for it; then each sends its record again. A record that was on its way
    /// when the old one was given up may still arrive, at the latest beside its own second sending:
    /// later records of the same aggregate were not sent before that was acknowledged.
    ///
    /// While the broker stays away records time out again and again; then new producers come with
    /// growing pauses, and the old one is used until then.
    async fn rebuild_after(&self, generation: u64, error: &KafkaError) {
        if self.inner.unfit(generation, error).is_none() {
            return;
        }
        let mut rebuilding = self.inner.rebuilding.lock().await;
        let Some(reason) = self.inner.unfit(generation, error) else { return };
        if self.inner.has_acknowledged.swap(false, Ordering::Relaxed) {
            rebuilding.pauses.reset();
        }
        if rebuilding.not_before.is_some_and(|not_before| Instant::now() < not_before) {
            return;
        }
        warn!(reason, "producer is not fit any more, making a new one");
        let inner = Arc::clone(&self.inner);
        // Both making a producer and dropping one block.
        let made = tokio::task::spawn_blocking(move || inner.rebuild(generation)).await;
        match made {
            Ok(Ok(())) => PRODUCERS_REBUILT.inc(),
            Ok(Err(error)) => warn!(error = %runtime::chain(&error), "no new producer"),
            Err(error) => warn!(%error, "no new producer"),
        }
        rebuilding.not_before = Some(Instant::now() + rebuilding.pauses.next_pause());
    }

    /// How many producers there were.
    #[cfg(test)]
    pub(crate) fn generation(&self) -> u64 {
        self.inner.read().generation
    }

    /// Whether a broker answers a metadata request within `timeout`. Blocks.
    pub fn reachable(&self, timeout: Duration) -> bool {
        let producer = self.inner.read().producer.clone();
        producer.client().fetch_metadata(None, timeout).is_ok()
    }
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a record to the producer; never waits. Says which producer it was.
    fn enqueue(&self, message: &Message) -> (u64, Result<DeliveryFuture, KafkaError>) {
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (key, value) in &message.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let record = FutureRecord::to(&message.topic)
            .key(&message.key)
            .payload(&message.payload)
            .headers(headers);
        let current = self.read();
        // `send` may reorder when its queue is full; `send_result` refuses instead.
        let delivery = current.producer.send_result(record).map_err(|(error, _)| error);
        (current.generation, delivery)
    }

    /// Why the producer of that generation should not go on; `None` while it may, and once it is
    /// replaced. `error` is what a record of it met.
    fn unfit(&self, generation: u64, error: &KafkaError) -> Option<String> {
        let current = self.read();
        if current.generation != generation {
            return None;
        }
        if let Some((code, reason)) = current.producer.client().fatal_error() {
            return Some(format!("{code:?}: {reason}"));
        }
        let timed_out = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut);
        timed_out.then(|| "a record timed out".to_owned())
    }

    /// Puts a new producer in the place of that generation's.
    fn rebuild(&self, generation: u64) -> Result<(), PublishError> {
        let new = Current { producer: create(&self.config)?, generation: generation + 1 };
        let old = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            if current.generation != generation {
                return Ok(());
            }
            std::mem::replace(&mut *current, new)
        };
        // Outside the lock: it fails what it still holds, and waits for its thread.
        drop(old);
        Ok(())
    }
}

/// The time is kept here. Were librdkafka to give a record up, it would go on under a higher epoch of its own
/// making, which not every broker takes, and the broker of the embedded stack dies of.
async fn delivered(delivery: DeliveryFuture, within: Duration) -> Result<Acknowledged, KafkaError> {
    let Ok(delivered) = tokio::time::timeout(within, delivery).await else {
        return Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut));
    };
    match delivered {
        Ok(Ok(at)) => Ok(Acknowledged { partition: at.partition, offset: at.offset }),
        Ok(Err((error, _))) => Err(error),
        // The producer is gone, and with it the knowledge of what became of the record.
        Err(_) => Err(KafkaError::Canceled),
    }
}

/// One more in a gauge while it lives, also when its task is dropped.
struct Counted<'a>(&'a IntGauge);

impl<'a> Counted<'a> {
    fn enter(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn create(config: &KafkaConfig) -> Result<FutureProducer, PublishError> {
    ClientConfig::new()
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", "outbox-relay")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // For ever: see `delivered`.
        .set("message.timeout.ms", "0")
        .set("linger.ms", config.linger_ms.to_string())
        .set("queue.buffering.max.messages", config.queue_messages_max.to_string())
        // The Java client's partitioner: other producers of a topic would find the same partition.
        .set("partitioner", "murmur2_random")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("allow.auto.create.topics", "false")
        .create()
        .map_err(|source| PublishError::Configuration { source })
}
