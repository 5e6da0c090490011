//! What happened to an order.

use crate::value::Items;
use kernel::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

kernel::events! {
    /// An event of an order. The stored names are literals and outlive the Rust names.
    pub enum OrderEvent, samples = super::samples::all;

    /// It was placed.
    Created = "OrderCreated" 1 {
        /// Who ordered.
        customer_id: Uuid,
        /// ISO 4217 code; all amounts of the order are in its minor unit.
        currency: String,
        /// What was ordered.
        items: Vec<OrderItem>,
        /// What the items cost together.
        total_minor: i64,
        /// When.
        created_at: Timestamp,
    }
    /// Its items were replaced.
    ItemsUpdated = "OrderItemsUpdated" 1 {
        /// All its items from now on.
        items: Vec<OrderItem>,
        /// What they cost together.
        total_minor: i64,
        /// When.
        updated_at: Timestamp,
    }
    /// It was settled.
    Confirmed = "OrderConfirmed" 1 {
        /// When.
        confirmed_at: Timestamp,
    }
    /// It was sent.
    Shipped = "OrderShipped" 1 {
        /// Who carries it.
        carrier: String,
        /// By what the carrier knows it.
        tracking_number: String,
        /// When.
        shipped_at: Timestamp,
    }
    /// It arrived.
    Delivered = "OrderDelivered" 1 {
        /// Who signed for it.
        signature: String,
        /// When.
        delivered_at: Timestamp,
    }
    /// It was called off.
    Cancelled = "OrderCancelled" 1 {
        /// Why.
        reason: String,
        /// When.
        cancelled_at: Timestamp,
    }
}

/// One position of an order, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderItem {
    /// The shop's id of what was ordered.
    pub product_id: String,
    /// How many.
    pub quantity: u32,
    /// What one of them costs, in minor units of the order's currency.
    pub unit_price_minor: i64,
}

/// Items in their stored form.
pub(super) fn stored(items: &Items) -> Vec<OrderItem> {
    let stored = items.as_slice().iter().map(|item| OrderItem {
        product_id: item.product_id.as_str().to_owned(),
        quantity: item.quantity.get(),
        unit_price_minor: item.unit_price.minor(),
    });
    stored.collect()
}
