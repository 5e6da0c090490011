//! Bounds and measures every query: how many at once, how long each.

use super::metrics::QUERY_DURATION;
use crate::problem::{not_admitted, not_answered};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use http_server::HttpConfig;
use http_server::admission::Admission;
use http_server::context::RequestContext;
use runtime::Breaker;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// What all queries of the process share.
#[derive(Clone)]
pub(super) struct Bounds {
    admission: Admission,
}

impl Bounds {
    pub(super) fn new(config: &HttpConfig, breaker: Breaker) -> Self {
        Self { admission: Admission::new(config, breaker) }
    }

    /// The query within the bounds, measured under its name, one of a few.
    pub(super) fn query<S>(&self, name: String, handler: MethodRouter<S>) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let name: Arc<str> = name.into();
        handler
            .route_layer(from_fn_with_state(self.clone(), bounded))
            .route_layer(from_fn(move |request, next| measured(Arc::clone(&name), request, next)))
    }
}

async fn bounded(
    State(bounds): State<Bounds>,
    Extension(context): Extension<RequestContext>,
    request: Request,
    next: Next,
) -> Response {
    // The breaker tells queries apart by their path; all pages of a list are one.
    let key = Uuid::new_v5(&Uuid::NAMESPACE_URL, request.uri().path().as_bytes());
    let place = match bounds.admission.admit(&context).await {
        Ok(place) => place,
        Err(refused) => return not_admitted(refused).into_response(),
    };
    let answer = tokio::time::timeout_at(context.deadline, next.run(request)).await;
    let answer = answer.unwrap_or_else(|_| not_answered().into_response());
    match answer.status() {
        StatusCode::SERVICE_UNAVAILABLE => place.failed(key),
        StatusCode::NOT_FOUND => place.succeeded(),
        status if status.is_success() => place.succeeded(),
        // Refused without asking the database.
        _ => drop(place),
    }
    answer
}

async fn measured(name: Arc<str>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let response = next.run(request).await;
    let outcome = match response.status() {
        StatusCode::NOT_FOUND => "not_found",
        status if status.is_server_error() => "failed",
        status if status.is_client_error() => "refused",
        _ => "ok",
    };
    let elapsed = started.elapsed().as_secs_f64();
    QUERY_DURATION.with_label_values(&[&*name, outcome]).observe(elapsed);
    response
}
