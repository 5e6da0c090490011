//! What the topics hold.

use anyhow::Context;
use dev_stack::demo::TOPICS;
use messaging::{ReceivedMessage, TopicReader};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

/// How long the topics must be silent, after all that was wanted came, to be read to their end.
const SILENCE: Duration = Duration::from_millis(500);

/// The id of a record's event.
pub(super) fn event_id(record: &ReceivedMessage) -> Option<Uuid> {
    record.attribute("id")?.parse().ok()
}

/// All records: until those of all wanted events are there, or for `limit`, and then what follows
/// them.
pub(super) async fn records(
    broker: &str,
    mut wanted: BTreeSet<Uuid>,
    limit: Duration,
) -> anyhow::Result<Vec<ReceivedMessage>> {
    let brokers = vec![broker.to_owned()];
    let reader = tokio::task::spawn_blocking(move || {
        TopicReader::from_beginning(&brokers, &TOPICS, Duration::from_secs(10))
    })
    .await??;
    let mut records = Vec::new();
    let deadline = Instant::now() + limit;
    while !wanted.is_empty() {
        let Ok(next) = timeout_at(deadline, reader.next()).await else { break };
        let record = next.context("read the topics")?;
        if let Some(id) = event_id(&record) {
            wanted.remove(&id);
        }
        records.push(record);
    }
    // Repetitions may follow the last first occurrence.
    while let Ok(next) = timeout(SILENCE, reader.next()).await {
        records.push(next.context("read the topics")?);
        if Instant::now() > deadline + limit {
            break;
        }
    }
    Ok(records)
}
