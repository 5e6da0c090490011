//! Folds announced events into the read models. Replicas share the slots.

use application::Application;
use cdc::{
    CdcConfig, GroupDeps, Letters, OwnedSlots, ScannerConfig, ScannerDeps, run_group, run_scanner,
};
use database::{Database, ScyllaConfig};
use dead_letter::LetterBox;
use leases::{LeaseConfig, Slot};
use projection::audit::{AuditConfig, AuditDeps, run_audit};
use runtime::Process;
use runtime::config::{BadValue, Configuration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

/// The group whose consumers share the slots.
const GROUP: &str = "projections";

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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

impl Configuration for Config {
    fn check(&self) -> Result<(), BadValue> {
        self.leases.check().map_err(|bad| bad.within("leases"))?;
        self.scylla.usable().map_err(|bad| bad.within("scylla"))
    }
}

/// The configuration of this process as it was when it was compiled.
const DEFAULTS: &str = include_str!("../../../config/projection-worker.toml");

/// Runs the process of this application, from its arguments to its exit code.
pub fn main(application: Application) -> ExitCode {
    runtime::main("projection-worker", DEFAULTS, move |process| run(process, application))
}

async fn run(mut process: Process<Config>, application: Application) -> anyhow::Result<()> {
    application.check()?;
    let Config { scylla, leases, cdc, scanner, audit } = process.config.clone();
    let database = Database::connect(&process, &scylla).await?;
    let schema = [
        ::leases::MIGRATIONS,
        event_store::MIGRATIONS,
        ::cdc::MIGRATIONS,
        dead_letter::MIGRATIONS,
        application.read_models.migrations(),
    ];
    let settings = database.wait_for_schema(&mut process, &schema).await?;
    let session = database.session();
    let consumers = application.read_models.consumers(&session);
    let owned = watch::Sender::<BTreeSet<Slot>>::default();
    let slots = owned.subscribe();
    let scanned: OwnedSlots = Arc::new(move || slots.borrow().clone());
    let letters = LetterBox::open(session.clone(), cdc.blocked_aggregates_max).await?;
    let letters: Arc<dyn Letters> = Arc::new(letters);
    let audit_deps = AuditDeps {
        session: session.clone(),
        read_models: application.read_models,
        settings,
        config: audit,
        owned: Arc::clone(&scanned),
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
    let scan = ScannerDeps {
        group: deps.clone(),
        owned: scanned,
        aggregates: application.aggregates,
        config: scanner,
    };
    // One unit: leases, readers and lanes fall together, and the next start is a new member of the
    // group under a new name, which waits for the old one's leases to expire.
    process.child("projections", move |shutdown| {
        let deps = deps.clone();
        async move { Ok(run_group(deps, shutdown).await?) }
    });
    process.child("scanner", move |shutdown| {
        let deps = scan.clone();
        async move { Ok(run_scanner(deps, shutdown).await?) }
    });
    process.child("audit", move |shutdown| {
        let deps = audit_deps.clone();
        async move {
            run_audit(deps, shutdown).await;
            Ok(())
        }
    });
    process.run_until_shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_refuses_what_is_bad() {
        runtime::config::testing::assert_refuses_what_is_bad::<Config>(
            "projection-worker",
            DEFAULTS,
        );
    }
}
