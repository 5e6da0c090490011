//! The configuration of this process.

use event_store::EventStoreConfig;
use runtime::{BreakerConfig, HttpConfig, ScyllaConfig};
use serde::{Deserialize, Deserializer, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

/// Everything but the shell's sections.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The database.
    pub(crate) scylla: ScyllaConfig,
    /// The port for commands.
    pub(crate) http: HttpConfig,
    /// When requests are refused because the database answers nobody.
    #[serde(deserialize_with = "BreakerConfig::checked")]
    pub(crate) breaker: BreakerConfig,
    /// What a request may cost.
    pub(crate) requests: RequestLimits,
    /// Bounds and intervals of the append.
    #[serde(deserialize_with = "checked")]
    pub(crate) event_store: EventStoreConfig,
}

/// What a request may cost. How long it waits for its answer is `event_store.wait_ms_max`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestLimits {
    /// The largest body.
    pub(crate) body_bytes_max: NonZeroU32,
    /// How long a client may take to send its body.
    pub(crate) body_timeout_ms: NonZeroU32,
    /// How many bodies of the largest size may be in memory at a time; smaller ones count by what
    /// has arrived of them.
    pub(crate) full_bodies_max: NonZeroU32,
}

impl RequestLimits {
    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.body_timeout_ms.get()))
    }
}

/// A bad value is to be a bad configuration, not a failed start.
fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventStoreConfig, D::Error> {
    let config = EventStoreConfig::deserialize(deserializer)?;
    config.validate().map_err(serde::de::Error::custom)?;
    Ok(config)
}
