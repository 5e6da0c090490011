//! Folds announced events into the read models. Replicas share the slots.

use cdc::{CdcConfig, GroupDeps, run_group};
use dead_letter::LetterBox;
use runtime::{Process, ScyllaConfig};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::sync::Arc;

/// The group whose consumers share the slots.
const GROUP: &str = "projections";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    scylla: ScyllaConfig,
    #[serde(default)]
    cdc: CdcConfig,
}

fn main() -> ExitCode {
    runtime::main("projection-worker", include_str!("../../../config/projection-worker.toml"), run)
}

async fn run(mut process: Process<Config>) -> anyhow::Result<()> {
    let Config { scylla, cdc } = process.config.clone();
    let session = process.scylla(&scylla).await?;
    let schema = [
        leases::MIGRATIONS,
        event_store::MIGRATIONS,
        ::cdc::MIGRATIONS,
        dead_letter::MIGRATIONS,
        projection::MIGRATIONS,
    ];
    let settings = process.wait_for_schema(&session, &schema).await?;
    let consumers = projection::read_models::consumers(&session);
    let letters = LetterBox::open(session.clone(), cdc.blocked_aggregates_max).await?;
    let deps = GroupDeps {
        session,
        keyspace: scylla.keyspace,
        group: GROUP,
        consumers,
        letters: Arc::new(letters),
        settings,
        config: cdc,
    };
    let shutdown = process.shutdown();
    process.worker("projections", async move { Ok(run_group(deps, shutdown).await?) });
    process.run_until_shutdown().await
}
