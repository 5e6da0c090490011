//! Which commands are there: one line per aggregate.

use crate::body::Bodies;
use crate::config::RequestLimits;
use crate::problem::{self, Problem};
use crate::resource::{Api, Store, commands_of};
use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use domain::{Customer, Order};
use event_store::Effect;
use runtime::http::admission::Admission;
use runtime::http::context::{Terms, in_context};
use runtime::{Breaker, HttpConfig};
use std::any::Any;
use tower_http::catch_panic::CatchPanicLayer;

/// All routes of this process.
pub(crate) fn router<S: Store>(
    store: S,
    http: &HttpConfig,
    limits: &RequestLimits,
    breaker: Breaker,
) -> Router {
    let refused_before_it_began = Some(problem::outcome(Effect::NotDone));
    let terms = Terms::of(http, refused_before_it_began);
    Router::new()
        .merge(commands_of::<Order, S>("orders"))
        .merge(commands_of::<Customer, S>("customers"))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(terms, in_context))
        .with_state(Api {
            store,
            bodies: Bodies::new(limits),
            admission: Admission::new(http, breaker),
        })
}

async fn unknown_route(uri: Uri) -> Problem {
    Problem::not_found("route_not_found", format!("there is nothing at {}", uri.path()))
}

async fn unknown_method(method: Method, uri: Uri) -> Problem {
    Problem::method_not_allowed(format!("{method} is not possible at {}", uri.path()))
}

/// The panic itself is in the log already.
fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    problem::internal().into_response()
}
