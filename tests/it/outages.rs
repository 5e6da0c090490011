//! Outages and poison under load: an outage makes no dead letter and leaves no hot loop, poison stops
//! its own aggregate and nothing else, and whatever waited is handled in order in the end.

use anyhow::{Context, ensure};
use harness::names::PROJECTION_WORKER;
use harness::outages::{all_is_well, life, plan, poison, shown_version, until};
use harness::outages::{survives_poison_storm, survives_without_broker, survives_without_database};
use harness::{
    PoisonEffect, Poisoned, World, hooked_binaries, letters, series, survives_rare_poison,
};
use local_stack::{Process, Signal, wait_for};
use scylla::client::session::Session;
use serde_json::json;
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
    let worker = Process::Worker(PROJECTION_WORKER, 0);
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
    let worker = Process::Worker(PROJECTION_WORKER, 0);
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
        let at_work =
            series(&world, Process::Worker(PROJECTION_WORKER, 0), "cdc_lag_seconds", &[]).await;
        if at_work.len() == CONSUMERS * SLOTS { Ok(()) } else { Err(format!("{at_work:?}")) }
    })
    .await?;
    let rule = json!({"kind": "unavailable", "table": "dead_letter_queue", "count": 1_000_000});
    world.add_fault(&rule).await?;
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
    world.clear_faults().await?;
    until(&session, "the letter to be stored", |found| {
        found.len() == 1 && found[0].aggregate_id == bad && found[0].version == 2
    })
    .await?;
    world.poison(&[])?;
    world.esctl(&["dlq", "retry", "orders@1", &bad.to_string()]).await?;
    all_is_well(&world, &session, &[bad], SOON).await?;
    world.finish_after(|_| true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rare_poison_delays_nobody_else() -> anyhow::Result<()> {
    /// A machine that is busy otherwise; a lane that waits for a letter takes seconds.
    const NOISE: Duration = Duration::from_millis(250);
    survives_rare_poison(60, 360, NOISE).await
}
