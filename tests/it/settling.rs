//! What a dead or stopped `command-api` left behind is finished by the other one.
//!
//! While commands run, announcements fail now and then, so that whoever dies has something in hand. The
//! processes have their default intervals: within the grace period and five seconds everything stored is
//! announced.

use anyhow::ensure;
use dev_stack::demo::items;
use futures::future::join_all;
use harness::names::COMMAND_API;
use harness::{Client, Dump, Expectations, Outcome, Plan, Told, World, seed, verify};
use hyper::Method;
use local_stack::{Process, Signal};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use scylla::client::session::Session;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

const CLIENTS: usize = 16;
const KILLS: usize = 8;
/// `event_store.grace_ms`.
const GRACE: Duration = Duration::from_secs(10);
const BOUND: Duration = Duration::from_secs(15);

/// One client: orders that are created and confirmed, each command settled before the next, through
/// whichever process answers.
async fn work(clients: [Client; 2], done: Arc<AtomicBool>, mut turn: usize) -> Vec<Told> {
    let mut told = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let id = Uuid::now_v7();
        let create = json!({
            "order_id": id,
            "customer_id": Uuid::now_v7(),
            "currency": "EUR",
            "items": items(1),
        });
        let confirm = format!("/v1/orders/{id}/confirm");
        for (path, body) in [("/v1/orders", create), (confirm.as_str(), json!({}))] {
            let key = Uuid::now_v7().to_string();
            let mut outcome = Outcome::Unknown("never sent".to_owned());
            for _ in 0..600 {
                outcome = clients[turn % 2].send(Method::POST, path, &key, &body).await;
                match &outcome {
                    Outcome::Unknown(_) | Outcome::Refused(429 | 503, _) => {
                        turn += 1;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    Outcome::Accepted(_) | Outcome::Refused(..) => break,
                }
            }
            told.push(Told { aggregate_id: Some(id), key, outcome });
        }
    }
    told
}

/// Every third announcement fails, whoever makes it.
async fn fail_announcements(world: &World) -> anyhow::Result<()> {
    let rule = json!({
        "kind": "write_not_applied_timeout",
        "table": "outbox_messages",
        "count": 1_000_000,
        "probability": 0.33,
    });
    world.add_fault(&rule).await
}

type Keys = BTreeSet<(Uuid, i64)>;

async fn keys(session: &Session, table: &str) -> anyhow::Result<Keys> {
    let text = format!("SELECT aggregate_id, sequence_number FROM {table}");
    let mut rows = session.query_iter(text, ()).await?.rows_stream::<(Uuid, Option<i64>)>()?;
    let mut found = Keys::new();
    while let Some((id, version)) = futures::TryStreamExt::try_next(&mut rows).await? {
        // A partition may hold nothing but its fence.
        found.extend(version.map(|version| (id, version)));
    }
    Ok(found)
}

async fn writers(session: &Session) -> anyhow::Result<Vec<Uuid>> {
    let rows = session.query_unpaged("SELECT writer FROM writers", ()).await?.into_rows_result()?;
    Ok(rows.rows::<(Uuid,)>()?.map(|row| row.map(|(writer,)| writer)).collect::<Result<_, _>>()?)
}

/// Waits until what is stored is announced, and nothing else; gives how long it took.
async fn announced_within(session: &Session, bound: Duration) -> anyhow::Result<Duration> {
    let began = Instant::now();
    local_stack::wait_for("everything stored to be announced", bound, || async {
        let read = async |table| keys(session, table).await.map_err(|error| format!("{error:#}"));
        let (stored, announced) = (read("event_store").await?, read("outbox_messages").await?);
        if stored == announced && !stored.is_empty() {
            return Ok(());
        }
        let left: Vec<_> = stored.symmetric_difference(&announced).take(5).collect();
        Err(format!("{} stored, {} announced: {left:?}", stored.len(), announced.len()))
    })
    .await?;
    Ok(began.elapsed())
}

/// Lines of all processes' logs that say this.
fn lines(world: &World, what: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(world.logs())? {
        let text = std::fs::read_to_string(file?.path())?;
        found.extend(text.lines().filter(|line| line.contains(what)).map(str::to_owned));
    }
    Ok(found)
}

/// Events that settlements announced, as their lines say.
fn settled_events(lines: &[String]) -> u64 {
    let number = |line: &String| {
        line.split("events=").nth(1)?.split_whitespace().next()?.parse::<u64>().ok()
    };
    lines.iter().filter_map(number).sum()
}

async fn every_promise_is_kept(world: &World, told: Vec<Told>) -> anyhow::Result<()> {
    let open: Vec<_> =
        told.iter().filter(|told| !matches!(told.outcome, Outcome::Accepted(_))).collect();
    ensure!(open.is_empty(), "commands that were not accepted in the end: {open:#?}");
    let session = world.session().await?;
    let broker = &world.stack.addresses().broker;
    let expected = Expectations { told, complete: true };
    local_stack::wait_for("every promise to be kept", Duration::from_secs(90), || async {
        let dump = Dump::take(&session, broker, Duration::from_secs(60)).await;
        let violations = verify(&dump.map_err(|error| format!("{error:#}"))?, &expected);
        if violations.is_empty() { Ok(()) } else { Err(format!("{violations:#?}")) }
    })
    .await?;
    Ok(())
}

/// A look-up through a process that never saw the command.
async fn look_up(world: &World, told: &Told, replica: usize) -> anyhow::Result<Value> {
    let id = told.aggregate_id.unwrap_or_default();
    let client = world.client(replica);
    let url = format!("{}/v1/orders/{id}/commands/{}", client.commands, told.key);
    let answer = client.http.get(&url).await?;
    ensure!(answer.status.is_success(), "{} {}", answer.status, answer.body);
    Ok(answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn command_apis_killed_at_random_leave_nothing_unannounced() -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed());
    let world = World::start(Plan::command_apis(2)).await?;
    let session = world.session().await?;
    fail_announcements(&world).await?;
    let done = Arc::new(AtomicBool::new(false));
    let clients = || [world.client(0), world.client(1)];
    let load = join_all((0..CLIENTS).map(|turn| work(clients(), Arc::clone(&done), turn)));
    let nemesis = async {
        for _ in 0..KILLS {
            tokio::time::sleep(Duration::from_millis(random.random_range(200..1_500))).await;
            world.kill_and_wait(Process::Worker(COMMAND_API, random.random_range(0..2))).await?;
        }
        done.store(true, Ordering::Relaxed);
        anyhow::Ok(Instant::now())
    };
    let (told, last_kill) = tokio::join!(load, nemesis);
    let last_kill = last_kill?;
    let told = told.concat();
    let left = BOUND.saturating_sub(last_kill.elapsed()).max(GRACE / 2);
    let took = announced_within(&session, left).await?;
    // Writers that had nothing in hand are settled no earlier.
    local_stack::wait_for("the rows of the dead to be removed", BOUND, || async {
        let writers = writers(&session).await.map_err(|error| format!("{error:#}"))?;
        if writers.len() == 2 { Ok(()) } else { Err(format!("{writers:?}")) }
    })
    .await?;
    let settled = lines(&world, "dead writer settled")?;
    let events = settled_events(&settled);
    println!(
        "{} commands, {KILLS} kills, all announced {took:?} after the load: {} writers settled, \
         {events} events announced for them",
        told.len(),
        settled.len()
    );
    ensure!(events > 0, "the run is void: nobody died with something in hand");
    let anomalies = lines(&world, "an event was missed")?;
    ensure!(anomalies.is_empty(), "settled too late for the scanner: {anomalies:#?}");
    for (number, told) in told.iter().enumerate().step_by(50) {
        let found = look_up(&world, told, number % 2).await?;
        ensure!(found["state"] == "done", "{told:?}: {found}");
    }
    every_promise_is_kept(&world, told).await?;
    world.finish_after(|_| true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_api_that_stood_still_is_settled_and_starts_anew() -> anyhow::Result<()> {
    let world = World::start(Plan::command_apis(2)).await?;
    let session = world.session().await?;
    fail_announcements(&world).await?;
    let done = Arc::new(AtomicBool::new(false));
    let clients = || [world.client(0), world.client(1)];
    let load = join_all((0..CLIENTS).map(|turn| work(clients(), Arc::clone(&done), turn)));
    let sleeper = Process::Worker(COMMAND_API, 1);
    let nemesis = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let before = lines(&world, "dead writer settled")?.len();
            world.stack.signal(sleeper, Signal::Pause)?;
            local_stack::wait_for(
                "the other one to settle it",
                Duration::from_secs(60),
                || async {
                    let settled =
                        lines(&world, "dead writer settled").map_err(|e| format!("{e:#}"))?;
                    if settled.len() > before { Ok(()) } else { Err("not settled".to_owned()) }
                },
            )
            .await?;
            world.stack.signal(sleeper, Signal::Resume)?;
        }
        let anew = "declared dead by another process, starting anew";
        local_stack::wait_for("the sleeper to notice", Duration::from_secs(30), || async {
            let lines = lines(&world, anew).map_err(|error| format!("{error:#}"))?;
            if lines.len() >= 2 { Ok(()) } else { Err(format!("{lines:?}")) }
        })
        .await?;
        done.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let (told, ended) = tokio::join!(load, nemesis);
    ended?;
    let took = announced_within(&session, BOUND).await?;
    let told = told.concat();
    println!("{} commands, everything announced after {took:?}", told.len());
    for (number, told) in told.iter().enumerate().step_by(50) {
        let found = look_up(&world, told, number % 2).await?;
        ensure!(found["state"] == "done", "{told:?}: {found}");
    }
    every_promise_is_kept(&world, told).await?;
    world.client(1).create().await?;
    world.finish_after(|_| true).await
}
