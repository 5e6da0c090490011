//! The `orders` projection: one order, the orders of a customer, the orders in a status.

use crate::buckets::{customer_bucket, day, spread};
use domain::{Order, OrderEvent, OrderItem, OrderStatus};
use kernel::{Aggregate, EventEnvelope, Timestamp};
use projection::{FoldError, Folded, Projection, RowWrite, Table, beginning, begun};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) const ORDER: Table = Table::new("order_read_model", &["order_id"], &[], "order_id");
const BY_CUSTOMER: &str = "orders_by_customer";
const BY_STATUS: &str = "orders_by_status";

/// Folds the events of one order.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Orders;

/// What is remembered of an order: where its rows in the lists are, and what they show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrdersView {
    customer_id: Uuid,
    created_at: Timestamp,
    status: String,
    currency: String,
    total_minor: i64,
}

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const CODE_VERSION: u32 = 1;
    const TABLES: &'static [Table] = &[
        ORDER,
        Table::new(
            BY_CUSTOMER,
            &["customer_id", "bucket"],
            &["created_at", "order_id"],
            "order_id",
        ),
        Table::new(
            BY_STATUS,
            &["status", "day", "spread"],
            &["created_at", "order_id"],
            "order_id",
        ),
    ];
    const AGGREGATE_TYPE: &'static str = Order::TYPE;
    type Event = OrderEvent;
    type View = OrdersView;

    fn project(
        &self,
        view: Option<OrdersView>,
        event: &EventEnvelope<OrderEvent>,
    ) -> Result<Folded<OrdersView>, FoldError> {
        let before = view.as_ref().map(|view| view.status.clone());
        let view = folded(view, &event.payload)?;
        let order = RowWrite::upsert(ORDER.name)
            .key("order_id", event.aggregate_id)
            .set("version", event.version)
            .set("updated_at", event.recorded_at)
            .set("status", view.status.as_str());
        let by_status = |row, status: &str| by_status(row, status, &view, event.aggregate_id);
        let mut writes = vec![
            with_changed(order, &event.payload),
            listed(by_customer(&view, event.aggregate_id), &view, event)
                .set("status", view.status.as_str()),
            listed(by_status(RowWrite::upsert(BY_STATUS), &view.status), &view, event)
                .set("customer_id", view.customer_id),
        ];
        if let Some(before) = before.filter(|before| *before != view.status) {
            writes.push(by_status(RowWrite::delete(BY_STATUS), &before));
        }
        Ok((view, writes))
    }
}

/// The view after an event.
fn folded(view: Option<OrdersView>, event: &OrderEvent) -> Result<OrdersView, FoldError> {
    let in_status = |view, status: OrderStatus| {
        begun(view).map(|view| OrdersView { status: status.to_string(), ..view })
    };
    match event {
        OrderEvent::Created { customer_id, currency, total_minor, created_at, .. } => {
            let first = OrdersView {
                customer_id: *customer_id,
                created_at: *created_at,
                status: OrderStatus::Created.to_string(),
                currency: currency.clone(),
                total_minor: *total_minor,
            };
            beginning(view, first)
        }
        OrderEvent::ItemsUpdated { total_minor, .. } => {
            Ok(OrdersView { total_minor: *total_minor, ..begun(view)? })
        }
        OrderEvent::Confirmed { .. } => in_status(view, OrderStatus::Confirmed),
        OrderEvent::Shipped { .. } => in_status(view, OrderStatus::Shipped),
        OrderEvent::Delivered { .. } => in_status(view, OrderStatus::Delivered),
        OrderEvent::Cancelled { .. } => in_status(view, OrderStatus::Cancelled),
    }
}

/// The columns of the order itself that an event changes.
fn with_changed(order: RowWrite, event: &OrderEvent) -> RowWrite {
    match event {
        OrderEvent::Created { customer_id, currency, items, total_minor, created_at } => {
            with_items(order, items, *total_minor)
                .set("customer_id", *customer_id)
                .set("currency", currency.as_str())
                .set("created_at", *created_at)
        }
        OrderEvent::ItemsUpdated { items, total_minor, .. } => {
            with_items(order, items, *total_minor)
        }
        OrderEvent::Confirmed { confirmed_at } => order.set("confirmed_at", *confirmed_at),
        OrderEvent::Shipped { carrier, tracking_number, shipped_at } => order
            .set("carrier", carrier.as_str())
            .set("tracking_number", tracking_number.as_str())
            .set("shipped_at", *shipped_at),
        OrderEvent::Delivered { signature, delivered_at } => {
            order.set("signature", signature.as_str()).set("delivered_at", *delivered_at)
        }
        OrderEvent::Cancelled { reason, cancelled_at } => {
            order.set("cancel_reason", reason.as_str()).set("cancelled_at", *cancelled_at)
        }
    }
}

fn with_items(order: RowWrite, items: &[OrderItem], total_minor: i64) -> RowWrite {
    let items = serde_json::to_string(items).expect("plain fields are JSON");
    order.set("items", items).set("total_minor", total_minor)
}

fn by_customer(view: &OrdersView, order_id: Uuid) -> RowWrite {
    RowWrite::upsert(BY_CUSTOMER)
        .key("customer_id", view.customer_id)
        .key("bucket", customer_bucket(view.created_at))
        .key("created_at", view.created_at)
        .key("order_id", order_id)
}

fn by_status(row: RowWrite, status: &str, view: &OrdersView, order_id: Uuid) -> RowWrite {
    row.key("status", status)
        .key("day", day(view.created_at))
        .key("spread", spread(order_id))
        .key("created_at", view.created_at)
        .key("order_id", order_id)
}

/// What both lists show of an order.
fn listed(row: RowWrite, view: &OrdersView, event: &EventEnvelope<OrderEvent>) -> RowWrite {
    row.set("version", event.version)
        .set("currency", view.currency.as_str())
        .set("total_minor", view.total_minor)
}
