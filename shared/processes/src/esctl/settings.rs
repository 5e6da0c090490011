//! What `esctl` reads from `config/esctl.toml` and the layers around it.

use std::time::Duration;

use database::ScyllaConfig;
use database::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig};
use messaging::KafkaConfig;
use runtime::config::{BadValue, Configuration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::esctl::verify::VerifyConfig;

/// The whole configuration but the shell's sections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) scylla: ScyllaConfig,
    pub(crate) keyspace: KeyspaceConfig,
    pub(crate) settings: SettingsConfig,
    pub(crate) migrate: Migrate,
    pub(crate) kafka: KafkaConfig,
    pub(crate) topics: Topics,
    pub(crate) verify: VerifyConfig,
}

/// How migrations are claimed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Migrate {
    /// A claim on a migration that stood still for so long may be taken over.
    #[schemars(range(min = 1))]
    claim_timeout_ms: u64,
}

/// How topics are created.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topics {
    /// Partitions of a topic, fixed at its creation: a key's partition depends on the number.
    #[schemars(range(min = 1))]
    pub(crate) partitions: i32,
    /// Copies of each record.
    #[schemars(range(min = 1, max = 32_767))]
    pub(crate) replication_factor: i32,
    /// How long creating them may take.
    #[schemars(range(min = 1, max = i32::MAX))]
    pub(crate) timeout_ms: u64,
}

impl Configuration for Settings {
    fn check(&self) -> Result<(), BadValue> {
        self.kafka.usable().map_err(|bad| bad.within("kafka"))?;
        self.scylla.usable().map_err(|bad| bad.within("scylla"))
    }
}

impl Settings {
    /// What a migration needs to know.
    pub(crate) fn apply(&self) -> ApplyConfig {
        ApplyConfig {
            keyspace: self.keyspace,
            settings: self.settings,
            claim_timeout: Duration::from_millis(self.migrate.claim_timeout_ms),
        }
    }
}
