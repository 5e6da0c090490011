//! What is promised of topics, on a broker that is killed again and again.

use crate::certificates::Folder;
use harness::{Kafka, Plan, Steady, World};
use local_stack::{Process, Whom};
use std::time::Duration;

const CLIENTS: usize = 4;
/// How long the load runs between two deaths.
const LIFE: Duration = Duration::from_secs(3);
const DEATHS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka, which tests/kafka/fetch brings; .ci/run runs it"]
async fn every_promise_is_kept_while_a_real_broker_dies_and_comes_back() -> anyhow::Result<()> {
    let folder = Folder::new();
    let kafka = Kafka::prepare(&folder.path().join("kafka"), None).await?;
    // Records that were on their way are soon sent again.
    let timeout = ("APP__PUBLISHER__MESSAGE_TIMEOUT_MS", "1500");
    let env_of = ["outbox-relay", "dlq-retrier"]
        .map(|program| (Whom::Program(program), timeout.0.to_owned(), timeout.1.to_owned()));
    let plan = Plan { kafka: Some(kafka), env_of: env_of.into(), ..Plan::default() };
    let world = World::start(plan).await?;
    let load = Steady::start(&[world.client(0)], CLIENTS);
    for _ in 0..DEATHS {
        tokio::time::sleep(LIFE).await;
        world.kill_and_wait(Process::Broker).await?;
        world.stack.ready().await?;
    }
    let told = load.end().await;
    anyhow::ensure!(told.len() > 50, "too little load to mean anything: {}", told.len());
    world.keeps_every_promise(told).await?;
    world.finish_after(|_| true).await
}
