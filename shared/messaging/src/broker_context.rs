//! What librdkafka tells of its connections, kept until somebody asks why the broker does not answer.
//!
//! A request that waits for a connection just times out: why there is none stands in lines of librdkafka's log, each
//! of which comes once until it changes. The last one is kept here, and explained in terms of `[kafka]`.

use crate::connection::KafkaConfig;
use crate::refusal;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::{debug, info, warn};

/// The target of librdkafka's own lines in the log.
const LIBRDKAFKA: &str = "librdkafka";

/// The facility of a line that says why a connection ended, or was not made.
const FAIL: &str = "FAIL";

/// Belongs to one client. Cheap to clone.
#[derive(Clone)]
pub(crate) struct BrokerContext {
    config: Arc<KafkaConfig>,
    last_failure: Arc<Mutex<Option<String>>>,
}

/// The broker does not answer. Says which key to look at first, if that can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    advice: Option<&'static str>,
    said: String,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.advice {
            Some(advice) => write!(f, "{advice}: {}", self.said),
            None => write!(f, "the broker does not answer: {}", self.said),
        }
    }
}

impl std::error::Error for Unanswered {}

impl Unanswered {
    /// The key to look at.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        self.advice
    }
}

impl BrokerContext {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        Self { config: Arc::new(config.clone()), last_failure: Arc::default() }
    }

    /// A request was answered: what went wrong before is past.
    pub(crate) fn answered(&self) {
        *self.failure() = None;
    }

    /// Why a request that met `error` was not answered. May ask the broker for its certificate, for at most
    /// `patience` per step. Blocks.
    pub(crate) fn unanswered(&self, error: &KafkaError, patience: Duration) -> Unanswered {
        let Some(said) = self.failure().clone() else {
            return Unanswered { advice: None, said: error.to_string() };
        };
        Unanswered { advice: refusal::advice(&self.config, &said, patience), said }
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for BrokerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == FAIL {
            *self.failure() = Some(without_thread(line).to_owned());
        }
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => warn!(target: LIBRDKAFKA, facility, "{line}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                info!(target: LIBRDKAFKA, facility, "{line}");
            }
            RDKafkaLogLevel::Debug => debug!(target: LIBRDKAFKA, facility, "{line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The same was a line of the log.
        debug!(target: LIBRDKAFKA, %error, "{reason}");
    }
}

impl ConsumerContext for BrokerContext {}

/// A line without the name of the thread before it.
fn without_thread(line: &str) -> &str {
    match line.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")) {
        Some((_, line)) => line,
        None => line,
    }
}
