//! The routes against a store in memory, with the real rules of the domain.

mod bad_input;
mod commands;
mod documentation;
mod failures;
mod random;

use crate::routes;
use axum::http::StatusCode;
use http_edge::commands::CommandRoutes;
use http_edge::testing::{Ask, CommandServer, ask, set};
use serde_json::{Value, json};

const ORDER: &str = "01900000-0000-7000-8000-000000000001";
const CUSTOMER: &str = "01900000-0000-7000-8000-000000000002";
const ADDRESS: &str = "01900000-0000-7000-8000-000000000003";

/// The routes over a store.
fn server() -> CommandServer {
    CommandServer::new(routes::routes())
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
