//! Publishes announced events to their topics. Replicas share the slots.

use anyhow::Context;
use cdc::{CdcConfig, GroupDeps, run_group};
use dead_letter::LetterBox;
use leases::LeaseConfig;
use messaging::{BrokerWatchConfig, KafkaConfig, Publisher, Relay};
use runtime::{Process, ScyllaConfig};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

/// The group whose consumers share the slots.
const GROUP: &str = "relay";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    scylla: ScyllaConfig,
    kafka: KafkaConfig,
    broker_watch: BrokerWatchConfig,
    #[serde(default)]
    leases: LeaseConfig,
    #[serde(default)]
    cdc: CdcConfig,
}

fn main() -> ExitCode {
    runtime::main("outbox-relay", include_str!("../../../config/outbox-relay.toml"), run)
}

async fn run(mut process: Process<Config>) -> anyhow::Result<()> {
    let Config { scylla, kafka, broker_watch, leases, cdc } = process.config.clone();
    let publisher = Publisher::new(kafka).context("make the producer")?;
    let session = process.scylla(&scylla).await?;
    let schema =
        [::leases::MIGRATIONS, event_store::MIGRATIONS, ::cdc::MIGRATIONS, dead_letter::MIGRATIONS];
    let settings = process.wait_for_schema(&session, &schema).await?;
    let letters = LetterBox::open(session.clone(), cdc.blocked_aggregates_max).await?;
    let deps = GroupDeps {
        session,
        keyspace: scylla.keyspace,
        group: GROUP,
        consumers: vec![Arc::new(Relay::new(publisher.clone()))],
        letters: Arc::new(letters),
        settings,
        config: cdc,
        leases,
        owned: watch::Sender::default(),
        readiness: process.readiness(),
    };
    let shutdown = process.shutdown();
    process.worker("relay", async move { Ok(run_group(deps, shutdown).await?) });
    let (readiness, shutdown) = (process.readiness(), process.shutdown());
    let watch = messaging::watch_broker(publisher, broker_watch, readiness, shutdown);
    process.worker("broker-watch", watch);
    process.run_until_shutdown().await
}
