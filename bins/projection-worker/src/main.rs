//! Folds announced events into the read models. Replicas share the slots.

use cdc::{CdcConfig, GroupDeps, run_group};
use projection::audit::{AuditConfig, AuditDeps, run_audit};
use runtime::{Process, ScyllaConfig};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// The group whose consumers share the slots.
const GROUP: &str = "projections";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    scylla: ScyllaConfig,
    #[serde(default)]
    cdc: CdcConfig,
    #[serde(default)]
    audit: AuditConfig,
}

fn main() -> ExitCode {
    runtime::main("projection-worker", include_str!("../../../config/projection-worker.toml"), run)
}

async fn run(mut process: Process<Config>) -> anyhow::Result<()> {
    let Config { scylla, cdc, audit } = process.config.clone();
    let session = process.scylla(&scylla).await?;
    let schema =
        [leases::MIGRATIONS, event_store::MIGRATIONS, ::cdc::MIGRATIONS, projection::MIGRATIONS];
    let settings = process.wait_for_schema(&session, &schema).await?;
    // Until slots are shared, a worker owns them all.
    let owned = move || (0..settings.slots).collect();
    let audit = AuditDeps { session: session.clone(), settings, config: audit, owned };
    let consumers = projection::read_models::consumers(&session);
    let deps = GroupDeps {
        session,
        keyspace: scylla.keyspace,
        group: GROUP,
        consumers,
        settings,
        config: cdc,
    };
    let shutdown = process.shutdown();
    process.worker("projections", async move { Ok(run_group(deps, shutdown).await?) });
    let shutdown = process.shutdown();
    process.worker("audit", async move {
        run_audit(audit, shutdown).await;
        Ok(())
    });
    process.run_until_shutdown().await
}
