//! Lightweight transactions whose outcome is unknown: each is resolved to the right answer.

use anyhow::ensure;
use dev_stack::demo::items;
use harness::{Dump, Expectations, Outcome, Plan, Told, World, verify};
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const ROUNDS: u32 = 20;

/// Changes an order's items again and again while every second commit meets the fault; then all
/// accepted commands must be stored, announced, published and projected, once each.
async fn resolve(fault: Value) -> anyhow::Result<()> {
    let world = World::start(Plan::command_apis(2)).await?;
    let order = world.client(0).create().await?;
    let path = format!("/v1/orders/{order}/items");
    let mut told = Vec::new();
    for round in 0..ROUNDS {
        let client = world.client(round as usize % 2);
        if round % 2 == 0 {
            world.add_fault(&fault).await?;
        }
        let key = Uuid::now_v7().to_string();
        let body = json!({"items": items(round + 2)});
        let outcome = client.settle(Method::PUT, &path, &key, &body).await;
        ensure!(matches!(outcome, Outcome::Accepted(_)), "round {round}: {outcome:?}");
        // The same key through the other process: the same answer, no second effect.
        let again = world.client((round as usize + 1) % 2);
        let again = again.settle(Method::PUT, &path, &key, &body).await;
        ensure!(again == outcome, "round {round}: {outcome:?}, and again {again:?}");
        told.push(Told { aggregate_id: Some(order), key, outcome });
    }
    let fired = world.faults_fired().await?;
    println!("{fired:?}");
    ensure!(fired.values().sum::<u64>() >= u64::from(ROUNDS / 2), "too few fired: {fired:?}");

    let session = world.session().await?;
    let broker = &world.stack.addresses().broker;
    let expected = Expectations { told, complete: false };
    local_stack::wait_for("every promise to be kept", Duration::from_secs(60), || async {
        let dump = Dump::take(&session, broker, Duration::from_secs(30)).await;
        let dump = dump.map_err(|error| format!("{error:#}"))?;
        let violations = verify(&dump, &expected);
        let version = dump.version(order);
        if violations.is_empty() && version == u64::from(ROUNDS) + 1 {
            Ok(())
        } else {
            Err(format!("version {version}, {violations:#?}"))
        }
    })
    .await?;
    world.finish_after(|line| line.contains("outcome of a commit is unknown")).await
}

fn fault(kind: &str, answer: &str, delay_ms: u64) -> Value {
    json!({"kind": kind, "table": "event_store", "count": 1, "answer": answer, "delay_ms": delay_ms})
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_and_answered_with_a_timeout_is_done_once() -> anyhow::Result<()> {
    resolve(fault("lwt_applied_timeout", "write_timeout", 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_and_answered_as_unknown_is_done_once() -> anyhow::Result<()> {
    resolve(fault("lwt_applied_timeout", "cas_unknown", 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_and_answered_late_is_done_once() -> anyhow::Result<()> {
    resolve(fault("lwt_applied_late", "write_timeout", 300)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn not_applied_and_answered_with_a_timeout_is_tried_again() -> anyhow::Result<()> {
    resolve(fault("lwt_not_applied_timeout", "write_timeout", 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_later_is_done_once_or_fenced_off() -> anyhow::Result<()> {
    resolve(fault("lwt_applied_later", "write_timeout", 200)).await
}
