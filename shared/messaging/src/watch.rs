//! Keeps readiness true about the broker, and the producer about its files.

use crate::broker_context::Unanswered;
use crate::producer::Publisher;
use runtime::{CancellationToken, Readiness};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;
use tracing::{info, warn};

/// The check's name in `/readyz?verbose`.
const CHECK: &str = "broker";

/// How often readiness asks the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrokerWatchConfig {
    /// How often readiness asks the broker while it answers, and whether a file of `[kafka]` changed is seen.
    pub interval_ms: NonZeroU32,
    /// The same while it does not.
    pub retry_interval_ms: NonZeroU32,
    /// How long it may take to answer.
    pub timeout_ms: NonZeroU32,
}

fn millis(number: NonZeroU32) -> Duration {
    Duration::from_millis(number.get().into())
}

/// Asks the broker for its metadata now and then until `shutdown`, and makes a new producer when a file of
/// `[kafka]` changed.
pub async fn watch_broker(
    publisher: Publisher,
    config: BrokerWatchConfig,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    readiness.set(CHECK, false, "not asked yet");
    let timeout = millis(config.timeout_ms);
    let mut outage = Outage::default();
    loop {
        let asked = publisher.clone();
        let reached = tokio::task::spawn_blocking(move || asked.reach(timeout)).await?;
        outage.note(&reached);
        let reason = reached.as_ref().err().map(ToString::to_string).unwrap_or_default();
        readiness.set(CHECK, reached.is_ok(), reason);
        let pause = if reached.is_ok() { config.interval_ms } else { config.retry_interval_ms };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(millis(pause)) => {}
        }
        // What is on its way to a broker that does not answer is sent again at once.
        let patience = if reached.is_ok() { publisher.message_timeout() } else { Duration::ZERO };
        publisher.renew_if_files_changed(patience).await;
    }
}

/// How often in a row the broker did not answer, and why.
#[derive(Default)]
struct Outage {
    failures: u64,
    advice: Option<&'static str>,
}

impl Outage {
    /// Says in the log what is new, and what goes on at the first, second, fourth … time.
    fn note(&mut self, reached: &Result<(), Unanswered>) {
        match reached {
            Ok(()) if self.failures > 0 => {
                info!(failures = self.failures, "the broker answers again");
                *self = Self::default();
            }
            Ok(()) => {}
            Err(reason) => {
                self.failures += 1;
                if self.failures.is_power_of_two() || self.advice != reason.advice() {
                    warn!(%reason, failures = self.failures, "waiting for the broker");
                }
                self.advice = reason.advice();
            }
        }
    }
}
