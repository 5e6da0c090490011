//! `esctl verify` on a stack at work, with its topics.

use anyhow::{Context, ensure};
use dev_stack::demo::items;
use harness::{Outcome, Plan, World, binaries};
use hyper::Method;
use serde_json::{Value, json};
use std::process::Stdio;
use uuid::Uuid;

const ORDERS: usize = 12;

/// Runs it; gives its exit code, what differs, and what it said.
async fn verify(world: &World, more: &[&str]) -> anyhow::Result<(Option<i32>, Value, String)> {
    let addresses = world.stack.addresses();
    let output = binaries()
        .await?
        .command("esctl")
        .args(["verify", "-o", "json"])
        .args(more)
        .env("SCYLLA_NODES", &addresses.engine)
        .env("REDPANDA_BROKERS", &addresses.broker)
        // Everything that runs here runs on.
        .env("APP__VERIFY__GRACE_MS", "5000")
        .env("APP__VERIFY__RECHECK_MS", "5000")
        .stdin(Stdio::null())
        .output()
        .await
        .context("run esctl verify")?;
    let said = String::from_utf8(output.stderr)?;
    let found = serde_json::from_slice(&output.stdout).with_context(|| said.clone())?;
    Ok((output.status.code(), found, said))
}

async fn work(world: &World, orders: usize) -> anyhow::Result<Vec<Uuid>> {
    let client = world.client(0);
    let mut created = Vec::new();
    for quantity in 0..orders {
        let order = client.create().await?;
        let body = json!({"items": items(2 + u32::try_from(quantity)?)});
        let path = format!("/v1/orders/{order}/items");
        let key = Uuid::now_v7().to_string();
        let outcome = client.send(Method::PUT, &path, &key, &body).await;
        ensure!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
        created.push(order);
    }
    Ok(created)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_at_work_has_no_differences_and_damage_is_found() -> anyhow::Result<()> {
    // On disk: with topics in memory the broker was seen to acknowledge a record, and not to have it.
    let world = World::start(Plan::default()).await?;
    let orders = work(&world, ORDERS).await?;
    // While more comes in: what is on its way is no difference.
    let (verified, worked) = tokio::join!(verify(&world, &["--rate", "20"]), work(&world, ORDERS));
    let (code, found, said) = verified?;
    ensure!((code, &found) == (Some(0), &json!([])), "{found:#}\n{said}");
    ensure!(said.contains("messages on the topics"), "{said}");
    let orders: Vec<_> = orders.into_iter().chain(worked?).collect();

    // A ledger that lacks the last event of an order: then outbox, rows and topic say too much.
    let (order, session) = (orders[0], world.session().await?);
    let delete = "DELETE FROM event_store WHERE aggregate_id = ? AND sequence_number = 2";
    session.query_unpaged(delete, (order,)).await?;
    let (code, found, said) = verify(&world, &[]).await?;
    ensure!(code == Some(5), "{found:#}\n{said}");
    let lines = found.as_array().context("a list")?;
    let mut checks: Vec<_> = lines.iter().filter_map(|line| line["check"].as_str()).collect();
    checks.sort_unstable();
    checks.dedup();
    ensure!(checks == ["outbox", "read_model", "topic"], "{found:#}");
    let id = order.to_string();
    ensure!(lines.iter().all(|line| line["aggregate_id"] == id.as_str()), "{found:#}");
    // The audit may have come by.
    world.finish_after(|line| line.contains("read model differs from the events")).await
}
