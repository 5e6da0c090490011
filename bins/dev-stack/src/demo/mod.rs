//! The order lifecycle, through the front doors, with a look at every hop.
//!
//! A customer registers; an order is created, changed, confirmed, shipped and delivered; another is
//! created and cancelled. In between the system is asked for what it must refuse, and for what it
//! must answer twice the same. [`run`] verifies each hop and fails at the first that is not as it
//! should be.

mod lifecycle;

pub use lifecycle::{Customer, Order, create_order, items};

use anyhow::{Context, ensure};
use hyper::StatusCode;
use lifecycle::Lifecycle;
use local_stack::{Doors, Narrator, Stack, Story, StoryReport, wait_for};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// How long the last event may take to show everywhere.
const LIMIT: Duration = Duration::from_secs(15);

/// The last line of `demo --json`.
#[derive(Debug, Serialize)]
pub struct DemoReport {
    /// What the story came to.
    #[serde(flatten)]
    pub story: StoryReport,
    /// The delivered order, as the read model shows it.
    pub order: Value,
}

/// The doors of a stack of the shop's.
pub fn doors(stack: &Stack) -> Doors {
    Doors::of(stack, domain::AGGREGATES)
}

/// Runs the demo against a running system.
pub async fn run(doors: &Doors, narrator: &Narrator) -> anyhow::Result<DemoReport> {
    let mut lifecycle = Lifecycle { story: Story::open(doors, *narrator).await? };
    let customer = lifecycle.customer().await?;
    let order = lifecycle.order(&customer).await?;
    lifecycle.refusals(&order).await?;
    let cancelled = lifecycle.cancelled_order(&customer).await?;
    let story = lifecycle.story;
    are_listed(doors, &order, &cancelled, &customer).await?;
    let order = shown(doors, &order).await?;
    ensure!(!story.hops().topics().is_empty(), "nothing reached the topics");
    Ok(DemoReport { story: story.finish(), order })
}

/// Waits until the lists have what the demo did.
async fn are_listed(
    doors: &Doors,
    order: &Order,
    cancelled: &Order,
    customer: &Customer,
) -> anyhow::Result<()> {
    let (order, cancelled) = (order.id.to_string(), cancelled.id.to_string());
    for (path, wanted) in [
        (format!("/v1/customers/{}/orders", customer.id), vec![&order, &cancelled]),
        ("/v1/orders?status=delivered".to_owned(), vec![&order]),
        ("/v1/orders?status=cancelled".to_owned(), vec![&cancelled]),
    ] {
        let url = format!("{}{path}", doors.queries);
        wait_for(&format!("{path} to list {wanted:?}"), LIMIT, || async {
            let answer = doors.http.get(&url).await.map_err(|error| format!("{error:#}"))?;
            let text = answer.body.to_string();
            let all = wanted.iter().all(|id| text.contains(id.as_str()));
            if answer.status == StatusCode::OK && all { Ok(()) } else { Err(text) }
        })
        .await?;
    }
    Ok(())
}

/// What the read model and the history say of the delivered order.
async fn shown(doors: &Doors, order: &Order) -> anyhow::Result<Value> {
    let url = format!("{}/v1/orders/{}", doors.queries, order.id);
    let view = doors.http.get(&url).await?;
    ensure!(view.status == StatusCode::OK, "the order's read model: {}", view.body);
    ensure!(view.text("status") == Some("delivered"), "the order is not delivered: {}", view.body);
    let events = doors.http.get(&format!("{url}/events")).await?;
    let history = events.body.get("events").and_then(Value::as_array).context("its history")?;
    ensure!(
        history.len() as u64 == order.version,
        "the order's history has {} events, its version is {}",
        history.len(),
        order.version
    );
    Ok(view.body)
}
