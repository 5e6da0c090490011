//! The routes of the fault port.

use super::Faults;
use super::report::FaultReport;
use super::rule::FaultRule;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router, routing};
use serde::de::DeserializeOwned;
use std::sync::Arc;

type Refusal = (StatusCode, String);

/// The port.
pub(crate) fn router(faults: Arc<Faults>) -> Router {
    Router::new().route("/faults", routing::get(show).post(add).delete(clear)).with_state(faults)
}

/// Reads a body, whatever its content type is said to be.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| refused(error.to_string()))
}

fn refused(reason: String) -> Refusal {
    (StatusCode::UNPROCESSABLE_ENTITY, reason)
}

async fn show(State(faults): State<Arc<Faults>>) -> Json<FaultReport> {
    Json(faults.report())
}

async fn add(State(faults): State<Arc<Faults>>, body: Bytes) -> Result<Json<FaultReport>, Refusal> {
    let rule: FaultRule = read(&body)?;
    faults.add(rule).map_err(refused)?;
    Ok(Json(faults.report()))
}

async fn clear(State(faults): State<Arc<Faults>>) -> Json<FaultReport> {
    faults.clear();
    Json(faults.report())
}
