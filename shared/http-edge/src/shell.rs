//! What surrounds the routes of both APIs: the request's context, unknown routes and methods, panics.

use crate::{Problem, codes};
use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use http_server::context::{Terms, in_context};
use std::any::Any;
use tower_http::catch_panic::CatchPanicLayer;

/// The routes with all that surrounds them. `internal` is what a client is told of a panic.
pub(crate) fn around<S>(routes: Router<S>, terms: Terms, internal: fn() -> Problem) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    // The panic itself is in the log already.
    let panicked = move |_panic: Box<dyn Any + Send>| internal().into_response();
    routes
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(terms, in_context))
}

async fn unknown_route(uri: Uri) -> Problem {
    codes::ROUTE_NOT_FOUND.problem(format!("there is nothing at {}", uri.path()))
}

async fn unknown_method(method: Method, uri: Uri) -> Problem {
    codes::METHOD_NOT_ALLOWED.problem(format!("{method} is not possible at {}", uri.path()))
}
