//! Publishes announced events to their topics. Replicas share the slots.

use anyhow::Context;
use application::Application;
use cdc::{CdcConfig, GroupDeps, run_group};
use database::{Database, ScyllaConfig};
use dead_letter::LetterBox;
use leases::LeaseConfig;
use messaging::{BrokerWatchConfig, KafkaConfig, Publisher, PublisherConfig, Relay};
use runtime::Process;
use runtime::config::{BadValue, Configuration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

/// The group whose consumers share the slots.
const GROUP: &str = "relay";

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    scylla: ScyllaConfig,
    kafka: KafkaConfig,
    publisher: PublisherConfig,
    broker_watch: BrokerWatchConfig,
    #[serde(default)]
    leases: LeaseConfig,
    #[serde(default)]
    cdc: CdcConfig,
}

impl Configuration for Config {
    fn check(&self) -> Result<(), BadValue> {
        self.kafka.usable().map_err(|bad| bad.within("kafka"))?;
        self.publisher.check().map_err(|bad| bad.within("publisher"))?;
        self.leases.check().map_err(|bad| bad.within("leases"))?;
        self.scylla.usable().map_err(|bad| bad.within("scylla"))
    }
}

/// The configuration of this process as it was when it was compiled.
const DEFAULTS: &str = include_str!("../../../config/outbox-relay.toml");

/// Runs the process of this application, from its arguments to its exit code.
pub fn main(application: Application) -> ExitCode {
    runtime::main("outbox-relay", DEFAULTS, move |process| run(process, application))
}

async fn run(mut process: Process<Config>, application: Application) -> anyhow::Result<()> {
    application.check()?;
    let Config { scylla, kafka, publisher, broker_watch, leases, cdc } = process.config.clone();
    let publisher = Publisher::new(kafka, publisher).context("make the producer")?;
    let database = Database::connect(&process, &scylla).await?;
    let schema =
        [::leases::MIGRATIONS, event_store::MIGRATIONS, ::cdc::MIGRATIONS, dead_letter::MIGRATIONS];
    let settings = database.wait_for_schema(&mut process, &schema).await?;
    let session = database.session();
    let letters = LetterBox::open(session.clone(), cdc.blocked_aggregates_max).await?;
    let deps = GroupDeps {
        session,
        keyspace: scylla.keyspace,
        group: GROUP,
        consumers: vec![Arc::new(Relay::new(publisher.clone(), application.aggregates))],
        letters: Arc::new(letters),
        settings,
        config: cdc,
        leases,
        owned: watch::Sender::default(),
        readiness: process.readiness(),
    };
    // One unit: leases, readers and lanes fall together, and the next start is a new member of the
    // group under a new name, which waits for the old one's leases to expire.
    process.child("relay", move |shutdown| {
        let deps = deps.clone();
        async move { Ok(run_group(deps, shutdown).await?) }
    });
    let readiness = process.readiness();
    process.child("broker-watch", move |shutdown| {
        messaging::watch_broker(publisher.clone(), broker_watch, readiness.clone(), shutdown)
    });
    process.run_until_shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_refuses_what_is_bad() {
        runtime::config::testing::assert_refuses_what_is_bad::<Config>("outbox-relay", DEFAULTS);
    }
}
