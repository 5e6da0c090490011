//! Engine and broker come up again at another address, as after a failover or in a new pod: whoever was told
//! of both addresses finds them, without a restart.

use anyhow::ensure;
use harness::names::{DLQ_RETRIER, OUTBOX_RELAY, PROJECTION_WORKER};
use harness::{Plan, Steady, World, holds_all};
use local_stack::Process;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn workers_follow_engine_and_broker_to_another_address() -> anyhow::Result<()> {
    let plan = Plan { second_addresses: true, ..Plan::default() };
    let mut world = World::start(plan).await?;
    let pids = |world: &World| {
        world.stack.addresses().workers().into_iter().map(|one| world.stack.pid(one)).collect()
    };
    let before: Vec<Option<u32>> = pids(&world);
    let mut load = Steady::start(&[world.client(0)], 2);
    // One that loses its connection while it starts ends and is started again.
    for worker in [
        Process::Worker(PROJECTION_WORKER, 0),
        Process::Worker(OUTBOX_RELAY, 0),
        Process::Worker(DLQ_RETRIER, 0),
    ] {
        holds_all(&world, worker, Duration::from_secs(60)).await?;
    }
    for process in [Process::Engine, Process::Broker] {
        load.more(10).await?;
        world.move_to_second(process).await?;
        world.stack.ready().await?;
    }
    load.more(10).await?;
    let told = load.end().await;
    ensure!(pids(&world) == before, "a worker was started again: {before:?}");
    // Whatever was asked while nobody knew the new address was settled, and everything is where it
    // belongs, topics included.
    world.keeps_every_promise(told).await?;
    world.finish_after(|_| true).await
}
