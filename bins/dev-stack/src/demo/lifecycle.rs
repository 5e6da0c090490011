//! The steps of the demo.

use hyper::{Method, StatusCode};
use local_stack::{Committed, Refusal, Step, Story};
use serde_json::{Value, json};
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

/// The steps, in the order of the story.
pub(super) struct Lifecycle {
    pub(super) story: Story,
}

const CUSTOMERS: &str = "/v1/customers";
const ORDERS: &str = "/v1/orders";

impl Lifecycle {
    pub(super) async fn customer(&mut self) -> anyhow::Result<Customer> {
        let registered = self
            .story
            .step(Step {
                told: "Ada registers",
                command: "RegisterCustomer",
                method: Method::POST,
                path: CUSTOMERS.to_owned(),
                body: json!({"name": "Ada Lovelace", "email": "ada@example.org"}),
                read_model: CUSTOMERS,
                shown: "status",
            })
            .await?;
        Ok(Customer { id: registered.aggregate_id })
    }

    pub(super) async fn order(&mut self, customer: &Customer) -> anyhow::Result<Order> {
        let mut order =
            self.create("Ada orders a machine and two bags of beans", customer, 2).await?;
        let parcel = json!({"tracking_number": "JD0146000000123", "carrier": "DHL"});
        let signature = json!({"signature": "A. Lovelace"});
        for (told, command, method, action, body) in [
            (
                "she wants three bags instead",
                "UpdateOrderItems",
                Method::PUT,
                "items",
                json!({"items": items(3)}),
            ),
            ("the shop confirms", "ConfirmOrder", Method::POST, "confirm", json!({})),
            ("the parcel leaves", "ShipOrder", Method::POST, "ship", parcel),
            ("Ada signs for it", "DeliverOrder", Method::POST, "deliver", signature),
        ] {
            let path = format!("{ORDERS}/{}/{action}", order.id);
            order = self.step(told, command, method, path, body).await?;
        }
        Ok(order)
    }

    pub(super) async fn cancelled_order(&mut self, customer: &Customer) -> anyhow::Result<Order> {
        let order = self.create("Ada orders more beans", customer, 12).await?;
        let path = format!("{ORDERS}/{}/cancel", order.id);
        let reason = json!({"reason": "too much coffee"});
        self.step("and thinks better of it", "CancelOrder", Method::POST, path, reason).await
    }

    async fn create(
        &mut self,
        told: &str,
        customer: &Customer,
        bags: u32,
    ) -> anyhow::Result<Order> {
        let body = create_order(customer.id, items(bags));
        self.step(told, "CreateOrder", Method::POST, ORDERS.to_owned(), body).await
    }

    /// A command of an order.
    async fn step(
        &mut self,
        told: &str,
        command: &'static str,
        method: Method,
        path: String,
        body: Value,
    ) -> anyhow::Result<Order> {
        let step = Step { told, command, method, path, body, read_model: ORDERS, shown: "status" };
        let Committed { aggregate_id: id, version, .. } = self.story.step(step).await?;
        Ok(Order { id, version })
    }

    /// What the system must not do, and says so.
    pub(super) async fn refusals(&self, order: &Order) -> anyhow::Result<()> {
        self.story
            .refusal(Refusal {
                told: "she cannot cancel what was delivered",
                method: Method::POST,
                path: format!("{ORDERS}/{}/cancel", order.id),
                body: json!({"reason": "changed my mind"}),
                if_match: None,
                status: StatusCode::CONFLICT,
                code: "order_not_cancellable",
            })
            .await?;
        self.story
            .refusal(Refusal {
                told: "nobody confirms what they saw at version 1",
                method: Method::POST,
                path: format!("{ORDERS}/{}/confirm", order.id),
                body: json!({}),
                if_match: Some(1),
                status: StatusCode::PRECONDITION_FAILED,
                code: "stale_version",
            })
            .await
    }
}
