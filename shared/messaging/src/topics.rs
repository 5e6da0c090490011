//! Topics are created on purpose, with their number of partitions, never by the way.

use crate::broker_context::{BrokerContext, Unanswered};
use crate::connection::{KafkaConfig, KafkaConfigError};
use crate::inquiry::Inquiry;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::time::Duration;

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Topic.
    pub topic: &'static str,
    /// `false`: it was there already and was left as it is.
    pub is_new: bool,
}

/// Why topics could not be created.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// No client can be made of the configuration.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// The broker does not answer, or does not let us in.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// The broker's answer is of no use.
    #[error("ask the broker to create topics")]
    Admin {
        /// What librdkafka says.
        #[from]
        source: KafkaError,
    },
    /// The broker refuses.
    #[error("create topic {topic}: {code}")]
    Refused {
        /// Topic.
        topic: String,
        /// The broker's answer.
        code: RDKafkaErrorCode,
    },
}

/// Creates those of these topics that are not there yet. Safe to repeat: an existing
/// topic is never changed, partitions are never added silently, because a key's partition depends
/// on their number. Waits for the broker for at most `timeout`, and as long again for what it is asked.
pub async fn create(
    kafka: &KafkaConfig,
    names: &[&'static str],
    partitions: i32,
    replication: i32,
    timeout: Duration,
) -> Result<Vec<Created>, TopicError> {
    let inquiry = Inquiry::open(kafka)?;
    // An admin client does not hear why it gets no answer.
    tokio::task::spawn_blocking(move || inquiry.reach(timeout))
        .await
        .expect("asking does not panic")?;
    let admin: AdminClient<BrokerContext> = kafka.client(BrokerContext::new(kafka), |_| {})?;
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(replication)))
        .collect();
    let options =
        AdminOptions::new().operation_timeout(Some(timeout)).request_timeout(Some(timeout));
    let results = admin.create_topics(&topics, &options).await?;
    let mut created = Vec::with_capacity(results.len());
    for (result, topic) in results.into_iter().zip(names.iter().copied()) {
        match result {
            Ok(_) => created.push(Created { topic, is_new: true }),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {
                created.push(Created { topic, is_new: false });
            }
            Err((topic, code)) => return Err(TopicError::Refused { topic, code }),
        }
    }
    Ok(created)
}
