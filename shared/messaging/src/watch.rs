//! Keeps readiness true about the broker.

use crate::producer::Publisher;
use runtime::{CancellationToken, Readiness};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

/// The check's name in `/readyz?verbose`.
const CHECK: &str = "broker";

/// `[broker_watch]`: how often the broker is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerWatchConfig {
    /// Pause between two looks while the broker answers, in milliseconds.
    pub interval_ms: NonZeroU32,
    /// The same while it does not.
    pub retry_interval_ms: NonZeroU32,
    /// How long one look may take.
    pub timeout_ms: NonZeroU32,
}

fn millis(number: NonZeroU32) -> Duration {
    Duration::from_millis(number.get().into())
}

/// Asks the broker for its metadata now and then until `shutdown`.
pub async fn watch_broker(
    publisher: Publisher,
    config: BrokerWatchConfig,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    readiness.set(CHECK, false, "not asked yet");
    let timeout = millis(config.timeout_ms);
    loop {
        let asked = publisher.clone();
        let reachable = tokio::task::spawn_blocking(move || asked.reachable(timeout)).await?;
        let reason = if reachable { "" } else { "does not answer a metadata request" };
        readiness.set(CHECK, reachable, reason);
        let pause = if reachable { config.interval_ms } else { config.retry_interval_ms };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(millis(pause)) => {}
        }
    }
}
