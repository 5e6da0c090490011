//! Replicas come, go, die and stand still under load; the slots follow, and every promise holds.

use anyhow::{Context, ensure};
use futures::future::join_all;
use harness::names::{COMMAND_API, OUTBOX_RELAY, PROJECTION_WORKER};
use harness::{Client, Dump, Expectations, Outcome, Plan, Told, World, progress, verify};
use hyper::Method;
use local_stack::{Process, Replicas, Signal};
use scylla::client::session::Session;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
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
    local_stack::wait_for(&format!("{group} to be shared by {count}"), SOON, || async {
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
        local_stack::wait_for("the read model", SOON, || async {
            let answer = client.http.get(&url).await.map_err(|error| format!("{error:#}"))?;
            if answer.status.is_success() { Ok(()) } else { Err(answer.body.to_string()) }
        })
        .await?;
    }
    Ok(())
}

async fn grow_and_shrink(world: &World, session: &Session) -> anyhow::Result<()> {
    let stack = &world.stack;
    let workers = |replica| {
        [Process::Worker(PROJECTION_WORKER, replica), Process::Worker(OUTBOX_RELAY, replica)]
    };
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
    let group =
        if matches!(process, Process::Worker(OUTBOX_RELAY, _)) { "relay" } else { "projections" };
    shared_by(session, group, count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_slots_as_they_come_go_die_and_stand_still() -> anyhow::Result<()> {
    let replicas = Replicas::of([(PROJECTION_WORKER, 4), (OUTBOX_RELAY, 4)]);
    let world = World::start(Plan { replicas, alone: true, ..Plan::default() }).await?;
    for replica in 1..4 {
        world.stack.stop(Process::Worker(PROJECTION_WORKER, replica), Signal::Terminate).await?;
        world.stack.stop(Process::Worker(OUTBOX_RELAY, replica), Signal::Terminate).await?;
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
    local_stack::wait_for("every promise to be kept", Duration::from_secs(90), || async {
        let dump = Dump::take(&session, &broker, Duration::from_secs(60)).await;
        let violations = verify(&dump.map_err(|error| format!("{error:#}"))?, &expected);
        if violations.is_empty() { Ok(()) } else { Err(format!("{violations:#?}")) }
    })
    .await?;
    // What a process that stood still finds, and librdkafka while the broker starts.
    // A request that was in flight when it was stopped may be over its time when it goes on.
    const KNOWN: [&str; 6] = [
        "slot lost",
        "lease",
        "confirm pass holds",
        "is not held here",
        "exceeded a client timeout",
        "librdkafka",
    ];
    world.finish_after(|line| KNOWN.iter().any(|known| line.contains(known))).await
}

/// Requests that the engine counted so far, by their kind and table.
type Requests = BTreeMap<String, f64>;

async fn requests(client: &Client, metrics: &str) -> anyhow::Result<Requests> {
    let url = format!("http://{metrics}/metrics");
    let answer = client.http.get(&url).await?;
    let text = answer.body.as_str().context("the engine's metrics are text")?;
    let counters = text.lines().filter(|line| line.starts_with("requests_total{"));
    let counters: Requests = counters
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(labels, count)| Some((labels.to_owned(), count.parse().ok()?)))
        .collect();
    ensure!(!counters.is_empty(), "the engine counts nothing");
    Ok(counters)
}

/// Requests per second of an idle system over a while.
async fn idle_cost(client: &Client, metrics: &str) -> anyhow::Result<Requests> {
    const WATCHED: Duration = Duration::from_secs(15);
    let (began, before) = (Instant::now(), requests(client, metrics).await?);
    tokio::time::sleep(WATCHED).await;
    let (took, mut after) = (began.elapsed().as_secs_f64(), requests(client, metrics).await?);
    for (labels, count) in &mut after {
        *count = (*count - before.get(labels).copied().unwrap_or_default()) / took;
    }
    Ok(after)
}

/// Waits until nothing of the ledger is left to be scanned by consumers that came to a slot anew.
async fn caught_up(session: &Session) -> anyhow::Result<()> {
    local_stack::wait_for("every slot to be caught up", SOON, || async {
        let progress = progress(session).await.map_err(|error| format!("{error:#}"))?;
        let left = progress.catching_up;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await?;
    Ok(())
}

/// Waits until every slot of a group is settled up to now: who took one reads a part of the log again at first.
async fn settled(session: &Session, group: &str) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let now = i64::try_from(now)?;
    local_stack::wait_for(&format!("the slots of {group} to be settled"), SOON, || async {
        let text = "SELECT group, checkpoint_us FROM slots";
        let rows = session.query_unpaged(text, ()).await.map_err(|error| error.to_string())?;
        let rows = rows.into_rows_result().map_err(|error| error.to_string())?;
        let rows = rows.rows::<(String, Option<i64>)>().map_err(|error| error.to_string())?;
        let rows: Vec<_> = rows.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let behind = |(of, checkpoint): &&(String, Option<i64>)| {
            of == group && checkpoint.is_none_or(|checkpoint| checkpoint < now)
        };
        let left = rows.iter().filter(behind).count();
        if left == 0 { Ok(()) } else { Err(format!("{left} slots are not")) }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_idle_replica_asks_for_little() -> anyhow::Result<()> {
    const MORE_MAX: f64 = 20.0;
    /// `cdc.idle_queries_per_second` of both groups. A busy machine looks less often than that, and what
    /// two replicas then make up for is not what the second one costs.
    const LOG_BUDGET: f64 = 2.0 * 50.0;
    let replicas = Replicas::of([(COMMAND_API, 2), (PROJECTION_WORKER, 2), (OUTBOX_RELAY, 2)]);
    let world = World::start(Plan { replicas, ..Plan::default() }).await?;
    let seconds = [
        (Process::Worker(PROJECTION_WORKER, 1), Some("projections")),
        (Process::Worker(OUTBOX_RELAY, 1), Some("relay")),
        (Process::Worker(COMMAND_API, 1), None),
    ];
    let session = world.session().await?;
    let client = world.client(0);
    let metrics = world.stack.addresses().engine_metrics.clone();
    for (process, _) in seconds {
        world.stack.stop(process, Signal::Terminate).await?;
    }
    for group in ["projections", "relay"] {
        shared_by(&session, group, 1).await?;
        settled(&session, group).await?;
    }
    caught_up(&session).await?;
    let sum = |requests: &Requests| requests.values().sum::<f64>();
    let of_log = |requests: &Requests| -> f64 {
        let log = requests.iter().filter(|(labels, _)| labels.contains("_scylla_cdc_log"));
        log.map(|(_, count)| count).sum()
    };
    let mut before = idle_cost(&client, &metrics).await?;
    println!("one replica of each asks {:.1} times a second", sum(&before));
    // What one idle worker asks for would not pass for little.
    ensure!(sum(&before) > 2.0 * MORE_MAX, "so few requests cannot be all: {before:#?}");
    for (process, group) in seconds {
        world.stack.resume(process).await?;
        world.stack.ready_one(process).await?;
        if let Some(group) = group {
            shared_by(&session, group, 2).await?;
            settled(&session, group).await?;
        }
        caught_up(&session).await?;
        let after = idle_cost(&client, &metrics).await?;
        let (log_before, log_after) = (of_log(&before), of_log(&after));
        let more = sum(&after) - log_after - (sum(&before) - log_before)
            + (log_after - log_before.max(LOG_BUDGET)).max(0.0);
        println!("with {} they ask {:.1} times: {more:+.1}", process.name(), sum(&after));
        for (labels, count) in &after {
            let more = count - before.get(labels).copied().unwrap_or_default();
            if more.abs() >= 0.5 {
                println!("    {more:+6.1}  {labels}");
            }
        }
        ensure!(more <= MORE_MAX, "{} costs {more:.1} requests/s", process.name());
        before = after;
    }
    // A machine that is busy with other things may be too slow for a request now and then.
    world.finish_after(|line| line.contains("exceeded a client timeout")).await
}
