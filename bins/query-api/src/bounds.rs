//! Bounds and measures every query: how many at once, how long each.

use crate::config::QueriesConfig;
use crate::metrics::QUERY_DURATION;
use crate::problem::{timed_out, too_many_requests};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What all queries of the process share.
#[derive(Clone)]
pub(crate) struct Bounds {
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Bounds {
    pub(crate) fn new(config: &QueriesConfig) -> Self {
        Self {
            places: Arc::new(Semaphore::new(config.requests_max)),
            timeout: config.request_timeout(),
        }
    }

    /// The query within the bounds, measured under its name, one of a few.
    pub(crate) fn query<S>(&self, name: &'static str, handler: MethodRouter<S>) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        handler
            .route_layer(from_fn_with_state(self.clone(), bounded))
            .route_layer(from_fn(move |request, next| measured(name, request, next)))
    }
}

async fn bounded(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let Ok(_place) = bounds.places.try_acquire() else {
        return too_many_requests().into_response();
    };
    let answer = tokio::time::timeout(bounds.timeout, next.run(request)).await;
    answer.unwrap_or_else(|_| timed_out().into_response())
}

async fn measured(name: &'static str, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let response = next.run(request).await;
    let outcome = match response.status() {
        StatusCode::NOT_FOUND => "not_found",
        status if status.is_server_error() => "failed",
        status if status.is_client_error() => "refused",
        _ => "ok",
    };
    let elapsed = started.elapsed().as_secs_f64();
    QUERY_DURATION.with_label_values(&[name, outcome]).observe(elapsed);
    response
}
