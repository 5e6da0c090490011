//! A target that is away, or an event type that nobody can handle, for as long as one likes, under load.
//! An outage makes no dead letter and leaves no hot loop, poison stops its own aggregates and nothing
//! else, and whatever waited is handled in order in the end.

use crate::chaos::{Poison, PoisonEffect, Poisoned};
use crate::check::{Expectations, verify};
use crate::client::{Client, Outcome};
use crate::dump::{Dump, LetterRow, letters};
use crate::metrics::metric;
use crate::names::{OUTBOX_RELAY, PROJECTION_WORKER};
use crate::world::{Plan, World, binaries, hooked_binaries};
use anyhow::ensure;
use futures::future::join_all;
use hyper::Method;
use local_stack::{Process, Signal, Whom, wait_for};
use scylla::client::session::Session;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long what waits may take, besides as long as it was made to wait.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// More attempts per second than a breaker's probes, the consumers' own retries and the pauses of all
/// who have something in hand can make; far below what a loop without pauses makes.
const ATTEMPTS_PER_SECOND_MAX: f64 = 60.0;

/// Short attempts, so that many fit an outage.
pub fn plan() -> Plan {
    let set = |program, name: &str, value: &str| {
        (Whom::Program(program), name.to_owned(), value.to_owned())
    };
    let mut env_of = Vec::new();
    for program in ["outbox-relay", "dlq-retrier"] {
        env_of.push(set(program, "APP__PUBLISHER__MESSAGE_TIMEOUT_MS", "1500"));
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

/// Nothing is left to do, and every promise is kept.
pub async fn all_is_well(
    world: &World,
    session: &Session,
    made: &[Uuid],
    within: Duration,
) -> anyhow::Result<()> {
    let broker = &world.stack.addresses().broker;
    wait_for("everything to be where it belongs", within, || async {
        let dump =
            Dump::take(session, broker, within).await.map_err(|error| format!("{error:#}"))?;
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
    for process in [Process::Worker(PROJECTION_WORKER, 0), Process::Worker(OUTBOX_RELAY, 0)] {
        made += metric(world, process, "cdc_dead_letters_total", &[]).await;
    }
    made
}

/// While the broker is down nothing is written off, and attempts are few.
pub async fn survives_without_broker(length: Duration) -> anyhow::Result<()> {
    let world = World::start_with(binaries().await?, plan()).await?;
    let session = world.session().await?;
    let stop = AtomicBool::new(false);
    let clients = (0..8).map(|_| world.client(0)).collect();
    let outage = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.stack.stop(Process::Broker, Signal::Kill).await?;
        let relay = Process::Worker(OUTBOX_RELAY, 0);
        let failed =
            async || metric(&world, relay, "relay_published_total", &["outcome=\"failed\""]).await;
        let (before, begun) = (failed().await, Instant::now());
        let seen = letters_within(&session, length).await;
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
    all_is_well(&world, &session, &made, SOON + length).await?;
    ensure!(letters_made(&world).await == 0.0, "letters were made");
    world.finish_after(|_| true).await
}

/// While the database is down nothing is written off, and who asks is told at once.
pub async fn survives_without_database(length: Duration) -> anyhow::Result<()> {
    let world = World::start_with(binaries().await?, plan()).await?;
    let session = world.session().await?;
    let stop = AtomicBool::new(false);
    let clients = (0..8).map(|_| world.client(0)).collect();
    let outage = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.stack.stop(Process::Engine, Signal::Kill).await?;
        tokio::time::sleep(length).await;
        let (asked, waited) = ask_in_vain(&world).await?;
        println!("{waited} of {asked} who asked while the database was down had to wait");
        ensure!(waited <= 1, "{waited} of {asked} waited for a database that answers nobody");
        world.stack.resume(Process::Engine).await?;
        stop.store(true, Ordering::Relaxed);
        world.stack.ready().await
    };
    let (made, outage) = tokio::join!(load(clients, &stop), outage);
    outage?;
    ensure!(made.len() > 20, "only {} orders", made.len());
    all_is_well(&world, &session, &made, SOON + length).await?;
    ensure!(letters_made(&world).await == 0.0, "letters were made");
    world.finish_after(|_| true).await
}

/// Sends commands while nobody can answer: how many, and how many were not told so at once. One may be
/// the probe that finds out.
async fn ask_in_vain(world: &World) -> anyhow::Result<(usize, usize)> {
    const ASKED: usize = 10;
    const AT_ONCE: Duration = Duration::from_millis(500);
    let client = world.client(0);
    let body = dev_stack::demo::create_order(Uuid::now_v7(), dev_stack::demo::items(1));
    let ask = async || {
        let (begun, key) = (Instant::now(), Uuid::now_v7().to_string());
        let outcome = client.send(Method::POST, "/v1/orders", &key, &body).await;
        (outcome, begun.elapsed())
    };
    let answers = join_all((0..ASKED).map(|_| ask())).await;
    let is_at_once = |(outcome, took): &(Outcome, Duration)| {
        *took < AT_ONCE && matches!(outcome, Outcome::Refused(503, code) if code == "database_away")
    };
    let accepted = answers.iter().any(|(outcome, _)| matches!(outcome, Outcome::Accepted(_)));
    ensure!(!accepted, "a database that is down accepted something");
    Ok((ASKED, answers.iter().filter(|answer| !is_at_once(answer)).count()))
}

/// Events that a consumer cannot handle.
pub fn poison(consumer: &str, events: Poisoned, effect: PoisonEffect) -> Poison {
    Poison { consumer: consumer.to_owned(), events, effect }
}

/// An order that goes through `PUT items` so many times.
pub async fn life(client: &Client, changes: u32) -> anyhow::Result<Uuid> {
    let id = client.create().await?;
    for change in 0..changes {
        let body = json!({"items": dev_stack::demo::items(change + 2)});
        let path = format!("/v1/orders/{id}/items");
        client.settle(Method::PUT, &path, &Uuid::now_v7().to_string(), &body).await;
    }
    Ok(id)
}

/// The version that an order's read model shows.
pub async fn shown_version(session: &Session, id: Uuid) -> anyhow::Result<Option<i64>> {
    let cql = "SELECT version FROM order_read_model WHERE order_id = ?";
    let rows = session.query_unpaged(cql, (id,)).await?.into_rows_result()?;
    Ok(rows.maybe_first_row::<(i64,)>()?.map(|(version,)| version))
}

/// Waits until the letters are as wanted.
pub async fn until(
    session: &Session,
    what: &str,
    wanted: impl Fn(&[LetterRow]) -> bool,
) -> anyhow::Result<()> {
    wait_for(what, SOON, || async {
        let found = letters(session).await.map_err(|error| format!("{error:#}"))?;
        if wanted(&found) { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await?;
    Ok(())
}

/// Orders that a storm befalls at a time, and as many others.
const STORM: usize = 30;

/// While nobody can handle an event type, for `length`, its aggregates wait and no other; the next
/// release heals them.
pub async fn survives_poison_storm(length: Duration) -> anyhow::Result<()> {
    let world = World::start_with(hooked_binaries().await?, plan()).await?;
    let session = world.session().await?;
    let of_type = Poisoned::OfType("OrderItemsUpdated".to_owned());
    let storm = [
        poison("orders@1", of_type.clone(), PoisonEffect::Refuse),
        poison("relay", of_type, PoisonEffect::Refuse),
    ];
    world.poison(&storm)?;
    let (client, begun) = (world.client(0), Instant::now());
    let (mut changed, mut plain) = (Vec::new(), Vec::new());
    while changed.is_empty() || begun.elapsed() < length {
        let (befallen, others) = tokio::join!(
            join_all((0..STORM).map(|_| life(&client, 3))),
            join_all((0..STORM).map(|_| life(&client, 0))),
        );
        changed.extend(befallen.into_iter().collect::<anyhow::Result<Vec<Uuid>>>()?);
        plain.extend(others.into_iter().collect::<anyhow::Result<Vec<Uuid>>>()?);
        // As many as there are letters for, however long it lasts.
        tokio::time::sleep(length / STORM as u32).await;
    }
    let count = changed.len() * 2;
    until(&session, "a letter for each, in both consumers", |found| found.len() == count).await?;
    ensure!(letters(&session).await?.iter().all(|row| row.version == 2), "the head is stored");
    // Those without an event of the type went through.
    let mut shown = 0;
    for id in &plain {
        shown += usize::from(shown_version(&session, *id).await?.is_some());
    }
    ensure!(shown == plain.len(), "only {shown} of {} others are shown", plain.len());
    // What never heals is parked in the end, and a person has it retried after the release.
    until(&session, "all to be parked", |found| {
        found.len() == count && found.iter().all(|row| row.state == "parked")
    })
    .await?;
    world.poison(&[])?;
    let limit = count.to_string();
    let parked = ["dlq", "retry-all", "--state", "parked", "--limit", &limit];
    let retried = world.esctl(&parked).await?;
    ensure!(retried.as_array().map(Vec::len) == Some(count), "{} retried", retried);
    until(&session, "all letters to go", |found| found.is_empty()).await?;
    all_is_well(&world, &session, &[changed, plain].concat(), SOON + length).await?;
    println!("{count} letters in a storm of {} s were healed", begun.elapsed().as_secs());
    world.finish_after(|_| true).await
}
