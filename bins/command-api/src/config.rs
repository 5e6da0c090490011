//! The configuration of this process.

use event_store::EventStoreConfig;
use http_edge::commands::RequestLimits;
use runtime::config::{BadValue, Configuration};
use runtime::{BreakerConfig, HttpConfig, ScyllaConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
