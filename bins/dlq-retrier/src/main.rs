//! Tries dead letters again, of the projections and of the relay. Replicas share the slots.

use anyhow::Context;
use dead_letter::{RetrierDeps, RetryConfig, run_retrier};
use leases::LeaseConfig;
use messaging::{BrokerWatchConfig, KafkaConfig, Publisher, Relay};
use runtime::{Process, ScyllaConfig};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    scylla: ScyllaConfig,
    kafka: KafkaConfig,
    broker_watch: BrokerWatchConfig,
    #[serde(default)]
    leases: LeaseConfig,
    #[serde(default)]
    retry: RetryConfig,
}

fn main() -> ExitCode {
    runtime::main("dlq-retrier", include_str!("../../../config/dlq-retrier.toml"), run)
}

async fn run(mut process: Process<Config>) -> anyhow::Result<()> {
    let Config { scylla, kafka, broker_watch, leases, retry } = process.config.clone();
    let publisher = Publisher::new(kafka).context("make the producer")?;
    let session = process.scylla(&scylla).await?;
    let schema = [
        ::leases::MIGRATIONS,
        event_store::MIGRATIONS,
        cdc::MIGRATIONS,
        dead_letter::MIGRATIONS,
        projection::MIGRATIONS,
    ];
    let settings = process.wait_for_schema(&session, &schema).await?;
    let mut consumers = projection::read_models::consumers(&session);
    consumers.push(Arc::new(Relay::new(publisher.clone())));
    let readiness = process.readiness();
    let deps = RetrierDeps { session, consumers, settings, config: retry, leases, readiness };
    let shutdown = process.shutdown();
    process.worker("retries", async move { Ok(run_retrier(deps, shutdown).await?) });
    let (readiness, shutdown) = (process.readiness(), process.shutdown());
    let watch = messaging::watch_broker(publisher, broker_watch, readiness, shutdown);
    process.worker("broker-watch", watch);
    process.run_until_shutdown().await
}
