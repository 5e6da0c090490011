//! Outages and poison under load: an outage makes no dead letter and leaves no hot loop, poison stops
//! its own aggregate and nothing else, and whatever waited is handled in order in the end.

use anyhow::{Context, ensure};
use dev_stack::{Process, Signal, Whom, wait_for};
use futures::future::join_all;
use harness::{
    Client, Dump, Expectations, Plan, Poison, PoisonEffect, Poisoned, World, hooked_binaries,
    letters, verify,
};
use hyper::Method;
use scylla::client::session::Session;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(60);
/// As configured by default, and as the projections are.
const SLOTS: usize = 16;
const CONSUMERS: usize = 2;
/// How long a target is away.
const OUTAGE: Duration = Duration::from_secs(15);
/// More attempts per second than a breaker's probes, the consumers' own retries and the pauses of all
/// who have something in hand can make; far below what a loop without pauses makes.
const ATTEMPTS_PER_SECOND_MAX: f64 = 60.0;

/// Short attempts, so that many fit an outage.
fn plan() -> Plan {
    let set = |program, name: &str, value: &str| {
        (Whom::Program(program), name.to_owned(), value.to_owned())
    };
    let mut env_of = Vec::new();
    for program in ["outbox-relay", "dlq-retrier"] {
        env_of.push(set(program, "APP__KAFKA__MESSAGE_TIMEOUT_MS", "1500"));
    }
    for (name, value) in [("INITIAL_MS", "200"), ("MAX_MS", "1000")] {
        env_of.push(set("dlq-retrier", &format!("APP__RETRY__BACKOFF__{name}"), value));
    }
    env_of.push(set("dlq-retrier", "APP__RETRY__SCAN_INTERVAL_MS", "300"));
    Plan { env_of, ..Plan::default() }
}

/// Creates orders, one client after the other's answer, until told to stop. Gives the accepted ones.
async fn load(clients: Vec<Client>, stop: &AtomicBool) -> Vec<Uuid> {
    let work = clients.into_iter().map(|client| async move {
        let mut made = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            // One that fails until the client gives up is not counted, and nobody promised it.
            made.extend(client.create().await.ok());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        made
    });
    join_all(work).await.concat()
}

/// The sum of a metric's series that have all these labels.
async fn metric(world: &World, process: Process, name: &str, labels: &[&str]) -> f64 {
    series(world, process, name, labels).await.into_iter().sum()
}

/// The values of those series.
async fn series(world: &World, process: Process, name: &str, labels: &[&str]) -> Vec<f64> {
    let address = world.stack.addresses().metrics(process).unwrap_or_default();
    let answer = world.client(0).http.get(&format!("http://{address}/metrics")).await;
    let text = answer.map(|answer| answer.body.as_str().unwrap_or_default().to_owned());
    let text = text.unwrap_or_default();
    let is_meant = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|part| line.contains(part))
    };
    let values = text.lines().filter(is_meant).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).collect()
}

/// Nothing is left to do, and every promise is kept.
async fn all_is_well(world: &World, session: &Session, made: &[Uuid]) -> anyhow::Result<()> {
    let broker = &world.stack.addresses().broker;
    wait_for("everything to be where it belongs", SOON, || async {
        let dump = Dump::take(session, broker, SOON).await.map_err(|error| format!("{error:#}"))?;
        let violations = verify(&dump, &Expectations::default());
        let missing = made.iter().filter(|id| dump.version(**id) == 0).count();
        if violations.is_empty() && missing == 0 {
            Ok(())
        } else {
            Err(format!("{missing} missing, {} violations: {violations:#?}", violations.len()))
        }
    })
    .await?;
    Ok(())
}

/// Looks again and again until the time is over; whether there ever was a letter.
async fn letters_within(session: &Session, time: Duration) -> usize {
    let until = Instant::now() + time;
    let mut most = 0;
    while Instant::now() < until {
        if let Ok(found) = letters(session).await {
            most = most.max(found.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    most
}

/// Letters that a worker ever made.
async fn letters_made(world: &World) -> f64 {
    let mut made = 0.0;
    for process in [Process::ProjectionWorker(0), Process::OutboxRelay(0)] {
        made += metric(world, process, "cdc_dead_letters_total", &[]).await;
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_down_nothing_is_written_off_and_attempts_are_few() -> anyhow::Result<()>
{
    let world = World::start(plan()).await?;
    let session = world.session().await?;
    let stop = AtomicBool::new(false);
    let clients = (0..8).map(|_| world.client(0)).collect();
    let outage = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.stack.stop(Process::Broker, Signal::Kill).await?;
        let relay = Process::OutboxRelay(0);
        let failed =
            async || metric(&world, relay, "relay_published_total", &["outcome=\"failed\""]).await;
        let (before, begun) = (failed().await, Instant::now());
        let seen = letters_within(&session, OUTAGE).await;
        let rate = (failed().await - before) / begun.elapsed().as_secs_f64();
        let labels = ["target=\"broker\"", "state=\"closed\""];
        let is_closed = metric(&world, relay, "circuit_breaker_state", &labels).await;
        world.stack.resume(Process::Broker).await?;
        stop.store(true, Ordering::Relaxed);
        println!("{rate:.1} failed attempts per second while the broker was down");
        ensure!(seen == 0, "{seen} letters in an outage");
        ensure!(rate > 0.0 && rate < ATTEMPTS_PER_SECOND_MAX, "{rate} attempts per second");
        ensure!(is_closed == 0.0, "the circuit breaker is closed in an outage");
        anyhow::Ok(())
    };
    let (made, outage) = tokio::join!(load(clients, &stop), outage);
    outage?;
    ensure!(made.len() > 50, "only {} orders in an outage of the broker", made.len());
    all_is_well(&world, &session, &made).await?;
    ensure!(letters_made(&world).await == 0.0, "letters were made");
    world.finish_after(|_| true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_down_nothing_is_written_off() -> anyhow::Result<()> {
    let world = World::start(plan()).await?;
    let session = world.session().await?;
    let stop = AtomicBool::new(false);
    let clients = (0..8).map(|_| world.client(0)).collect();
    let outage = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.stack.stop(Process::Engine, Signal::Kill).await?;
        tokio::time::sleep(OUTAGE).await;
        world.stack.resume(Process::Engine).await?;
        stop.store(true, Ordering::Relaxed);
        world.stack.ready().await
    };
    let (made, outage) = tokio::join!(load(clients, &stop), outage);
    outage?;
    ensure!(made.len() > 20, "only {} orders", made.len());
    all_is_well(&world, &session, &made).await?;
    ensure!(letters_made(&world).await == 0.0, "letters were made");
    world.finish_after(|_| true).await
}

fn poison(consumer: &str, events: Poisoned, effect: PoisonEffect) -> Poison {
    Poison { consumer: consumer.to_owned(), events, effect }
}

/// An order that goes through `PUT items` so many times.
async fn life(client: &Client, changes: u32) -> anyhow::Result<Uuid> {
    let id = client.create().await?;
    for change in 0..changes {
        let body = json!({"items": dev_stack::demo::items(change + 2)});
        let path = format!("/v1/orders/{id}/items");
        client.settle(Method::PUT, &path, &Uuid::now_v7().to_string(), &body).await;
    }
    Ok(id)
}

/// The stored id of an event.
async fn event_id(session: &Session, id: Uuid, version: i64) -> anyhow::Result<Uuid> {
    let cql = "SELECT event_id FROM event_store WHERE aggregate_id = ? AND sequence_number = ?";
    let rows = session.query_unpaged(cql, (id, version)).await?.into_rows_result()?;
    let (event_id,) = rows.single_row::<(Option<Uuid>,)>()?;
    event_id.context("the event has no id")
}

/// Waits until the letters are as wanted.
async fn until(
    session: &Session,
    what: &str,
    wanted: impl Fn(&[harness::LetterRow]) -> bool,
) -> anyhow::Result<()> {
    wait_for(what, SOON, || async {
        let found = letters(session).await.map_err(|error| format!("{error:#}"))?;
        if wanted(&found) { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_one_type_stops_its_own_aggregates_and_is_healed_by_the_next_release()
-> anyhow::Result<()> {
    let world = World::start_with(hooked_binaries().await?, plan()).await?;
    let session = world.session().await?;
    let of_type = Poisoned::OfType("OrderItemsUpdated".to_owned());
    let storm = [
        poison("orders@1", of_type.clone(), PoisonEffect::Refuse),
        poison("relay", of_type, PoisonEffect::Refuse),
    ];
    world.poison(&storm)?;
    let client = world.client(0);
    let (changed, plain) = tokio::join!(
        join_all((0..30).map(|_| life(&client, 3))),
        join_all((0..30).map(|_| life(&client, 0))),
    );
    let changed: Vec<Uuid> = changed.into_iter().collect::<anyhow::Result<_>>()?;
    let plain: Vec<Uuid> = plain.into_iter().collect::<anyhow::Result<_>>()?;
    until(&session, "a letter for each, in both consumers", |found| found.len() == 60).await?;
    ensure!(letters(&session).await?.iter().all(|row| row.version == 2), "the head is stored");
    // Those without an event of the type went through.
    let (mut shown, cql) = (0, "SELECT version FROM order_read_model WHERE order_id = ?");
    for id in &plain {
        let rows = session.query_unpaged(cql, (*id,)).await?.into_rows_result()?;
        shown += usize::from(rows.maybe_first_row::<(i64,)>()?.is_some());
    }
    ensure!(shown == plain.len(), "only {shown} of {} others are shown", plain.len());
    // What never heals is parked in the end, and a person has it retried after the release.
    until(&session, "all to be parked", |found| {
        found.len() == 60 && found.iter().all(|row| row.state == "parked")
    })
    .await?;
    world.poison(&[])?;
    let retried = world.esctl(&["dlq", "retry-all", "--state", "parked"]).await?;
    ensure!(retried.as_array().map(Vec::len) == Some(60), "{retried}");
    until(&session, "all letters to go", |found| found.is_empty()).await?;
    all_is_well(&world, &session, &[changed, plain].concat()).await?;
    world.finish_after(|_| true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_ends_its_process_is_parked_by_worker_and_retrier() -> anyhow::Result<()> {
    let world = World::start_with(hooked_binaries().await?, plan()).await?;
    let session = world.session().await?;
    let client = world.client(0);
    // The worker is away while the event becomes known.
    let worker = Process::ProjectionWorker(0);
    world.stack.stop(worker, Signal::Terminate).await?;
    let bad = life(&client, 2).await?;
    let good = life(&client, 2).await?;
    let events = Poisoned::One(event_id(&session, bad, 2).await?);
    world.poison(&[poison("orders@1", events, PoisonEffect::Abort)])?;
    world.stack.resume(worker).await?;
    let is_of = |row: &harness::LetterRow| row.aggregate_id == bad && row.version == 2;
    wait_for("a letter, and the other order", SOON * 2, || async {
        let found = letters(&session).await.map_err(|error| format!("{error:#}"))?;
        if found.len() == 1 && is_of(&found[0]) { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await?;
    wait_for("the retrier to park it", SOON * 2, || async {
        let found = letters(&session).await.map_err(|error| format!("{error:#}"))?;
        let is_parked = found.len() == 1 && is_of(&found[0]) && found[0].state == "parked";
        if is_parked { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await?;
    // It is only listed, and nobody dies of it any more.
    world.stack.ready().await?;
    let dump = world.esctl(&["dlq", "show", "orders@1", &bad.to_string()]).await?;
    ensure!(dump["state"] == "parked", "{dump}");
    world.poison(&[])?;
    world.esctl(&["dlq", "retry", "orders@1", &bad.to_string()]).await?;
    all_is_well(&world, &session, &[bad, good]).await?;
    world.finish_after(|_| true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_letters_cannot_be_stored_their_aggregates_wait_and_no_other()
-> anyhow::Result<()> {
    let world = World::start_with(hooked_binaries().await?, plan()).await?;
    let session = world.session().await?;
    let client = world.client(0);
    // Letters are loaded before the work on a slot begins: first all slots are at work.
    wait_for("all slots to be at work", SOON, || async {
        let at_work = series(&world, Process::ProjectionWorker(0), "cdc_lag_seconds", &[]).await;
        if at_work.len() == CONSUMERS * SLOTS { Ok(()) } else { Err(format!("{at_work:?}")) }
    })
    .await?;
    let port = world.stack.addresses().engine_faults.clone().context("a fault port")?;
    let faults = format!("http://{port}/faults");
    let rule: Value =
        json!({"kind": "unavailable", "table": "dead_letter_queue", "count": 1_000_000});
    let headers = [("content-type", "application/json")];
    let set =
        client.http.request(Method::POST, &faults, &headers, Some(rule.to_string().into())).await?;
    ensure!(set.status.is_success(), "{} {}", set.status, set.body);
    let events = Poisoned::OfType("OrderItemsUpdated".to_owned());
    world.poison(&[poison("orders@1", events, PoisonEffect::Refuse)])?;
    let bad = life(&client, 2).await?;
    // Others are shown within seconds, as ever.
    for _ in 0..5 {
        let good = client.create().await?;
        let cql = "SELECT version FROM order_read_model WHERE order_id = ?";
        wait_for("another order to be shown", Duration::from_secs(10), || async {
            let rows = session.query_unpaged(cql, (good,)).await.map_err(|e| format!("{e:#}"))?;
            let rows = rows.into_rows_result().map_err(|e| format!("{e:#}"))?;
            if rows.rows_num() == 1 { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await?;
    }
    let cleared = client.http.request(Method::DELETE, &faults, &[], None).await?;
    ensure!(cleared.status.is_success(), "{} {}", cleared.status, cleared.body);
    until(&session, "the letter to be stored", |found| {
        found.len() == 1 && found[0].aggregate_id == bad && found[0].version == 2
    })
    .await?;
    world.poison(&[])?;
    world.esctl(&["dlq", "retry", "orders@1", &bad.to_string()]).await?;
    all_is_well(&world, &session, &[bad]).await?;
    world.finish_after(|_| true).await
}

/// Upper bounds of a histogram's buckets and how many observations lie below each.
async fn buckets(world: &World, process: Process, name: &str) -> Vec<(f64, f64)> {
    let address = world.stack.addresses().metrics(process).unwrap_or_default();
    let answer = world.client(0).http.get(&format!("http://{address}/metrics")).await;
    let text = answer.map(|answer| answer.body.as_str().unwrap_or_default().to_owned());
    let text = text.unwrap_or_default();
    let mut found: Vec<(f64, f64)> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with(&format!("{name}_bucket"))) {
        let Some((_, bound)) = line.split_once("le=\"") else { continue };
        let bound = bound.split('"').next().unwrap_or_default();
        let bound: f64 = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap_or(0.0) };
        let count = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0.0);
        match found.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => found.push((bound, count)),
        }
    }
    found
}

/// What came between two looks.
fn since(before: &[(f64, f64)], now: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let earlier = |bound| before.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, n)| *n);
    now.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect()
}

/// The middle one, the lower of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// The 99th percentile, between the bounds of its bucket by the share of it that is needed.
fn p99(buckets: &[(f64, f64)]) -> f64 {
    let total = buckets.iter().map(|(_, count)| *count).fold(0.0, f64::max);
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= total * 0.99 {
            let share = (total * 0.99 - below) / (count - below).max(1.0);
            return if bound.is_finite() { low + (bound - low) * share } else { f64::INFINITY };
        }
        (low, below) = (*bound, *count);
    }
    f64::INFINITY
}

#[tokio::test(flavor = "multi_thread")]
async fn rare_poison_delays_nobody_else() -> anyhow::Result<()> {
    const ROUNDS: usize = 4;
    const ORDERS: usize = 120;
    /// A machine that is busy otherwise; a lane that waits for a letter takes seconds.
    const NOISE: f64 = 0.25;
    let _alone = harness::alone().await;
    let world = World::start_with(hooked_binaries().await?, plan()).await?;
    let session = world.session().await?;
    let (client, worker) = (world.client(0), Process::ProjectionWorker(0));
    let look = async || buckets(&world, worker, "projection_freshness_seconds").await;
    let (mut clean, mut poisoned) = (Vec::new(), Vec::new());
    let mut made = Vec::new();
    for round in 0..ROUNDS * 2 {
        let is_poisoned = round % 2 == 1;
        let rare = poison("orders@1", Poisoned::Every(60), PoisonEffect::Refuse);
        world.poison(if is_poisoned { std::slice::from_ref(&rare) } else { &[] })?;
        let before = look().await;
        for _ in 0..ORDERS / 12 {
            let lives = join_all((0..12).map(|_| life(&client, 2))).await;
            made.extend(lives.into_iter().collect::<anyhow::Result<Vec<Uuid>>>()?);
        }
        let round = p99(&since(&before, &look().await));
        if is_poisoned { &mut poisoned } else { &mut clean }.push(round);
        if is_poisoned {
            ensure!(!letters(&session).await?.is_empty(), "nothing was poisoned");
            world.poison(&[])?;
            world.esctl(&["dlq", "retry-all"]).await?;
            until(&session, "the letters to go", |found| found.is_empty()).await?;
        }
    }
    println!("99th percentiles of the freshness: {clean:.3?} s clean, {poisoned:.3?} s with poison");
    // A disk that stands still for a second spoils a round; what poison does it does in each of them.
    let (clean, poisoned) = (median(clean), median(poisoned));
    ensure!(poisoned <= clean * 2.0 + NOISE, "{poisoned} s with poison, {clean} s without");
    world.poison(&[])?;
    all_is_well(&world, &session, &made).await?;
    world.finish_after(|_| true).await
}
