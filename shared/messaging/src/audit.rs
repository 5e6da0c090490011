//! What the topics hold, for whoever verifies a system: of each aggregate how far its events came, in
//! order, and what they say.
//!
//! Of an aggregate is kept the last version and a digest of all its messages so far; the same digest of
//! the stored events ([`Digest`]) tells whether they are the same.

use crate::connection::KafkaConfig;
use crate::reader::{ReadError, ReceivedMessage, TopicReader};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// Of the messages of one aggregate up to some version: id, type and data of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// With the next one.
    #[must_use]
    pub fn with(self, event_id: &str, event_type: &str, data: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (self.0, event_id, event_type, data).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What a topic holds of one aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its newest version; every earlier one came before it.
    pub version: u64,
    /// Of all messages up to it; `None` when the topic does not begin with the first one any more.
    pub digest: Option<Digest>,
    /// The topic.
    pub topic: String,
}

/// A message that must not be where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// The topic.
    pub topic: String,
    /// Its key.
    pub key: String,
    /// The aggregate's version, if it says one.
    pub version: Option<u64>,
    /// What is wrong, for people.
    pub what: String,
}

/// Reads topics from their beginning to their end, and later to their new end.
pub struct TopicAudit {
    reader: TopicReader,
    idle_max: Duration,
    /// By topic and partition, the offset that comes next.
    positions: HashMap<(String, i32), i64>,
    /// Partitions whose first messages are gone.
    cut: HashMap<(String, i32), bool>,
    published: HashMap<Uuid, Published>,
    misplaced: Vec<Misplaced>,
    misplaced_max: usize,
}

/// Why topics could not be audited.
#[derive(Debug, thiserror::Error)]
pub enum TopicAuditError {
    /// A topic could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The broker says that there is more, and does not give it.
    #[error("no message for {idle:?}, and {missing} are missing")]
    Idle {
        /// For how long.
        idle: Duration,
        /// How many, at most.
        missing: i64,
    },
}

impl TopicAudit {
    /// Opens these topics. Asking the broker takes at most `timeout` each; `idle_max` is the longest
    /// pause between two messages. At most `misplaced_max` messages are listed.
    pub fn open(
        kafka: &KafkaConfig,
        topics: &[&str],
        idle_max: Duration,
        misplaced_max: usize,
    ) -> Result<Self, TopicAuditError> {
        let reader = TopicReader::from_beginning(kafka, topics, idle_max)?;
        Ok(Self {
            reader,
            idle_max,
            positions: HashMap::new(),
            cut: HashMap::new(),
            published: HashMap::new(),
            misplaced: Vec::new(),
            misplaced_max,
        })
    }

    /// Reads on to where the topics end now. Gives the number of messages.
    pub async fn read_on(&mut self) -> Result<u64, TopicAuditError> {
        let mut ends = HashMap::new();
        for (topic, partition, low, high) in self.reader.ends(self.idle_max)? {
            let at = (topic, partition);
            self.cut.entry(at.clone()).or_insert(low > 0);
            self.positions.entry(at.clone()).or_insert(low);
            ends.insert(at, high);
        }
        let mut read = 0;
        loop {
            let missing = ends.iter().map(|(at, end)| (end - self.positions[at]).max(0));
            let missing: i64 = missing.sum();
            if missing == 0 {
                return Ok(read);
            }
            let idle = self.idle_max;
            let message = timeout(idle, self.reader.next()).await;
            let message = message.map_err(|_| TopicAuditError::Idle { idle, missing })??;
            self.take(&message);
            read += 1;
        }
    }

    /// What the topics hold of an aggregate.
    pub fn published(&self, aggregate_id: Uuid) -> Option<&Published> {
        self.published.get(&aggregate_id)
    }

    /// Every aggregate that the topics name.
    pub fn aggregates(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.published.keys().copied()
    }

    /// What must not be where it is.
    pub fn misplaced(&self) -> &[Misplaced] {
        &self.misplaced
    }

    fn take(&mut self, message: &ReceivedMessage) {
        let at = (message.topic.clone(), message.partition);
        let expected = self.positions.insert(at.clone(), message.offset + 1);
        // Nothing compacts these topics, and nothing in them is transactional.
        if let Some(expected) = expected.filter(|expected| *expected < message.offset) {
            let what = format!("offsets {expected} to {} hold no message", message.offset - 1);
            self.misplace(message, what);
        }
        let is_cut = self.cut.get(&at).copied().unwrap_or_default();
        if let Err(what) = self.follow(message, is_cut) {
            self.misplace(message, what);
        }
    }

    fn misplace(&mut self, message: &ReceivedMessage, what: String) {
        if self.misplaced.len() < self.misplaced_max {
            let (topic, key) = (message.topic.clone(), message.key.clone());
            self.misplaced.push(Misplaced { topic, key, version: message.version(), what });
        }
    }

    /// Takes a message into account; errs with what is wrong with it.
    fn follow(&mut self, message: &ReceivedMessage, is_cut: bool) -> Result<(), String> {
        let id = message.key.parse::<Uuid>().map_err(|_| "the key is no aggregate".to_owned())?;
        let version = message.version().ok_or("no version")?;
        let text = |name| message.attribute(name).unwrap_or_default();
        let known = self.published.get(&id);
        let (last, digest) = match known {
            Some(known) => (known.version, known.digest),
            None if is_cut => (version.saturating_sub(1), None),
            None => (0, Some(Digest::default())),
        };
        if version <= last {
            // It came before.
            return Ok(());
        }
        let is_next = version == last + 1;
        let digest = digest.filter(|_| is_next);
        let digest = digest.map(|d| d.with(text("id"), text("type"), &message.payload));
        let topic = message.topic.clone();
        let moved = known.is_some_and(|known| known.topic != topic);
        self.published.insert(id, Published { version, digest, topic });
        if !is_next {
            return Err(format!("version {version} first comes right after version {last}"));
        }
        if moved { Err("another topic had the version before".to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(version: u64, payload: &str) -> ReceivedMessage {
        let headers = [("id", version.to_string()), ("sequence", version.to_string())];
        ReceivedMessage {
            topic: "tallies.events".to_owned(),
            partition: 0,
            offset: 0,
            key: Uuid::from_u128(7).to_string(),
            headers: headers.map(|(name, value)| (format!("ce_{name}"), value)).into(),
            payload: payload.to_owned(),
        }
    }

    /// What is said of each version, and up to which one everything is known.
    fn check(versions: &[u64], is_cut: bool, expected: &[bool], digest: bool) {
        let mut audit = empty();
        let fine: Vec<_> =
            versions.iter().map(|v| audit.follow(&message(*v, "{}"), is_cut).is_ok()).collect();
        assert_eq!(fine, expected, "{versions:?}");
        let published = audit.published(Uuid::from_u128(7)).expect("published");
        assert_eq!(Some(&published.version), versions.iter().max());
        assert_eq!(published.digest.is_some(), digest, "{versions:?}");
    }

    fn empty() -> TopicAudit {
        // Nobody is asked: a client connects in the background.
        let kafka = KafkaConfig::open(vec!["127.0.0.1:1".to_owned()]);
        TopicAudit {
            reader: TopicReader::from_beginning(&kafka, &[], Duration::ZERO).expect("a client"),
            idle_max: Duration::ZERO,
            positions: HashMap::new(),
            cut: HashMap::new(),
            published: HashMap::new(),
            misplaced: Vec::new(),
            misplaced_max: 10,
        }
    }

    // The consumer starts a task of its own, which needs a runtime.
    #[tokio::test]
    async fn first_occurrences_come_in_order_and_repetitions_do_not_matter() {
        check(&[1, 2, 1, 2, 3, 2], false, &[true; 6], true);
        check(&[1, 3, 2, 4], false, &[true, false, true, true], false);
        check(&[2, 3], false, &[false, true], false);
        check(&[5, 6], true, &[true, true], false);
    }

    #[test]
    fn the_digest_tells_other_data_and_another_order() {
        let digest = |events: &[(&str, &str)]| {
            events.iter().fold(Digest::default(), |digest, (id, data)| digest.with(id, "t", data))
        };
        assert_eq!(digest(&[("1", "a"), ("2", "b")]), digest(&[("1", "a"), ("2", "b")]));
        assert_ne!(digest(&[("1", "a"), ("2", "b")]), digest(&[("1", "a"), ("2", "c")]));
        assert_ne!(digest(&[("1", "a"), ("2", "b")]), digest(&[("2", "b"), ("1", "a")]));
    }
}
