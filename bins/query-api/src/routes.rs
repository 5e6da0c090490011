//! Which queries are there, and what each asks the read models.

use crate::config::QueriesConfig;
use crate::views::{CustomerView, OrderSummaryView, OrderView, page_of};
use domain::{Customer, Order, OrderStatus};
use http_edge::queries::{NoParameters, Page, PageRequest, QueryRoutes, malformed_parameter};
use http_edge::{Problem, unavailable, unreadable};
use kernel::Timestamp;
use projection::queries::{ListRequest, Queries, QueryError};
use serde::Deserialize;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// What the queries read with.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) queries: Queries,
    pub(crate) config: QueriesConfig,
}

/// The queries of the shop.
pub(crate) fn routes() -> QueryRoutes<Shop> {
    QueryRoutes::new()
        .get("order", "/v1/orders/{id}", order)
        .list("orders_by_status", "/v1/orders", orders_by_status)
        .history::<Order>("orders")
        .get("customer", "/v1/customers/{id}", customer)
        .list_of("orders_by_customer", "/v1/customers/{id}/orders", orders_of_customer)
        .history::<Customer>("customers")
}

async fn order(shop: Shop, id: Uuid) -> Result<Option<OrderView>, Problem> {
    let row = shop.queries.order(id).await.map_err(failed)?;
    row.map(OrderView::try_from).transpose().map_err(failed)
}

async fn customer(shop: Shop, id: Uuid) -> Result<Option<CustomerView>, Problem> {
    let row = shop.queries.customer(id).await.map_err(failed)?;
    row.map(CustomerView::try_from).transpose().map_err(failed)
}

/// `?status=…`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByStatus {
    status: String,
}

async fn orders_by_status(
    shop: Shop,
    page: PageRequest<ByStatus>,
) -> Result<Page<OrderSummaryView>, Problem> {
    let status = OrderStatus::parse(&page.parameters.status).ok_or_else(|| {
        let known = OrderStatus::ALL.map(OrderStatus::as_str).join(", ");
        malformed_parameter("status", format!("must be one of {known}"))
    })?;
    let request = list_request(&page, shop.config.orders_by_status_days_max)?;
    let orders = shop.queries.orders_by_status(status, now(), &request).await.map_err(failed)?;
    Ok(page_of(orders))
}

async fn orders_of_customer(
    shop: Shop,
    id: Uuid,
    page: PageRequest<NoParameters>,
) -> Result<Page<OrderSummaryView>, Problem> {
    let request = list_request(&page, shop.config.orders_by_customer_days_max)?;
    let orders = shop.queries.orders_of_customer(id, now(), &request).await.map_err(failed)?;
    Ok(page_of(orders))
}

fn list_request<P>(page: &PageRequest<P>, days_max: u32) -> Result<ListRequest, Problem> {
    Ok(ListRequest { limit: page.limit, after: page.cursor()?, days_max })
}

/// What a client is told when a read model cannot be read.
fn failed(error: QueryError) -> Problem {
    match error {
        QueryError::Prepare(_) | QueryError::Execute(_) => unavailable(&error),
        QueryError::Shape(_) => unreadable(&error),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
