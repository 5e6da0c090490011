//! What `esctl` reads from `config/esctl.toml` and the layers around it.

use std::time::Duration;

use runtime::ScyllaConfig;
use runtime::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig};
use serde::{Deserialize, Serialize};

use crate::verify::VerifyConfig;

/// The whole configuration but the shell's sections.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) scylla: ScyllaConfig,
    pub(crate) keyspace: KeyspaceConfig,
    pub(crate) settings: SettingsConfig,
    pub(crate) migrate: Migrate,
    pub(crate) kafka: Kafka,
    pub(crate) topics: Topics,
    pub(crate) verify: VerifyConfig,
}

/// `[migrate]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Migrate {
    claim_timeout_ms: u64,
}

/// `[kafka]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kafka {
    pub(crate) brokers: Vec<String>,
}

/// `[topics]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topics {
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i32,
    pub(crate) timeout_ms: u64,
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
