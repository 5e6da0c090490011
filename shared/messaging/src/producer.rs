//! Sends one record at a time per caller and waits for the broker's acknowledgement.

use crate::broker_context::{BrokerContext, Unanswered};
use crate::connection::{KafkaConfig, KafkaConfigError};
use crate::error_class;
use crate::message::Message;
use crate::metrics::{PRODUCERS_REBUILT, PUBLISH_IN_FLIGHT, PUBLISHED};
use cdc::ErrorClass;
use prometheus::IntGauge;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use reloaded::Stamps;
use runtime::config::BadValue;
use runtime::test_hooks::crash_point;
use runtime::{Backoff, BackoffConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How records are sent.
///
/// The rest of it is fixed, because promises rest on it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublisherConfig {
    /// How long a record is tried before it is sent anew; more than `linger_ms`.
    #[schemars(range(min = 1, max = i32::MAX))]
    pub message_timeout_ms: u32,
    /// How long librdkafka waits for more records.
    #[schemars(range(max = 900_000))]
    pub linger_ms: u32,
    /// Records that may wait inside librdkafka.
    #[schemars(range(min = 1, max = i32::MAX))]
    pub queue_messages_max: u32,
    /// Pauses between new producers in place of one whose record timed out, or which died; from the beginning
    /// after an acknowledgement.
    #[serde(default = "rebuild")]
    pub rebuild: BackoffConfig,
}

impl PublisherConfig {
    /// Checks what the bounds of the keys cannot.
    pub fn check(&self) -> Result<(), BadValue> {
        if self.linger_ms >= self.message_timeout_ms {
            return Err(BadValue::new("linger_ms", "must be below message_timeout_ms"));
        }
        Ok(())
    }
}

/// The default of [`PublisherConfig::rebuild`].
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
}

/// A producer shared by all aggregates. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    kafka: KafkaConfig,
    config: PublisherConfig,
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
    /// Of the files of `[kafka]` when a producer was last made of them, also in vain.
    stamps: Stamps,
}

struct Current {
    producer: FutureProducer<BrokerContext>,
    context: BrokerContext,
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
    pub fn new(kafka: KafkaConfig, config: PublisherConfig) -> Result<Self, KafkaConfigError> {
        let stamps = kafka.stamps();
        let current = RwLock::new(Current::create(&kafka, &config, 1)?);
        let pauses = Backoff::new(config.rebuild);
        let rebuilding = Rebuilding { pauses, not_before: None, stamps };
        let rebuilding = tokio::sync::Mutex::new(rebuilding);
        let has_acknowledged = AtomicBool::new(false);
        // Shown from the start on.
        PRODUCERS_REBUILT.inc_by(0);
        let inner = Inner { kafka, config, current, rebuilding, has_acknowledged };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Sends a record and waits until the broker acknowledged it. The caller sends the next record
    /// of the same aggregate only after `Ok`, and this one again after an error: order on the
    /// topic rests on that.
    pub async fn publish(&self, message: &Message) -> Result<Acknowledged, PublishError> {
        let in_flight = Counted::enter(&PUBLISH_IN_FLIGHT);
        let (generation, delivery) = self.inner.enqueue(message);
        crash_point("relay.sent");
        let result = match delivery {
            Ok(delivery) => delivered(delivery, self.message_timeout()).await,
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
        if self.replace(&mut rebuilding, Duration::ZERO).await {
            PRODUCERS_REBUILT.inc();
        }
        rebuilding.not_before = Some(Instant::now() + rebuilding.pauses.next_pause());
    }

    /// Makes a new producer if a file of `[kafka]` is another one than when the last was made; librdkafka
    /// itself reads them only once. Files of which none can be made leave the last one at work. With `patience`
    /// the old one has so long for what it has on its way; what is not acknowledged by then is sent again by the new one.
    pub(crate) async fn renew_if_files_changed(&self, patience: Duration) {
        let mut rebuilding = self.inner.rebuilding.lock().await;
        if rebuilding.stamps == self.inner.kafka.stamps() {
            return;
        }
        if self.replace(&mut rebuilding, patience).await {
            info!("certificates and password of the broker read again");
        }
    }

    /// Puts a new producer in the place of the current one; false if none can be made.
    async fn replace(&self, rebuilding: &mut Rebuilding, patience: Duration) -> bool {
        rebuilding.stamps = self.inner.kafka.stamps();
        let inner = Arc::clone(&self.inner);
        // Both making a producer and dropping one block.
        let made = tokio::task::spawn_blocking(move || inner.replace(patience)).await;
        match made {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => warn!(%error, "no new producer, the last one stays"),
            Err(error) => warn!(%error, "no new producer"),
        }
        false
    }

    /// How many producers there were.
    #[cfg(test)]
    pub(crate) fn generation(&self) -> u64 {
        self.inner.read().generation
    }

    /// Errs with the reason when no broker answers a metadata request within `timeout`. Blocks, and to find
    /// the reason a little longer.
    pub fn reach(&self, timeout: Duration) -> Result<(), Unanswered> {
        let (producer, context) = {
            let current = self.inner.read();
            (current.producer.clone(), current.context.clone())
        };
        match producer.client().fetch_metadata(None, timeout) {
            Ok(_) => {
                context.answered();
                Ok(())
            }
            Err(error) => Err(context.unanswered(&error, timeout)),
        }
    }

    /// How long a record may be on its way.
    pub(crate) fn message_timeout(&self) -> Duration {
        Duration::from_millis(self.inner.config.message_timeout_ms.into())
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

    /// Puts a new producer in the place of the current one, and lets that finish for `patience`. Only whoever
    /// holds [`Self::rebuilding`] calls this.
    fn replace(&self, patience: Duration) -> Result<(), KafkaConfigError> {
        let new = Current::create(&self.kafka, &self.config, self.read().generation + 1)?;
        let old = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, new)
        };
        // Outside the lock: it fails what it still holds, and waits for its thread.
        if !patience.is_zero()
            && let Err(error) = old.producer.flush(patience)
        {
            warn!(%error, "records of the last producer are sent again");
        }
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

impl Current {
    fn create(
        kafka: &KafkaConfig,
        config: &PublisherConfig,
        generation: u64,
    ) -> Result<Self, KafkaConfigError> {
        let context = BrokerContext::new(kafka);
        let producer = kafka.client(context.clone(), |client| {
            client
                .set("client.id", "outbox-relay")
                .set("enable.idempotence", "true")
                .set("acks", "all")
                // For ever: see `delivered`.
                .set("message.timeout.ms", "0")
                .set("linger.ms", config.linger_ms.to_string())
                .set("queue.buffering.max.messages", config.queue_messages_max.to_string())
                // The Java client's partitioner: other producers of a topic would find the same partition.
                .set("partitioner", "murmur2_random");
        })?;
        Ok(Self { producer, context, generation })
    }
}
