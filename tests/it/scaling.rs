//! Replicas come, go, die and stand still under load; the slots follow, and every promise holds.

use dev_stack::{Process, Replicas, Signal};
use futures::future::join_all;
use harness::{Client, Dump, Expectations, Outcome, Plan, Told, World, verify};
use hyper::Method;
use scylla::client::session::Session;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

const CLIENTS: usize = 6;
/// The default term of a lease.
const TERM: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_secs(60);

/// Creates and confirms orders, one after the other, until told to stop.
async fn work(client: Client, done: Arc<AtomicBool>) -> Vec<Told> {
    let mut told = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let id = Uuid::now_v7();
        let mut body = dev_stack::demo::create_order(Uuid::now_v7(), dev_stack::demo::items(1));
        body["order_id"] = json!(id);
        let confirm = format!("/v1/orders/{id}/confirm");
        for (path, body) in [("/v1/orders", &body), (confirm.as_str(), &json!({}))] {
            let key = Uuid::now_v7().to_string();
            let outcome = client.settle(Method::POST, path, &key, body).await;
            told.push(Told { aggregate_id: Some(id), key, outcome });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    told
}

/// How many slots of a group each owner has, by the rows.
async fn owners(session: &Session, group: &str) -> Result<BTreeMap<Option<Uuid>, usize>, String> {
    let text = "SELECT group, owner FROM slots";
    let rows = session.query_unpaged(text, ()).await.map_err(|error| error.to_string())?;
    let rows = rows.into_rows_result().map_err(|error| error.to_string())?;
    let mut owners = BTreeMap::new();
    for row in rows.rows::<(String, Option<Uuid>)>().map_err(|error| error.to_string())? {
        let (of, owner) = row.map_err(|error| error.to_string())?;
        if of == group {
            *owners.entry(owner).or_default() += 1;
        }
    }
    Ok(owners)
}

/// Waits until a group's slots are shared by so many owners, none with two more than another.
async fn shared_by(session: &Session, group: &str, count: usize) -> anyhow::Result<Duration> {
    let began = Instant::now();
    dev_stack::wait_for(&format!("{group} to be shared by {count}"), SOON, || async {
        let owners = owners(session, group).await?;
        let (least, most) = (owners.values().min(), owners.values().max());
        let is_fair = most <= least.map(|least| least + 1).as_ref();
        if owners.len() == count && is_fair && !owners.contains_key(&None) {
            Ok(())
        } else {
            Err(format!("{owners:?}"))
        }
    })
    .await?;
    Ok(began.elapsed())
}

/// Waits until an event that is created now by each of many aggregates was handled.
async fn handled(client: &Client) -> anyhow::Result<()> {
    // 32 aggregates fall into nearly every slot.
    let ids = join_all((0..32).map(|_| client.create())).await;
    for id in ids {
        let url = format!("{}/v1/orders/{}", client.queries, id?);
        dev_stack::wait_for("the read model", SOON, || async {
            let answer = client.http.get(&url).await.map_err(|error| format!("{error:#}"))?;
            if answer.status.is_success() { Ok(()) } else { Err(answer.body.to_string()) }
        })
        .await?;
    }
    Ok(())
}

async fn grow_and_shrink(world: &World, session: &Session) -> anyhow::Result<()> {
    let stack = &world.stack;
    let workers = |replica| [Process::ProjectionWorker(replica), Process::OutboxRelay(replica)];
    let both = async |count: usize| {
        let shared = tokio::try_join!(
            shared_by(session, "projections", count),
            shared_by(session, "relay", count)
        );
        shared.map(|(one, other)| one.max(other))
    };
    println!("1 replica has everything after {:?}", both(1).await?);
    for replica in 1..4 {
        for process in workers(replica) {
            stack.resume(process).await?;
        }
    }
    println!("4 replicas share after {:?}", both(4).await?);
    handled(&world.client(0)).await?;

    // A clean stop: the slots move at once.
    for process in workers(3) {
        stack.stop(process, Signal::Terminate).await?;
        let took = both_of(session, process, 3).await?;
        println!("{} ended, its slots moved within {took:?}", process.name());
        assert!(took < Duration::from_secs(1), "hand-over took {took:?}");
    }
    // A zombie: it stands still for longer than a term, its slots move, it goes on.
    for process in workers(1) {
        stack.signal(process, Signal::Pause)?;
        let took = both_of(session, process, 2).await?;
        println!("{} stands still, its slots moved after {took:?}", process.name());
    }
    handled(&world.client(0)).await?;
    for process in workers(1) {
        stack.signal(process, Signal::Resume)?;
        println!(
            "{} goes on, shares after {:?}",
            process.name(),
            both_of(session, process, 3).await?
        );
    }
    // A death.
    for process in workers(2) {
        stack.stop(process, Signal::Kill).await?;
        let took = both_of(session, process, 2).await?;
        println!("{} was killed, its slots moved within {took:?}", process.name());
        assert!(took < TERM + Duration::from_secs(1), "take-over took {took:?}");
    }
    handled(&world.client(0)).await
}

/// Waits until the group of this process is shared by so many.
async fn both_of(session: &Session, process: Process, count: usize) -> anyhow::Result<Duration> {
    let group = if matches!(process, Process::OutboxRelay(_)) { "relay" } else { "projections" };
    shared_by(session, group, count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_slots_as_they_come_go_die_and_stand_still() -> anyhow::Result<()> {
    let replicas = Replicas { command_apis: 1, projection_workers: 4, outbox_relays: 4 };
    let world = World::start(Plan { replicas, ..Plan::default() }).await?;
    for replica in 1..4 {
        world.stack.stop(Process::ProjectionWorker(replica), Signal::Terminate).await?;
        world.stack.stop(Process::OutboxRelay(replica), Signal::Terminate).await?;
    }
    let session = world.session().await?;
    let done = Arc::new(AtomicBool::new(false));
    let clients = join_all((0..CLIENTS).map(|_| work(world.client(0), done.clone())));
    let changes = async {
        let changed = grow_and_shrink(&world, &session).await;
        done.store(true, Ordering::Relaxed);
        changed
    };
    let (told, changed) = tokio::join!(clients, changes);
    changed?;
    let told = told.concat();
    let refused = told.iter().filter(|told| !matches!(told.outcome, Outcome::Accepted(_)));
    let refused: Vec<_> = refused.collect();
    assert!(refused.is_empty(), "{refused:#?}");
    println!("{} commands meanwhile", told.len());
    assert!(told.len() > 200, "too little load to mean anything: {}", told.len());

    let broker = world.stack.addresses().broker.clone();
    let expected = Expectations { told, complete: false };
    dev_stack::wait_for("every promise to be kept", Duration::from_secs(90), || async {
        let dump = Dump::take(&session, &broker, Duration::from_secs(60)).await;
        let violations = verify(&dump.map_err(|error| format!("{error:#}"))?, &expected);
        if violations.is_empty() { Ok(()) } else { Err(format!("{violations:#?}")) }
    })
    .await?;
    // What a process that stood still finds, and librdkafka while the broker starts.
    const KNOWN: [&str; 5] =
        ["slot lost", "lease", "confirm pass holds", "is not held here", "librdkafka"];
    world.finish_after(|line| KNOWN.iter().any(|known| line.contains(known))).await
}

/// Statements that the engine executed so far, but for reads of the log.
async fn requests(client: &Client, metrics: &str) -> anyhow::Result<f64> {
    let url = format!("http://{metrics}/metrics");
    let answer = client.http.get(&url).await?;
    let text = answer.body.as_str().unwrap_or_default();
    let counters = text
        .lines()
        .filter(|line| line.starts_with("requests_total{") && !line.contains("_scylla_cdc_log"));
    Ok(counters.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_idle_replica_asks_for_little() -> anyhow::Result<()> {
    const WATCHED: Duration = Duration::from_secs(10);
    let replicas = Replicas { projection_workers: 2, ..Replicas::default() };
    let world = World::start(Plan { replicas, ..Plan::default() }).await?;
    let second = Process::ProjectionWorker(1);
    let session = world.session().await?;
    let client = world.client(0);
    let metrics = world.stack.addresses().engine_metrics.clone();
    let cost = async || {
        let before = requests(&client, &metrics).await?;
        anyhow::ensure!(before > 0.0, "the engine counts nothing");
        tokio::time::sleep(WATCHED).await;
        anyhow::Ok((requests(&client, &metrics).await? - before) / WATCHED.as_secs_f64())
    };
    world.stack.stop(second, Signal::Terminate).await?;
    shared_by(&session, "projections", 1).await?;
    let alone = cost().await?;
    world.stack.resume(second).await?;
    world.stack.ready_one(second).await?;
    shared_by(&session, "projections", 2).await?;
    let together = cost().await?;
    println!(
        "requests per second beside reads of the log: {alone:.1} alone, {together:.1} together"
    );
    assert!(together - alone <= 20.0, "a second replica costs {:.1}", together - alone);
    world.finish_after(|_| false).await
}
