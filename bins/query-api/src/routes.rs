//! Which queries are there, and what each asks the read models.

use crate::config::QueriesConfig;
use crate::views::{CustomerView, OrderSummaryView, OrderView};
use domain::{Customer, Order, OrderStatus};
use http_edge::Problem;
use http_edge::queries::{NoParameters, Page, PageRequest, QueryRoutes, malformed_parameter};
use processes::query_api::{Queries, failed, list_request, now, page_of};
use scylla::client::session::Session;
use serde::Deserialize;
use std::sync::Arc;
use uuid::Uuid;

/// What the queries read with.
#[derive(Clone)]
pub(crate) struct Shop {
    queries: read_models::queries::Queries,
    config: QueriesConfig,
}

impl Queries for Shop {
    type Config = QueriesConfig;

    async fn open(session: Arc<Session>, config: &QueriesConfig) -> anyhow::Result<Self> {
        Ok(Self { queries: read_models::queries::Queries::open(session).await?, config: *config })
    }

    fn routes() -> QueryRoutes<Self> {
        QueryRoutes::new()
            .get("order", "/v1/orders/{id}", order)
            .list("orders_by_status", "/v1/orders", orders_by_status)
            .history::<Order>("orders")
            .get("customer", "/v1/customers/{id}", customer)
            .list_of("orders_by_customer", "/v1/customers/{id}/orders", orders_of_customer)
            .history::<Customer>("customers")
    }
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
    Ok(page_of("orders", orders, OrderSummaryView::from))
}

async fn orders_of_customer(
    shop: Shop,
    id: Uuid,
    page: PageRequest<NoParameters>,
) -> Result<Page<OrderSummaryView>, Problem> {
    let request = list_request(&page, shop.config.orders_by_customer_days_max)?;
    let orders = shop.queries.orders_of_customer(id, now(), &request).await.map_err(failed)?;
    Ok(page_of("orders", orders, OrderSummaryView::from))
}
