//! The routes against a store in memory, with the real rules of the domain.

mod bad_input;
mod commands;
mod documentation;
mod failures;
mod random;

use crate::routes;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_edge::commands::{CommandRoutes, router};
use http_edge::testing::{Answer, Ask, MemoryStore, ask, breaker, http, limits, send};
use serde_json::{Value, json};

const ORDER: &str = "01900000-0000-7000-8000-000000000001";
const CUSTOMER: &str = "01900000-0000-7000-8000-000000000002";
const ADDRESS: &str = "01900000-0000-7000-8000-000000000003";

/// The routes over a store.
struct Server {
    store: MemoryStore,
    router: Router,
}

impl Server {
    fn new() -> Self {
        let store = MemoryStore::default();
        let router = router(store.clone(), &http(), &limits(), breaker(), routes::routes());
        Self { router, store }
    }

    async fn send(&self, request: impl Into<Request<Body>>) -> Answer {
        send(&self.router, request).await
    }

    /// Sends a command that must be accepted.
    #[track_caller]
    fn accepts(&self, ask: Ask) -> impl Future<Output = Answer> {
        let told = format!("{ask:?}");
        async move {
            let answer = self.send(ask).await;
            assert!(answer.status.is_success(), "{told}: {} {}", answer.status, answer.body);
            answer
        }
    }
}

#[test]
fn every_aggregate_of_the_shop_takes_commands_and_no_other_does() {
    let routes: CommandRoutes = routes::routes();
    assert_eq!(routes.check(domain::AGGREGATES), Ok(()));
}

fn item() -> Value {
    json!({"product_id": "tea", "quantity": 2, "unit_price_minor": 450})
}

fn order() -> Value {
    json!({"order_id": ORDER, "customer_id": CUSTOMER, "currency": "EUR", "items": [item()]})
}

fn create() -> Ask {
    ask("POST", "/v1/orders", &order()).key("create")
}

fn on_order(method: &str, action: &str, body: &Value) -> Ask {
    ask(method, &format!("/v1/orders/{ORDER}/{action}"), body).key(action)
}

fn register() -> Ask {
    let body = json!({"customer_id": CUSTOMER, "name": "Ada", "email": "ada@example.com"});
    ask("POST", "/v1/customers", &body).key("register")
}

fn on_customer(method: &str, action: &str, body: &Value) -> Ask {
    ask(method, &format!("/v1/customers/{CUSTOMER}/{action}"), body).key(action)
}
