//! The order lifecycle, through the front doors, with a look at every hop.
//!
//! A customer registers; an order is created, changed, confirmed, shipped and delivered; another is
//! created and cancelled. In between the system is asked for what it must refuse, and for what it
//! must answer twice the same. [`run`] verifies each hop and fails at the first that is not as it
//! should be.

mod hops;
mod lifecycle;
mod report;
mod topics;

pub use hops::{Committed, Hops, Seen};
pub use lifecycle::{Customer, Order, create_order, items};
pub use report::{DemoReport, Narrator, StepReport, Totals};
pub use topics::{Arrival, TOPICS, TopicFollower};

use crate::http::HttpClient;
use crate::stack::Addresses;
use crate::wait::wait_for;
use anyhow::{Context, ensure};
use database::ScyllaConfig;
use hyper::StatusCode;
use lifecycle::Lifecycle;
use messaging::KafkaConfig;
use serde_json::Value;
use std::time::Duration;

/// The keyspace that the stack's configuration names.
pub const KEYSPACE: &str = "event_platform";

/// Where a running system is entered, and where its stores are looked into.
#[derive(Debug, Clone)]
pub struct Doors {
    /// Base URL of `command-api`.
    pub commands: String,
    /// Base URL of `query-api`.
    pub queries: String,
    /// Speaks to both as they demand it.
    pub http: HttpClient,
    /// The database.
    pub scylla: ScyllaConfig,
    /// The broker.
    pub kafka: KafkaConfig,
    /// Others use the system too, and have: only what comes from now on is looked at.
    pub is_shared: bool,
}

impl From<&Addresses> for Doors {
    fn from(addresses: &Addresses) -> Self {
        Self {
            commands: addresses.command_url(),
            queries: addresses.query_url(),
            http: HttpClient::default(),
            scylla: ScyllaConfig::at(&addresses.engine),
            kafka: KafkaConfig::open(vec![addresses.broker.clone()]),
            is_shared: false,
        }
    }
}

/// How long the last event may take to show everywhere.
const LIMIT: Duration = Duration::from_secs(15);

/// Runs the demo against a running system.
pub async fn run(doors: &Doors, narrator: &Narrator) -> anyhow::Result<DemoReport> {
    let hops = Hops::open(doors).await.context("open the stores for looking")?;
    let lifecycle = Lifecycle::new(doors, &hops, narrator);
    let customer = lifecycle.customer().await?;
    let order = lifecycle.order(&customer).await?;
    lifecycle.refusals(&order).await?;
    let cancelled = lifecycle.cancelled_order(&customer).await?;

    let steps = lifecycle.into_steps();
    let order_view = hop_totals(doors, &hops, &order, &cancelled, &customer).await?;
    let totals = Totals::of(&steps);
    let report = DemoReport {
        ok: true,
        topic_events: hops.topics().len(),
        order: order_view,
        totals,
        steps,
    };
    narrator.finish(&report);
    Ok(report)
}

/// What the read models say of everything the demo did, after the last step.
async fn hop_totals(
    doors: &Doors,
    hops: &Hops,
    order: &Order,
    cancelled: &Order,
    customer: &Customer,
) -> anyhow::Result<Value> {
    let (http, url) = (doors.http.clone(), doors.queries.clone());
    let listed = |path: String, wanted: Vec<String>| {
        let (http, url) = (http.clone(), url.clone());
        async move {
            wait_for(&format!("{path} to list {wanted:?}"), LIMIT, || async {
                let answer = http.get(&format!("{url}{path}")).await.map_err(|e| e.to_string())?;
                let text = answer.body.to_string();
                let all = wanted.iter().all(|id| text.contains(id.as_str()));
                if answer.status == StatusCode::OK && all { Ok(()) } else { Err(text) }
            })
            .await
        }
    };
    let (order_id, cancelled_id) = (order.id.to_string(), cancelled.id.to_string());
    listed(
        format!("/v1/customers/{}/orders", customer.id),
        vec![order_id.clone(), cancelled_id.clone()],
    )
    .await?;
    listed("/v1/orders?status=delivered".to_owned(), vec![order_id.clone()]).await?;
    listed("/v1/orders?status=cancelled".to_owned(), vec![cancelled_id]).await?;
    let view = http.get(&format!("{url}/v1/orders/{order_id}")).await?;
    ensure!(view.status == StatusCode::OK, "the order's read model: {}", view.body);
    ensure!(view.text("status") == Some("delivered"), "the order is not delivered: {}", view.body);
    let events = http.get(&format!("{url}/v1/orders/{order_id}/events")).await?;
    let history = events.body.get("events").and_then(Value::as_array).context("its history")?;
    ensure!(
        history.len() as u64 == order.version,
        "the order's history has {} events, its version is {}",
        history.len(),
        order.version
    );
    ensure!(!hops.topics().is_empty(), "nothing reached the topics");
    Ok(view.body)
}
