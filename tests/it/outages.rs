//! Outages and poison under load: an outage makes no dead letter and leaves no hot loop, poison stops
//! its own aggregate and nothing else, and whatever waited is handled in order in the end.

use anyhow::{Context, ensure};
use dev_stack::{Process, Signal, wait_for};
use futures::future::join_all;
use harness::outages::{all_is_well, life, plan, poison, series, shown_version, until};
use harness::outages::{survives_poison_storm, survives_without_broker, survives_without_database};
use harness::{PoisonEffect, Poisoned, World, hooked_binaries, letters};
use hyper::Method;
use scylla::client::session::Session;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(60);
/// As configured by default, and as the projections are.
const SLOTS: usize = 16;
const CONSUMERS: usize = 2;
/// How long a target is away. Longer ones: `cargo run -p system-tests -- soak`.
const OUTAGE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_down_nothing_is_written_off_and_attempts_are_few() -> anyhow::Result<()>
{
    survives_without_broker(OUTAGE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_down_nothing_is_written_off() -> anyhow::Result<()> {
    survives_without_database(OUTAGE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_one_type_stops_its_own_aggregates_and_is_healed_by_the_next_release()
-> anyhow::Result<()> {
    survives_poison_storm(Duration::ZERO).await
}

/// The stored id of an event.
async fn event_id(session: &Session, id: Uuid, version: i64) -> anyhow::Result<Uuid> {
    let cql = "SELECT event_id FROM event_store WHERE aggregate_id = ? AND sequence_number = ?";
    let rows = session.query_unpaged(cql, (id, version)).await?.into_rows_result()?;
    let (event_id,) = rows.single_row::<(Option<Uuid>,)>()?;
    event_id.context("the event has no id")
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_may_be_the_first_or_the_last_event_of_its_aggregate() -> anyhow::Result<()> {
    let world = World::start_with(hooked_binaries().await?, plan()).await?;
    let session = world.session().await?;
    let client = world.client(0);
    // The worker is away while the events become known.
    let worker = Process::ProjectionWorker(0);
    world.stack.stop(worker, Signal::Terminate).await?;
    let (first, last) = (life(&client, 2).await?, life(&client, 2).await?);
    let good = life(&client, 2).await?;
    let mut poisoned = Vec::new();
    for (id, version) in [(first, 1), (last, 3)] {
        let event = Poisoned::One(event_id(&session, id, version).await?);
        poisoned.push(poison("orders@1", event, PoisonEffect::Refuse));
    }
    world.poison(&poisoned)?;
    world.stack.resume(worker).await?;
    until(&session, "a letter for each", |found| {
        let is_there =
            |id, version| found.iter().any(|row| row.aggregate_id == id && row.version == version);
        found.len() == 2 && is_there(first, 1) && is_there(last, 3)
    })
    .await?;
    wait_for("the other order", SOON, || async {
        let found = shown_version(&session, good).await.map_err(|error| format!("{error:#}"))?;
        if found == Some(3) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await?;
    ensure!(shown_version(&session, first).await?.is_none(), "what comes after the first waits");
    ensure!(shown_version(&session, last).await? == Some(2), "what comes before the last does not");
    world.poison(&[])?;
    world.esctl(&["dlq", "retry-all"]).await?;
    until(&session, "the letters to go", |found| found.is_empty()).await?;
    all_is_well(&world, &session, &[first, last, good], SOON).await?;
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
    all_is_well(&world, &session, &[bad, good], SOON).await?;
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
    all_is_well(&world, &session, &[bad], SOON).await?;
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
    println!(
        "99th percentiles of the freshness: {clean:.3?} s clean, {poisoned:.3?} s with poison"
    );
    // A disk that stands still for a second spoils a round; what poison does it does in each of them.
    let (clean, poisoned) = (median(clean), median(poisoned));
    ensure!(poisoned <= clean * 2.0 + NOISE, "{poisoned} s with poison, {clean} s without");
    world.poison(&[])?;
    all_is_well(&world, &session, &made, SOON).await?;
    world.finish_after(|_| true).await
}
