//! Reads the read models.

mod orders_lists;

pub use orders_lists::{OrderPage, OrderSummary};

use crate::AddressView;
use crate::customers::CUSTOMER;
use crate::orders::ORDER;
use domain::{OrderItem, OrderStatus};
use kernel::Timestamp;
use orders_lists::{ByCustomer, ByStatus};
use projection::listing::{ListRequest, Listing};
use projection::{ById, QueryError};
use scylla::DeserializeRow;
use scylla::client::session::Session;
use scylla::value::CqlTimestamp;
use std::sync::Arc;
use uuid::Uuid;

/// Prepared reads of all tables. Cheap to clone.
#[derive(Clone)]
pub struct Queries {
    inner: Arc<Inner>,
}

struct Inner {
    order: ById<OrderRow>,
    customer: ById<CustomerRow>,
    by_customer: Listing<ByCustomer>,
    by_status: Listing<ByStatus>,
}

/// A row of `order_read_model`.
#[derive(Debug, Clone, DeserializeRow)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct OrderRow {
    pub order_id: Uuid,
    pub version: i64,
    pub customer_id: Uuid,
    pub status: String,
    pub currency: String,
    pub total_minor: i64,
    /// JSON; see [`OrderRow::items`].
    pub items: String,
    pub carrier: Option<String>,
    pub tracking_number: Option<String>,
    pub signature: Option<String>,
    pub cancel_reason: Option<String>,
    pub created_at: CqlTimestamp,
    pub updated_at: CqlTimestamp,
    pub confirmed_at: Option<CqlTimestamp>,
    pub shipped_at: Option<CqlTimestamp>,
    pub delivered_at: Option<CqlTimestamp>,
    pub cancelled_at: Option<CqlTimestamp>,
}

const ORDER_COLUMNS: &str = "order_id, version, customer_id, status, currency, total_minor, items, \
    carrier, tracking_number, signature, cancel_reason, created_at, updated_at, confirmed_at, \
    shipped_at, delivered_at, cancelled_at";

impl OrderRow {
    /// The order's items.
    pub fn items(&self) -> Result<Vec<OrderItem>, QueryError> {
        serde_json::from_str(&self.items).map_err(|error| QueryError::Shape(error.to_string()))
    }
}

/// A row of `customer_read_model`.
#[derive(Debug, Clone, DeserializeRow)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct CustomerRow {
    pub customer_id: Uuid,
    pub version: i64,
    pub name: String,
    pub email: String,
    pub phone: Option<String>,
    pub status: String,
    pub status_reason: Option<String>,
    /// JSON; see [`CustomerRow::addresses`].
    pub addresses: String,
    pub registered_at: CqlTimestamp,
    pub updated_at: CqlTimestamp,
}

const CUSTOMER_COLUMNS: &str = "customer_id, version, name, email, phone, status, status_reason, \
    addresses, registered_at, updated_at";

impl CustomerRow {
    /// The customer's addresses.
    pub fn addresses(&self) -> Result<Vec<AddressView>, QueryError> {
        serde_json::from_str(&self.addresses).map_err(|error| QueryError::Shape(error.to_string()))
    }
}

impl Queries {
    /// Prepares all reads.
    pub async fn open(session: Arc<Session>) -> Result<Self, QueryError> {
        let inner = Inner {
            order: ById::open(Arc::clone(&session), &ORDER, ORDER_COLUMNS).await?,
            customer: ById::open(Arc::clone(&session), &CUSTOMER, CUSTOMER_COLUMNS).await?,
            by_customer: Listing::open(Arc::clone(&session)).await?,
            by_status: Listing::open(session).await?,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// One order; `None` while no event of it was projected.
    pub async fn order(&self, order_id: Uuid) -> Result<Option<OrderRow>, QueryError> {
        self.inner.order.read(order_id).await
    }

    /// One customer; `None` while no event of them was projected.
    pub async fn customer(&self, customer_id: Uuid) -> Result<Option<CustomerRow>, QueryError> {
        self.inner.customer.read(customer_id).await
    }

    /// The orders of a customer, newest first.
    pub async fn orders_of_customer(
        &self,
        customer_id: Uuid,
        now: Timestamp,
        request: &ListRequest,
    ) -> Result<OrderPage, QueryError> {
        self.inner.by_customer.page(&ByCustomer { customer_id }, now, request).await
    }

    /// The orders in a status, newest first.
    pub async fn orders_by_status(
        &self,
        status: OrderStatus,
        now: Timestamp,
        request: &ListRequest,
    ) -> Result<OrderPage, QueryError> {
        self.inner.by_status.page(&ByStatus { status }, now, request).await
    }
}
