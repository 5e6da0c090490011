//! The JSON of the answers.

use domain::OrderItem;
use http_edge::queries::Representation;
use kernel::{Timestamp, Version};
use projection::QueryError;
use read_models::AddressView;
use read_models::queries::{CustomerRow, OrderRow, OrderSummary};
use serde::Serialize;
use uuid::Uuid;

#[derive(Debug, Serialize)]
pub(crate) struct OrderView {
    order_id: Uuid,
    version: i64,
    customer_id: Uuid,
    status: String,
    currency: String,
    total_minor: i64,
    items: Vec<OrderItem>,
    carrier: Option<String>,
    tracking_number: Option<String>,
    signature: Option<String>,
    cancel_reason: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    confirmed_at: Option<Timestamp>,
    shipped_at: Option<Timestamp>,
    delivered_at: Option<Timestamp>,
    cancelled_at: Option<Timestamp>,
}

impl Representation for OrderView {
    fn version(&self) -> Version {
        Version(self.version.cast_unsigned())
    }
}

impl TryFrom<OrderRow> for OrderView {
    type Error = QueryError;

    fn try_from(row: OrderRow) -> Result<Self, QueryError> {
        Ok(Self {
            items: row.items()?,
            order_id: row.order_id,
            version: row.version,
            customer_id: row.customer_id,
            status: row.status,
            currency: row.currency,
            total_minor: row.total_minor,
            carrier: row.carrier,
            tracking_number: row.tracking_number,
            signature: row.signature,
            cancel_reason: row.cancel_reason,
            created_at: Timestamp(row.created_at.0),
            updated_at: Timestamp(row.updated_at.0),
            confirmed_at: row.confirmed_at.map(|at| Timestamp(at.0)),
            shipped_at: row.shipped_at.map(|at| Timestamp(at.0)),
            delivered_at: row.delivered_at.map(|at| Timestamp(at.0)),
            cancelled_at: row.cancelled_at.map(|at| Timestamp(at.0)),
        })
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct CustomerView {
    customer_id: Uuid,
    version: i64,
    name: String,
    email: String,
    phone: Option<String>,
    status: String,
    status_reason: Option<String>,
    addresses: Vec<AddressView>,
    registered_at: Timestamp,
    updated_at: Timestamp,
}

impl Representation for CustomerView {
    fn version(&self) -> Version {
        Version(self.version.cast_unsigned())
    }
}

impl TryFrom<CustomerRow> for CustomerView {
    type Error = QueryError;

    fn try_from(row: CustomerRow) -> Result<Self, QueryError> {
        Ok(Self {
            addresses: row.addresses()?,
            customer_id: row.customer_id,
            version: row.version,
            name: row.name,
            email: row.email,
            phone: row.phone,
            status: row.status,
            status_reason: row.status_reason,
            registered_at: Timestamp(row.registered_at.0),
            updated_at: Timestamp(row.updated_at.0),
        })
    }
}

/// An order in a list.
#[derive(Debug, Serialize)]
pub(crate) struct OrderSummaryView {
    order_id: Uuid,
    customer_id: Uuid,
    status: String,
    currency: String,
    total_minor: i64,
    created_at: Timestamp,
    version: i64,
}

impl From<OrderSummary> for OrderSummaryView {
    fn from(order: OrderSummary) -> Self {
        Self {
            order_id: order.order_id,
            customer_id: order.customer_id,
            status: order.status,
            currency: order.currency,
            total_minor: order.total_minor,
            created_at: Timestamp(order.created_at.0),
            version: order.version,
        }
    }
}
