//! The processes may start in any order: each worker waits for what is not there yet, says for what, becomes
//! ready without a restart when all is there, and then does its work.

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use harness::{Dump, Expectations, Plan, World, verify};
use local_stack::{PLATFORM, Process, Store, wait_for};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// What somebody starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Engine,
    Migrate,
    Broker,
    Workers,
}

use Step::{Broker, Engine, Migrate, Workers};

/// All orders in which the schema follows the engine, those first in which the workers come first.
const ORDERS: [[Step; 4]; 12] = [
    [Workers, Engine, Migrate, Broker],
    [Workers, Engine, Broker, Migrate],
    [Workers, Broker, Engine, Migrate],
    [Engine, Workers, Migrate, Broker],
    [Engine, Workers, Broker, Migrate],
    [Broker, Workers, Engine, Migrate],
    [Engine, Migrate, Workers, Broker],
    [Engine, Broker, Workers, Migrate],
    [Broker, Engine, Workers, Migrate],
    [Engine, Migrate, Broker, Workers],
    [Engine, Broker, Migrate, Workers],
    [Broker, Engine, Migrate, Workers],
];

/// What a worker must be heard to wait for when only these steps were taken; `None`: it can work.
fn awaited(process: Process, done: &[Step]) -> Option<&'static str> {
    let publishes = PLATFORM.entry_of(process).is_some_and(|entry| entry.needs(Store::Kafka));
    if !done.contains(&Engine) {
        Some("[-]database connecting to")
    } else if !done.contains(&Migrate) {
        Some("[-]database keyspace event_platform does not exist")
    } else if publishes && !done.contains(&Broker) {
        Some("[-]broker the broker does not answer")
    } else {
        None
    }
}

/// Waits until every worker says what it waits for, or that it is ready.
async fn settle(world: &World, done: &[Step]) -> anyhow::Result<()> {
    let addresses = world.stack.addresses();
    let one = |process: Process| async move {
        let admin = addresses.admin(process).context("a worker has an admin port")?;
        let (url, awaited) = (format!("http://{admin}/readyz?verbose"), awaited(process, done));
        let what = format!("{} to say {:?} after {done:?}", process.name(), awaited);
        wait_for(&what, SOON, || async {
            let answer = world.client(0).http.get(&url).await;
            let answer = answer.map_err(|error| format!("{error:#}"))?;
            let said = answer.body.as_str().unwrap_or_default();
            let right = match awaited {
                Some(reason) => !answer.status.is_success() && said.contains(reason),
                None => answer.status.is_success(),
            };
            if right { Ok(()) } else { Err(format!("{} {said}", answer.status)) }
        })
        .await?;
        anyhow::Ok(())
    };
    try_join_all(addresses.workers().into_iter().map(one)).await?;
    Ok(())
}

async fn take(world: &World, step: Step) -> anyhow::Result<()> {
    let started = match step {
        Engine => vec![Process::Engine],
        Broker => vec![Process::Broker],
        Workers => world.stack.addresses().workers(),
        Migrate => {
            world.esctl(&["migrate"]).await?;
            Vec::new()
        }
    };
    try_join_all(started.iter().map(|process| world.stack.resume(*process))).await?;
    if step == Broker || step == Engine {
        world.stack.ready_one(started[0]).await?;
    }
    if step == Broker {
        world.esctl(&["topics", "create"]).await?;
    }
    Ok(())
}

/// What the log of a worker must tell that waited for these.
fn is_in_the_log(world: &World, process: Process, awaited: &[&str]) -> anyhow::Result<()> {
    let log = world.logs().join(format!("{}.log", process.name()));
    let log = std::fs::read_to_string(log)?;
    for (reason, line) in [
        ("[-]database connecting", "waiting for the database"),
        ("[-]database keyspace", "waiting for the keyspace"),
    ] {
        let waited = awaited.iter().any(|awaited| awaited.starts_with(reason));
        ensure!(!waited || log.contains(line), "{} did not log {line:?}", process.name());
    }
    let starts = log.lines().filter(|line| line.contains("starting process=")).count();
    ensure!(starts == 1, "{} started {starts} times", process.name());
    Ok(())
}

async fn starts(order: [Step; 4]) -> anyhow::Result<()> {
    let world = World::down(Plan::default()).await?;
    let workers = world.stack.addresses().workers();
    for taken in 1..=order.len() {
        take(&world, order[taken - 1]).await?;
        if order[..taken].contains(&Workers) {
            settle(&world, &order[..taken]).await?;
        }
    }
    let order_id = world.client(0).create().await?;
    let url = format!("{}/v1/orders/{order_id}", world.client(0).queries);
    wait_for("the read model", SOON, || async {
        let answer = world.client(0).http.get(&url).await.map_err(|error| format!("{error:#}"))?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await?;
    let (session, broker) = (world.session().await?, &world.stack.addresses().broker);
    wait_for("its record", SOON, || async {
        let dump = Dump::take(&session, broker, SOON).await;
        let violations =
            verify(&dump.map_err(|error| format!("{error:#}"))?, &Expectations::default());
        if violations.is_empty() { Ok(()) } else { Err(format!("{violations:#?}")) }
    })
    .await?;
    let from = order.iter().position(|step| *step == Workers).unwrap_or_default() + 1;
    for process in workers {
        let waits = (from..order.len()).filter_map(|taken| awaited(process, &order[..taken]));
        is_in_the_log(&world, process, &waits.collect::<Vec<_>>())?;
    }
    world.finish_after(is_announced).await
}

/// What a worker may warn of before all is there. Of the broker's absence librdkafka tells as well.
fn is_announced(line: &str) -> bool {
    ["waiting for the database", "waiting for the broker", " librdkafka: "]
        .iter()
        .any(|expected| line.contains(expected))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_the_start_does_not_matter() -> anyhow::Result<()> {
    for order in ORDERS {
        let began = std::time::Instant::now();
        starts(order).await.with_context(|| format!("{order:?}"))?;
        println!("{order:?} took {:?}", began.elapsed());
    }
    Ok(())
}
