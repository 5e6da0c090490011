//! What `dev-stack` reads from `config/dev-stack.toml` and the layers around it: the stores of a system that runs
//! already. Those that it starts itself it knows.

use database::ScyllaConfig;
use messaging::KafkaConfig;
use runtime::config::{BadValue, Configuration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole configuration but the shell's sections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) scylla: ScyllaConfig,
    pub(crate) kafka: KafkaConfig,
}

impl Configuration for Settings {
    fn check(&self) -> Result<(), BadValue> {
        self.kafka.usable().map_err(|bad| bad.within("kafka"))?;
        self.scylla.usable().map_err(|bad| bad.within("scylla"))
    }
}
