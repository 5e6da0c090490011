//! The JSON of the answers.

use domain::OrderItem;
use kernel::{RecordedEvent, Timestamp};
use projection::QueryError;
use read_models::AddressView;
use read_models::queries::{CustomerRow, OrderPage, OrderRow, OrderSummary};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

#[derive(Debug, Serialize)]
pub(crate) struct OrderView {
    order_id: Uuid,
    pub(crate) version: i64,
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
    pub(crate) version: i64,
    name: String,
    email: String,
    phone: Option<String>,
    status: String,
    status_reason: Option<String>,
    addresses: Vec<AddressView>,
    registered_at: Timestamp,
    updated_at: Timestamp,
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

/// A page of orders, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct OrdersView {
    orders: Vec<OrderSummaryView>,
    /// Given back as `cursor` to get the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

#[derive(Debug, Serialize)]
struct OrderSummaryView {
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

impl From<OrderPage> for OrdersView {
    fn from(page: OrderPage) -> Self {
        Self {
            orders: page.rows.into_iter().map(Into::into).collect(),
            next: page.next.map(|cursor| cursor.to_string()),
        }
    }
}

/// Events of one aggregate, oldest first.
#[derive(Debug, Serialize)]
pub(crate) struct HistoryView {
    aggregate_id: Uuid,
    events: Vec<EventView>,
    /// Given back as `after` to get the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<u64>,
}

#[derive(Debug, Serialize)]
struct EventView {
    id: Uuid,
    version: u64,
    #[serde(rename = "type")]
    event_type: String,
    schema_version: u32,
    recorded_at: Timestamp,
    command_id: Uuid,
    correlation_id: Uuid,
    causation_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// As it is stored, byte for byte.
    data: Box<RawValue>,
}

impl HistoryView {
    /// A page; full when it has `limit` events.
    pub(crate) fn of(
        aggregate_id: Uuid,
        events: Vec<RecordedEvent>,
        limit: u32,
    ) -> Result<Self, QueryError> {
        let full = events.len() >= limit as usize;
        let next = events.last().filter(|_| full).map(|event| event.version.0);
        let events = events.into_iter().map(EventView::try_from).collect::<Result<_, _>>()?;
        Ok(Self { aggregate_id, events, next })
    }
}

impl TryFrom<RecordedEvent> for EventView {
    type Error = QueryError;

    fn try_from(event: RecordedEvent) -> Result<Self, QueryError> {
        let data = RawValue::from_string(event.payload)
            .map_err(|error| QueryError::Shape(error.to_string()))?;
        Ok(Self {
            id: event.event_id,
            version: event.version.0,
            event_type: event.event_type,
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            command_id: event.metadata.command_id,
            correlation_id: event.metadata.correlation_id,
            causation_id: event.metadata.causation_id,
            actor: event.metadata.actor,
            traceparent: event.metadata.trace_parent,
            data,
        })
    }
}
