//! What the topics hold.

use anyhow::Context;
use messaging::{KafkaConfig, ReceivedMessage, TopicReader};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// How long the topics must be silent, after all that was wanted came, to be read to their end.
const SILENCE: Duration = Duration::from_millis(500);

/// How long the broker may take to name its partitions.
const METADATA: Duration = Duration::from_secs(10);

/// The id of a record's event.
pub(super) fn event_id(record: &ReceivedMessage) -> Option<Uuid> {
    record.attribute("id")?.parse().ok()
}

/// Reads all topics from their beginning, and remembers what it has read.
pub struct Topics {
    reader: TopicReader,
    records: Vec<ReceivedMessage>,
    seen: BTreeSet<Uuid>,
}

impl Topics {
    /// Starts at the beginning.
    pub async fn open(broker: &str) -> anyhow::Result<Self> {
        let kafka = KafkaConfig::open(vec![broker.to_owned()]);
        let reader = tokio::task::spawn_blocking(move || {
            TopicReader::from_beginning(&kafka, &domain::AGGREGATES.topics(), METADATA)
        })
        .await??;
        Ok(Self { reader, records: Vec::new(), seen: BTreeSet::new() })
    }

    /// Reads along until something else is done.
    pub async fn follow(&mut self, until: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut until = std::pin::pin!(until);
        loop {
            tokio::select! {
                biased;
                () = &mut until => return Ok(()),
                next = self.reader.next() => {
                    let record = next.context("read the topics")?;
                    self.remember(record);
                }
            }
        }
    }

    fn remember(&mut self, record: ReceivedMessage) -> Option<Uuid> {
        let id = event_id(&record);
        self.seen.extend(id);
        self.records.push(record);
        id
    }

    /// Reads on until all wanted events are there, or nothing came for `patience`, and then to the
    /// end. Gives everything read so far.
    pub(super) async fn read(
        &mut self,
        wanted: impl Iterator<Item = Uuid>,
        patience: Duration,
    ) -> anyhow::Result<Vec<ReceivedMessage>> {
        let mut wanted: BTreeSet<Uuid> = wanted.filter(|id| !self.seen.contains(id)).collect();
        loop {
            // Repetitions may follow the last first occurrence.
            let patience = if wanted.is_empty() { SILENCE } else { patience };
            let Ok(next) = timeout(patience, self.reader.next()).await else {
                return Ok(self.records.clone());
            };
            if let Some(id) = self.remember(next.context("read the topics")?) {
                wanted.remove(&id);
            }
        }
    }
}
