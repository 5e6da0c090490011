//! Follows the topics and remembers when each event arrived.

use anyhow::{Context, bail};
use messaging::{KafkaConfig, ReceivedMessage, TopicReader};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// What came over the topics.
pub struct TopicFollower {
    arrived: Arc<Mutex<HashMap<Uuid, Arrival>>>,
    count: watch::Receiver<usize>,
    /// Dropping it ends the following.
    _task: JoinSet<()>,
}

/// An event's first record on its topic.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When it was received here.
    pub at: Instant,
    /// The record.
    pub message: ReceivedMessage,
}

impl TopicFollower {
    /// Starts following, from the beginning or, where others publish too, from now on. The topics must
    /// exist.
    pub async fn start(
        kafka: KafkaConfig,
        topics: &[&'static str],
        from_now: bool,
    ) -> anyhow::Result<Self> {
        let topics = topics.to_vec();
        let reader = tokio::task::spawn_blocking(move || {
            let open = if from_now { TopicReader::from_now } else { TopicReader::from_beginning };
            open(&kafka, &topics, METADATA_TIMEOUT)
        })
        .await?
        .context("follow the topics")?;
        let (sender, count) = watch::channel(0);
        let arrived = Arc::default();
        let mut task = JoinSet::new();
        task.spawn(follow(reader, Arc::clone(&arrived), sender));
        Ok(Self { arrived, count, _task: task })
    }

    /// Waits for an event's record.
    pub async fn arrival(&self, event_id: Uuid, limit: Duration) -> anyhow::Result<Arrival> {
        let find = || {
            let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.get(&event_id).cloned()
        };
        let mut count = self.count.clone();
        let wait = async {
            loop {
                count.borrow_and_update();
                if let Some(arrival) = find() {
                    return anyhow::Ok(arrival);
                }
                count.changed().await.context("the topics are not followed any more")?;
            }
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(arrival) => arrival,
            Err(_) => bail!("event {event_id} did not reach its topic within {limit:?}"),
        }
    }

    /// How many different events arrived.
    pub fn len(&self) -> usize {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none arrived yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

async fn follow(
    reader: TopicReader,
    arrived: Arc<Mutex<HashMap<Uuid, Arrival>>>,
    count: watch::Sender<usize>,
) {
    loop {
        let next = reader.next().await;
        let at = Instant::now();
        match next {
            Ok(message) => {
                let Some(id) = message.attribute("id").and_then(|id| id.parse().ok()) else {
                    eprintln!("a record without ce_id: {message:?}");
                    continue;
                };
                arrived
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(id)
                    .or_insert(Arrival { at, message });
                count.send_modify(|count| *count += 1);
            }
            // The client reconnects by itself; what it could not read it reads later.
            Err(error) => eprintln!("reading the topics: {error}"),
        }
    }
}
