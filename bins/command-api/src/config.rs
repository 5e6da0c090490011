//! The configuration of this process.

use database::ScyllaConfig;
use event_store::EventStoreConfig;
use http_server::HttpConfig;
use runtime::BreakerConfig;
use runtime::config::{BadValue, Configuration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

/// Everything but the shell's sections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The database.
    pub(crate) scylla: ScyllaConfig,
    /// The port for commands.
    pub(crate) http: HttpConfig,
    /// When requests are refused because the database answers nobody.
    pub(crate) breaker: BreakerConfig,
    /// What a request may cost.
    pub(crate) requests: RequestLimits,
    /// Bounds and intervals of the append.
    pub(crate) event_store: EventStoreConfig,
}

/// What a request may cost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestLimits {
    /// The largest body; then 413.
    pub(crate) body_bytes_max: NonZeroU32,
    /// How long a body may take to arrive; then 408.
    pub(crate) body_timeout_ms: NonZeroU32,
    /// Bodies of the largest size in memory at a time, smaller ones by what has arrived; then 429.
    pub(crate) full_bodies_max: NonZeroU32,
}

impl RequestLimits {
    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.body_timeout_ms.get()))
    }
}

impl Configuration for Config {
    fn check(&self) -> Result<(), BadValue> {
        self.http.usable().map_err(|bad| bad.within("http"))?;
        self.event_store.check().map_err(|bad| bad.within("event_store"))?;
        self.scylla.usable().map_err(|bad| bad.within("scylla"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_refuses_what_is_bad() {
        let defaults = include_str!("../../../config/command-api.toml");
        runtime::config::testing::assert_refuses_what_is_bad::<Config>("command-api", defaults);
    }
}
