//! P15: after the death of any one worker everything is announced, visible and published within 30
//! seconds, with the intervals that a user gets.

use futures::future::join_all;
use harness::names::{COMMAND_API, OUTBOX_RELAY, PROJECTION_WORKER, QUERY_API};
use harness::{Client, Dump, Expectations, Outcome, Plan, Told, World, verify};
use hyper::Method;
use local_stack::{Process, Signal};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

const BOUND: Duration = Duration::from_secs(30);
const CLIENTS: usize = 6;
/// How long the load goes on after the death.
const LOAD: Duration = Duration::from_secs(3);

/// Creates and confirms orders until told to stop. What cannot be settled is not asked for again, since
/// the load ends by then: it is left out.
async fn work(clients: [Client; 2], done: &AtomicBool, mut turn: usize) -> Vec<Told> {
    let mut told = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let id = Uuid::now_v7();
        let mut body = dev_stack::demo::create_order(Uuid::now_v7(), dev_stack::demo::items(1));
        body["order_id"] = json!(id);
        let confirm = format!("/v1/orders/{id}/confirm");
        for (path, body) in [("/v1/orders", &body), (confirm.as_str(), &json!({}))] {
            let key = Uuid::now_v7().to_string();
            turn += 1;
            let outcome = clients[turn % 2].send(Method::POST, path, &key, body).await;
            let is_known = matches!(outcome, Outcome::Accepted(_));
            told.push(Told { aggregate_id: Some(id), key, outcome });
            if !is_known {
                tokio::time::sleep(Duration::from_millis(50)).await;
                break;
            }
        }
    }
    told
}

/// Kills the worker under load; gives how long it took from the death until everything was in its place.
async fn recovers_from(world: &World, process: Process) -> anyhow::Result<Duration> {
    let done = AtomicBool::new(false);
    let clients = || [world.client(0), world.client(1)];
    let load = join_all((0..CLIENTS).map(|turn| work(clients(), &done, turn)));
    let death = async {
        tokio::time::sleep(LOAD / 3).await;
        world.stack.signal(process, Signal::Kill)?;
        let died = Instant::now();
        tokio::time::sleep(LOAD).await;
        done.store(true, Ordering::Relaxed);
        anyhow::Ok(died)
    };
    let (told, died) = tokio::join!(load, death);
    let (told, died) = (told.concat(), died?);
    let accepted = told.iter().filter(|told| matches!(told.outcome, Outcome::Accepted(_))).count();
    anyhow::ensure!(accepted > 50, "too little load to mean anything: {accepted} accepted");
    let session = world.session().await?;
    let broker = &world.stack.addresses().broker;
    let expected = Expectations { told, complete: false };
    let left = BOUND.saturating_sub(died.elapsed());
    let what = format!("recovery from the death of {}", process.name());
    local_stack::wait_for(&what, left, || async {
        let dump = Dump::take(&session, broker, left).await;
        let violations = verify(&dump.map_err(|error| format!("{error:#}"))?, &expected);
        if violations.is_empty() { Ok(()) } else { Err(format!("{violations:#?}")) }
    })
    .await?;
    let took = died.elapsed();
    println!("{}: {accepted} accepted, all in its place {took:?} after its death", process.name());
    anyhow::ensure!(took <= BOUND, "recovery took {took:?}");
    world.stack.ready_one(process).await?;
    Ok(took)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_death_of_any_worker_all_is_in_its_place_within_30_seconds() -> anyhow::Result<()>
{
    let world = World::start(Plan::command_apis(2)).await?;
    for process in [
        Process::Worker(COMMAND_API, 0),
        Process::Worker(PROJECTION_WORKER, 0),
        Process::Worker(OUTBOX_RELAY, 0),
        Process::Worker(QUERY_API, 0),
    ] {
        recovers_from(&world, process).await?;
    }
    world.finish_after(|_| true).await
}
