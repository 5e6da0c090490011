//! Folds announced events into the read models. Replicas share the slots.

use cdc::{
    CdcConfig, GroupDeps, Letters, OwnedSlots, ScannerConfig, ScannerDeps, run_group, run_scanner,
};
use dead_letter::LetterBox;
use leases::LeaseConfig;
use projection::audit::{AuditConfig, AuditDeps, run_audit};
use runtime::{Process, ScyllaConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

/// The group whose consumers share the slots.
const GROUP: &str = "projections";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    scylla: ScyllaConfig,
    #[serde(default)]
    leases: LeaseConfig,
    #[serde(default)]
    cdc: CdcConfig,
    #[serde(default)]
    scanner: ScannerConfig,
    #[serde(default)]
    audit: AuditConfig,
}

fn main() -> ExitCode {
    runtime::main("projection-worker", include_str!("../../../config/projection-worker.toml"), run)
}

async fn run(mut process: Process<Config>) -> anyhow::Result<()> {
    let Config { scylla, leases, cdc, scanner, audit } = process.config.clone();
    let session = process.scylla(&scylla).await?;
    let schema = [
        ::leases::MIGRATIONS,
        event_store::MIGRATIONS,
        ::cdc::MIGRATIONS,
        dead_letter::MIGRATIONS,
        projection::MIGRATIONS,
    ];
    let settings = process.wait_for_schema(&session, &schema).await?;
    let consumers = projection::read_models::consumers(&session);
    let owned = watch::Sender::<BTreeSet<u32>>::default();
    let slots = owned.subscribe();
    let scanned: OwnedSlots = Arc::new(move || slots.borrow().clone());
    let audited = Arc::clone(&scanned);
    let audit =
        AuditDeps { session: session.clone(), settings, config: audit, owned: move || audited() };
    let letters = LetterBox::open(session.clone(), cdc.blocked_aggregates_max).await?;
    let letters: Arc<dyn Letters> = Arc::new(letters);
    let scan = ScannerDeps {
        session: Arc::clone(&session),
        keyspace: scylla.keyspace.clone(),
        group: GROUP,
        consumers: consumers.clone(),
        owned: scanned,
        letters: letters.clone(),
        settings,
        config: scanner,
    };
    let deps = GroupDeps {
        session,
        keyspace: scylla.keyspace,
        group: GROUP,
        consumers,
        letters,
        settings,
        config: cdc,
        leases,
        owned,
        readiness: process.readiness(),
    };
    let shutdown = process.shutdown();
    process.worker("projections", async move { Ok(run_group(deps, shutdown).await?) });
    let shutdown = process.shutdown();
    process.worker("scanner", async move { Ok(run_scanner(scan, shutdown).await?) });
    let shutdown = process.shutdown();
    process.worker("audit", async move {
        run_audit(audit, shutdown).await;
        Ok(())
    });
    process.run_until_shutdown().await
}
