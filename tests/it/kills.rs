//! `kill -9` at random, of one kind of process per test, during 2,000 commands.

use dev_stack::demo::items;
use futures::future::join_all;
use harness::names::{OUTBOX_RELAY, PROJECTION_WORKER, QUERY_API};
use harness::{Client, Dump, Expectations, Outcome, Plan, Told, World, seed, verify};
use hyper::Method;
use local_stack::Process;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uuid::Uuid;

const CLIENTS: u64 = 16;
const COMMANDS: usize = 2_000;
const KILLS_MIN: u32 = 5;

/// One client: orders through their lives, each command settled before the next.
async fn work(client: Client, commands: usize, seed: u64) -> Vec<Told> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut told = Vec::new();
    let mut open: Vec<(Uuid, u32)> = Vec::new();
    while told.len() < commands {
        let (id, method, path, body, next) = match random.random_range(0..4) {
            0 if open.len() > 3 => {
                let (id, _) = open.swap_remove(random.random_range(0..open.len()));
                (id, Method::POST, format!("/v1/orders/{id}/confirm"), json!({}), None)
            }
            1 | 2 if !open.is_empty() => {
                let at = random.random_range(0..open.len());
                let (id, turn) = open.swap_remove(at);
                let body = json!({"items": items(turn + 2)});
                (id, Method::PUT, format!("/v1/orders/{id}/items"), body, Some((id, turn + 1)))
            }
            _ => {
                let id = Uuid::now_v7();
                let body = json!({
                    "order_id": id,
                    "customer_id": Uuid::now_v7(),
                    "currency": "EUR",
                    "items": items(1),
                });
                (id, Method::POST, "/v1/orders".to_owned(), body, Some((id, 1)))
            }
        };
        let key = Uuid::now_v7().to_string();
        let outcome = client.settle(method, &path, &key, &body).await;
        told.push(Told { aggregate_id: Some(id), key, outcome });
        open.extend(next);
    }
    told
}

async fn survive_kills_of(process: Process) -> anyhow::Result<()> {
    let seed = seed();
    let world = World::start(Plan::default()).await?;
    let done = Arc::new(AtomicBool::new(false));
    let clients = (0..CLIENTS).map(|index| {
        let each = COMMANDS.div_ceil(CLIENTS as usize);
        work(world.client(0), each, seed.wrapping_add(index))
    });
    let clients = join_all(clients.collect::<Vec<_>>());
    let finished = Arc::clone(&done);
    let nemesis = async {
        let mut random = StdRng::seed_from_u64(seed);
        let mut kills = 0;
        while kills < KILLS_MIN || !finished.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(random.random_range(100..1_500))).await;
            world.kill_and_wait(process).await?;
            kills += 1;
            if kills >= 4 * KILLS_MIN {
                break;
            }
        }
        anyhow::Ok(kills)
    };
    let load = async {
        let told = clients.await;
        done.store(true, Ordering::Relaxed);
        told
    };
    let (kills, told) = tokio::join!(nemesis, load);
    let kills = kills?;
    let told: Vec<Told> = told.concat();
    println!("{} commands, {kills} kills of {}", told.len(), process.name());
    let unsettled: Vec<_> =
        told.iter().filter(|told| !matches!(told.outcome, Outcome::Accepted(_))).collect();
    assert!(unsettled.is_empty(), "commands that were not accepted in the end: {unsettled:#?}");

    world.stack.ready().await?;
    let session = world.session().await?;
    let broker = world.stack.addresses().broker.clone();
    let expected = Expectations { told, complete: true };
    // The topics and read models may take a moment; what is wrong stays wrong.
    let verdict =
        local_stack::wait_for("every promise to be kept", Duration::from_secs(90), || async {
            let dump = Dump::take(&session, &broker, Duration::from_secs(60)).await;
            let violations = verify(&dump.map_err(|error| format!("{error:#}"))?, &expected);
            if violations.is_empty() { Ok(()) } else { Err(format!("{violations:#?}")) }
        });
    verdict.await?;
    world.finish_after(|_| true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn projection_worker_killed_at_random_loses_and_doubles_nothing() -> anyhow::Result<()> {
    survive_kills_of(Process::Worker(PROJECTION_WORKER, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn outbox_relay_killed_at_random_keeps_the_order_on_the_topics() -> anyhow::Result<()> {
    survive_kills_of(Process::Worker(OUTBOX_RELAY, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn query_api_killed_at_random_disturbs_nobody() -> anyhow::Result<()> {
    survive_kills_of(Process::Worker(QUERY_API, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_killed_at_random_keeps_every_acknowledged_command() -> anyhow::Result<()> {
    survive_kills_of(Process::Engine).await
}
