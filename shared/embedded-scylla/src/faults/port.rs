//! The routes of the fault port; the table in [`super`] has them.
//!
//! A new generation is there at once, as rows of the system tables, and begins `starts_in_ms` later
//! (2000 unless given), as on a cluster, where every node has to know it before. Writes with a
//! timestamp from then on go to its streams. `streams` is their number: by default as many as before
//! on vnodes, and twice as many for each table on tablets. The answer is `{"timestamp": ms, "streams":
//! n, "tables": {"keyspace.table": ms}}`.
//!
//! The clock is what writes are stamped with and what `now()` and expiry go by. Stamps that the server
//! gives never go back, so after a step back they stand almost still until the clock has caught up.
//!
//! After a power cut the data directory holds what the last device sync made certain. With
//! `--durability commit` that is everything that was acknowledged. `torn` leaves half of a further
//! record in the journal. The process aborts, so the client gets no answer; a server that is part of
//! another process (as in tests) takes that one with it.

use super::Faults;
use super::report::FaultReport;
use super::rule::FaultRule;
use crate::engine::{Engine, Opened, WeakEngine};
use crate::error::CqlError;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router, routing};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The most streams of a generation.
const STREAMS_MAX: usize = 4096;
/// The latest that a generation may begin.
const STARTS_IN_MS_MAX: u64 = 600_000;
/// The furthest that the clock may be off: ten days.
const SKEW_MS_MAX: i64 = 864_000_000;

type Refusal = (StatusCode, String);

#[derive(Clone)]
struct Port {
    faults: Arc<Faults>,
    engine: WeakEngine,
}

impl Port {
    fn engine(&self) -> Result<Engine, Refusal> {
        self.engine.get().ok_or_else(|| failed(&CqlError::server("the server stops")))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewGeneration {
    streams: Option<usize>,
    starts_in_ms: u64,
}

impl Default for NewGeneration {
    fn default() -> Self {
        Self { streams: None, starts_in_ms: 2000 }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skew {
    skew_ms: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PowerCut {
    torn: bool,
}

/// The port.
pub(crate) fn router(faults: Arc<Faults>, engine: WeakEngine) -> Router {
    Router::new()
        .route("/faults", routing::get(show).post(add).delete(clear))
        .route("/later", routing::post(release))
        .route("/generations", routing::post(open_generation))
        .route("/clock", routing::post(set_clock))
        .route("/power-cut", routing::post(cut_power))
        .with_state(Port { faults, engine })
}

/// Reads a body, whatever its content type is said to be.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let body: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(body).map_err(|error| refused(error.to_string()))?;
    serde_json::from_value(body.into()).map_err(|error| refused(error.to_string()))
}

/// Reads a body that may be left out.
fn read_or_default<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Refusal> {
    if body.is_empty() { Ok(T::default()) } else { read(body) }
}

fn refused(reason: impl Into<String>) -> Refusal {
    (StatusCode::UNPROCESSABLE_ENTITY, reason.into())
}

fn failed(error: &CqlError) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

async fn show(State(port): State<Port>) -> Json<FaultReport> {
    Json(port.faults.report())
}

async fn add(State(port): State<Port>, body: Bytes) -> Result<Json<FaultReport>, Refusal> {
    let rule: FaultRule = read(&body)?;
    port.faults.add(rule).map_err(refused)?;
    Ok(Json(port.faults.report()))
}

async fn clear(State(port): State<Port>) -> Json<FaultReport> {
    port.faults.clear();
    Json(port.faults.report())
}

async fn release(State(port): State<Port>) -> Json<FaultReport> {
    port.faults.release();
    Json(port.faults.report())
}

async fn open_generation(State(port): State<Port>, body: Bytes) -> Result<Json<Opened>, Refusal> {
    let NewGeneration { streams, starts_in_ms } = read_or_default(&body)?;
    if streams.is_some_and(|count| !(1..=STREAMS_MAX).contains(&count)) {
        return Err(refused(format!("streams must be from 1 to {STREAMS_MAX}")));
    }
    if starts_in_ms > STARTS_IN_MS_MAX {
        return Err(refused(format!("starts_in_ms must be at most {STARTS_IN_MS_MAX}")));
    }
    let opened = port.engine()?.open_generation(streams, Duration::from_millis(starts_in_ms)).await;
    opened.map(Json).map_err(|error| failed(&error))
}

async fn set_clock(State(port): State<Port>, body: Bytes) -> Result<Json<Skew>, Refusal> {
    let skew: Skew = read(&body)?;
    if skew.skew_ms.saturating_abs() > SKEW_MS_MAX {
        return Err(refused(format!("skew_ms must be at most {SKEW_MS_MAX} either way")));
    }
    port.engine()?.set_clock(skew.skew_ms);
    Ok(Json(skew))
}

async fn cut_power(State(port): State<Port>, body: Bytes) -> Result<(), Refusal> {
    let PowerCut { torn } = read_or_default(&body)?;
    Err(failed(&port.engine()?.cut_power(torn).await))
}
