//! The steps of the demo.

use super::Doors;
use super::hops::{Committed, Hops};
use super::report::{Narrator, StepReport};
use crate::http::{Answer, HttpClient};
use anyhow::{Context, ensure};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::time::Instant;
use uuid::Uuid;

/// A customer that the demo registered.
#[derive(Debug)]
pub struct Customer {
    /// Aggregate id.
    pub id: Uuid,
}

/// An order that the demo created.
#[derive(Debug)]
pub struct Order {
    /// Aggregate id.
    pub id: Uuid,
    /// Its last version.
    pub version: u64,
}

/// The body of a create.
pub fn create_order(customer_id: Uuid, items: Value) -> Value {
    json!({"customer_id": customer_id, "currency": "EUR", "items": items})
}

/// Two lines of an order.
pub fn items(quantity: u32) -> Value {
    json!([
        {"product_id": "espresso-machine", "quantity": 1, "unit_price_minor": 39_900},
        {"product_id": "beans-1kg", "quantity": quantity, "unit_price_minor": 1_890},
    ])
}

pub(super) struct Lifecycle<'a> {
    http: HttpClient,
    url: String,
    hops: &'a Hops,
    narrator: &'a Narrator,
    steps: RefCell<Vec<StepReport>>,
}

/// One command of the story.
struct Step<'a> {
    /// What happens, for a reader.
    told: &'a str,
    command: &'static str,
    method: Method,
    path: String,
    resource: &'static str,
    body: Value,
}

impl<'a> Lifecycle<'a> {
    pub(super) fn new(doors: &Doors, hops: &'a Hops, narrator: &'a Narrator) -> Self {
        Self {
            http: doors.http.clone(),
            url: doors.commands.clone(),
            hops,
            narrator,
            steps: RefCell::default(),
        }
    }

    pub(super) fn into_steps(self) -> Vec<StepReport> {
        self.steps.into_inner()
    }

    pub(super) async fn customer(&self) -> anyhow::Result<Customer> {
        let (id, _) = self
            .step(Step {
                told: "Ada registers",
                command: "RegisterCustomer",
                method: Method::POST,
                path: "/v1/customers".to_owned(),
                resource: "customers",
                body: json!({"name": "Ada Lovelace", "email": "ada@example.org"}),
            })
            .await?;
        Ok(Customer { id })
    }

    pub(super) async fn order(&self, customer: &Customer) -> anyhow::Result<Order> {
        let created =
            self.create("Ada orders a machine and two bags of beans", customer, 2).await?;
        let mut version = created.version;
        let steps: [(&str, &'static str, Method, &str, Value); 4] = [
            (
                "she wants three bags instead",
                "UpdateOrderItems",
                Method::PUT,
                "items",
                json!({"items": items(3)}),
            ),
            ("the shop confirms", "ConfirmOrder", Method::POST, "confirm", json!({})),
            (
                "the parcel leaves",
                "ShipOrder",
                Method::POST,
                "ship",
                json!({"tracking_number": "JD0146000000123", "carrier": "DHL"}),
            ),
            (
                "Ada signs for it",
                "DeliverOrder",
                Method::POST,
                "deliver",
                json!({"signature": "A. Lovelace"}),
            ),
        ];
        for (told, command, method, action, body) in steps {
            let path = format!("/v1/orders/{}/{action}", created.id);
            let step = Step { told, command, method, path, resource: "orders", body };
            (_, version) = self.step(step).await?;
        }
        Ok(Order { id: created.id, version })
    }

    pub(super) async fn cancelled_order(&self, customer: &Customer) -> anyhow::Result<Order> {
        let created = self.create("Ada orders more beans", customer, 12).await?;
        let (_, version) = self
            .step(Step {
                told: "and thinks better of it",
                command: "CancelOrder",
                method: Method::POST,
                path: format!("/v1/orders/{}/cancel", created.id),
                resource: "orders",
                body: json!({"reason": "too much coffee"}),
            })
            .await?;
        Ok(Order { id: created.id, version })
    }

    async fn create(&self, told: &str, customer: &Customer, bags: u32) -> anyhow::Result<Order> {
        let (id, version) = self
            .step(Step {
                told,
                command: "CreateOrder",
                method: Method::POST,
                path: "/v1/orders".to_owned(),
                resource: "orders",
                body: create_order(customer.id, items(bags)),
            })
            .await?;
        Ok(Order { id, version })
    }

    /// Sends a command, checks its answer, sends it again with the same key, which must give the
    /// same answer, and follows its event through the system.
    async fn step(&self, step: Step<'_>) -> anyhow::Result<(Uuid, u64)> {
        let key = Uuid::now_v7().to_string();
        let url = format!("{}{}", self.url, step.path);
        let sent_at = Instant::now();
        let answer = self.http.command(step.method.clone(), &url, &key, &step.body).await?;
        let answered_at = Instant::now();
        ensure!(answer.status.is_success(), "{}: {} {}", step.command, answer.status, answer.body);
        let event = committed(&answer, answered_at)
            .with_context(|| format!("the answer of {}: {}", step.command, answer.body))?;

        let again = self.http.command(step.method.clone(), &url, &key, &step.body).await?;
        ensure!(
            again.status == answer.status && again.body == answer.body,
            "{} sent again was answered differently: {} {}",
            step.command,
            again.status,
            again.body
        );

        let seen = self.hops.follow(step.resource, event).await.context(step.command)?;
        let report = StepReport {
            command: step.command,
            version: event.version,
            answer_ms: (answered_at - sent_at).as_secs_f64() * 1000.0,
            read_model_ms: seen.read_model_ms,
            topic_ms: seen.topic_ms,
        };
        self.narrator.step(step.told, &step.method, &step.path, &answer, &seen, &report);
        self.steps.borrow_mut().push(report);
        Ok((event.aggregate_id, event.version))
    }

    /// What the system must not do, and says so.
    pub(super) async fn refusals(&self, order: &Order) -> anyhow::Result<()> {
        let cancel = format!("{}/v1/orders/{}/cancel", self.url, order.id);
        let reason = json!({"reason": "changed my mind"});
        let key = Uuid::now_v7().to_string();
        let late = self.http.command(Method::POST, &cancel, &key, &reason).await?;
        ensure!(late.status == StatusCode::CONFLICT, "cancel after delivery: {}", late.body);
        self.narrator.refusal("she cannot cancel what was delivered", &late);

        let confirm = format!("{}/v1/orders/{}/confirm", self.url, order.id);
        let headers = [
            ("idempotency-key", key.as_str()),
            ("content-type", "application/json"),
            ("if-match", "\"1\""),
        ];
        let body = Some("{}".into());
        let stale = self.http.request(Method::POST, &confirm, &headers, body).await?;
        ensure!(
            stale.status == StatusCode::PRECONDITION_FAILED,
            "a stale If-Match was answered {} {}",
            stale.status,
            stale.body
        );
        self.narrator.refusal("nobody confirms what they saw at version 1", &stale);
        Ok(())
    }
}

/// The last event that an answer names.
fn committed(answer: &Answer, answered_at: Instant) -> Option<Committed> {
    let event = answer.body.get("events")?.as_array()?.last()?;
    Some(Committed {
        aggregate_id: answer.text("aggregate_id")?.parse().ok()?,
        version: event.get("version")?.as_u64()?,
        event_id: event.get("id")?.as_str()?.parse().ok()?,
        answered_at,
    })
}
