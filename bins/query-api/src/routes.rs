//! `GET` routes.

use crate::bounds::Bounds;
use crate::config::QueriesConfig;
use crate::problem::{Problem, malformed, not_found, of_answer, of_history, of_query};
use crate::views::{CustomerView, HistoryView, OrderView, OrdersView};
use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::{Customer, Order, OrderStatus};
use event_store::EventReader;
use kernel::{Aggregate, Timestamp, Version};
use projection::listing::{Cursor, ListRequest};
use read_models::queries::Queries;
use runtime::http::context::{Terms, in_context, parse_id};
use runtime::{Breaker, HttpConfig};
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::time::{SystemTime, UNIX_EPOCH};
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) queries: Queries,
    pub(crate) events: EventReader,
    pub(crate) config: QueriesConfig,
}

type Reply = Result<Response, Problem>;
type Shared = axum::extract::State<State>;
type Id = Result<Path<String>, PathRejection>;
type Parameters<T> = Result<Query<T>, QueryRejection>;

/// All routes.
pub(crate) fn router(state: State, http: &HttpConfig, breaker: Breaker) -> Router {
    let bounds = Bounds::new(http, breaker);
    let query = |name, handler| bounds.query(name, handler);
    // Queries have no outcome but their answer.
    let terms = Terms::of(http, None);
    Router::new()
        .route("/v1/orders", query("orders_by_status", get(orders_by_status)))
        .route("/v1/orders/{id}", query("order", get(order)))
        .route("/v1/orders/{id}/events", query("order_events", get(history::<Order>)))
        .route("/v1/customers/{id}", query("customer", get(customer)))
        .route("/v1/customers/{id}/orders", query("orders_by_customer", get(orders_of_customer)))
        .route("/v1/customers/{id}/events", query("customer_events", get(history::<Customer>)))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(terms, in_context))
        .with_state(state)
}

async fn unknown_route(uri: Uri) -> Problem {
    Problem::not_found("no_such_resource", format!("there is nothing at {}", uri.path()))
}

async fn unknown_method(method: Method, uri: Uri) -> Problem {
    Problem::method_not_allowed(format!("{method} is not possible at {}", uri.path()))
}

/// The panic itself is in the log already.
fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    Problem::internal("the request met an internal error").into_response()
}

async fn order(state: Shared, id: Id) -> Reply {
    let id = read_id(id)?;
    let row = state.queries.order(id).await.map_err(|error| of_query(&error))?;
    let view = OrderView::try_from(row.ok_or_else(|| not_found("order", id))?)
        .map_err(|error| of_query(&error))?;
    Ok(with_etag(view.version, answer(&view)?))
}

async fn customer(state: Shared, id: Id) -> Reply {
    let id = read_id(id)?;
    let row = state.queries.customer(id).await.map_err(|error| of_query(&error))?;
    let row = row.ok_or_else(|| not_found("customer", id))?;
    let view = CustomerView::try_from(row).map_err(|error| of_query(&error))?;
    Ok(with_etag(view.version, answer(&view)?))
}

/// `?status=…&limit=…&cursor=…`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByStatus {
    status: String,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn orders_by_status(state: Shared, parameters: Parameters<ByStatus>) -> Reply {
    let parameters = read(parameters)?;
    let status = OrderStatus::parse(&parameters.status).ok_or_else(|| {
        let known = OrderStatus::ALL.map(OrderStatus::as_str).join(", ");
        malformed("status", format!("must be one of {known}"))
    })?;
    let days_max = state.config.orders_by_status_days_max;
    let request = list_request(&state, parameters.limit, parameters.cursor, days_max)?;
    let page = state
        .queries
        .orders_by_status(status, now(), &request)
        .await
        .map_err(|error| of_query(&error))?;
    answer(&OrdersView::from(page))
}

/// `?limit=…&cursor=…`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfCustomer {
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn orders_of_customer(state: Shared, id: Id, parameters: Parameters<OfCustomer>) -> Reply {
    let id = read_id(id)?;
    let parameters = read(parameters)?;
    let days_max = state.config.orders_by_customer_days_max;
    let request = list_request(&state, parameters.limit, parameters.cursor, days_max)?;
    let page = state
        .queries
        .orders_of_customer(id, now(), &request)
        .await
        .map_err(|error| of_query(&error))?;
    answer(&OrdersView::from(page))
}

/// `?after=…&limit=…`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

/// The events of one aggregate, from the event store itself: never behind.
async fn history<A: Aggregate>(state: Shared, id: Id, parameters: Parameters<History>) -> Reply {
    let id = read_id(id)?;
    let parameters = read(parameters)?;
    let max = state.config.events_page_size_max;
    let limit = parameters.limit.unwrap_or(max);
    if limit == 0 || limit > max {
        return Err(malformed("limit", format!("must be between 1 and {max}")));
    }
    // The column is a signed 64-bit number, and there must be one after it.
    if parameters.after >= i64::MAX.cast_unsigned() {
        return Err(malformed("after", "is no version"));
    }
    let after = Version(parameters.after);
    let events = state.events.after(id, after, limit).await.map_err(|error| of_history(&error))?;
    let known = match events.first() {
        Some(event) => event.aggregate_type == A::TYPE,
        // Behind the end of a history there is nothing; without a history neither.
        None if after == Version::NONE => false,
        None => {
            let tail = state.events.tail(id, 1).await.map_err(|error| of_history(&error))?;
            tail.first().is_some_and(|event| event.aggregate_type == A::TYPE)
        }
    };
    if !known {
        return Err(not_found(A::TYPE, id));
    }
    let view = HistoryView::of(id, events, limit).map_err(|error| of_query(&error))?;
    answer(&view)
}

fn list_request(
    state: &State,
    limit: Option<usize>,
    cursor: Option<String>,
    days_max: u32,
) -> Result<ListRequest, Problem> {
    let max = state.config.page_size_max;
    let limit = limit.unwrap_or(state.config.page_size);
    if limit == 0 || limit > max {
        return Err(malformed("limit", format!("must be between 1 and {max}")));
    }
    let after = cursor
        .map(|cursor| cursor.parse::<Cursor>())
        .transpose()
        .map_err(|error| malformed("cursor", error.to_string()))?;
    Ok(ListRequest { limit, after, days_max })
}

fn read_id(id: Id) -> Result<Uuid, Problem> {
    let Path(id) = id.map_err(|error| malformed("id", error.body_text()))?;
    parse_id(&id).ok_or_else(|| malformed("id", "must be a UUID in its form with hyphens"))
}

fn read<T>(parameters: Parameters<T>) -> Result<T, Problem> {
    let Query(parameters) = parameters.map_err(|error| malformed("query", error.body_text()))?;
    Ok(parameters)
}

fn answer(view: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(view).map_err(|error| of_answer(&error))?;
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

fn with_etag(version: i64, mut response: Response) -> Response {
    let etag = HeaderValue::from_str(&format!("\"{version}\"")).expect("digits and quotes");
    response.headers_mut().insert(header::ETAG, etag);
    response
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
