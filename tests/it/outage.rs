//! The broker is away for a while.

use futures::future::try_join_all;
use harness::names::OUTBOX_RELAY;
use harness::{Dump, Expectations, Plan, World, verify};
use local_stack::{Process, Signal};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_the_broker_and_arrive_in_order() -> anyhow::Result<()> {
    let world = World::start(Plan::default()).await?;
    let client = world.client(0);
    try_join_all((0..20).map(|_| client.create())).await?;
    world.stack.stop(Process::Broker, Signal::Kill).await?;
    let during = try_join_all((0..100).map(|_| client.create())).await?;

    // Commands and read models go on without it.
    let url = format!("{}/v1/orders/{}", client.queries, during[99]);
    local_stack::wait_for("the read model", Duration::from_secs(30), || async {
        let answer = client.http.get(&url).await.map_err(|error| format!("{error:#}"))?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await?;
    let admin = world
        .stack
        .addresses()
        .admin(Process::Worker(OUTBOX_RELAY, 0))
        .unwrap_or_default()
        .to_owned();
    let ready = format!("http://{admin}/readyz?verbose");
    local_stack::wait_for("the relay to say what it lacks", Duration::from_secs(30), || async {
        let answer = client.http.get(&ready).await.map_err(|error| format!("{error:#}"))?;
        let body = answer.body.to_string();
        if !answer.status.is_success() && body.contains("broker") { Ok(()) } else { Err(body) }
    })
    .await?;

    world.stack.resume(Process::Broker).await?;
    world.stack.ready().await?;
    try_join_all((0..20).map(|_| client.create())).await?;
    let session = world.session().await?;
    let broker = &world.stack.addresses().broker;
    local_stack::wait_for("everything to arrive", Duration::from_secs(60), || async {
        let dump = Dump::take(&session, broker, Duration::from_secs(60)).await;
        let dump = dump.map_err(|error| format!("{error:#}"))?;
        let violations = verify(&dump, &Expectations::default());
        if violations.is_empty() && dump.events.len() == 140 {
            Ok(())
        } else {
            Err(format!("{} aggregates, {violations:#?}", dump.events.len()))
        }
    })
    .await?;
    world.finish_after(|_| true).await
}
