//! Commands of a small domain against a store in memory.

mod admission;
mod bad_input;
mod bounds;
mod commands;
mod failures;
mod jar;
mod look_ups;
mod registration;

use super::RequestLimits;
use crate::testing::{Ask, CommandServer, ask, http, limits, set};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_server::HttpConfig;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use tower::ServiceExt;

const JAR: &str = "01900000-0000-7000-8000-000000000001";
const TALLY: &str = "01900000-0000-7000-8000-000000000002";
const COIN: &str = "01900000-0000-7000-8000-000000000003";

/// The routes over a store.
fn server() -> CommandServer {
    CommandServer::new(jar::routes())
}

fn coin() -> Value {
    json!({"name": "tea", "count": 2})
}

fn jar() -> Value {
    json!({"jar_id": JAR, "owner_id": TALLY, "label": "EUR", "coins": [coin()]})
}

fn create() -> Ask {
    ask("POST", "/v1/jars", &jar()).key("create")
}

fn on_jar(method: &str, action: &str, body: &Value) -> Ask {
    ask(method, &format!("/v1/jars/{JAR}/{action}"), body).key(action)
}

fn start() -> Ask {
    ask("POST", "/v1/tallies", &json!({"tally_id": TALLY, "number": 1})).key("start")
}
