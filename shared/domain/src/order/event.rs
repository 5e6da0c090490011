//! What happened to an order.

use crate::value::Items;
use kernel::{DomainEvent, EventKind, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An event of an order. The stored names are literals and outlive the Rust names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum OrderEvent {
    /// It was placed.
    #[serde(rename = "OrderCreated")]
    Created {
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
    },
    /// Its items were replaced.
    #[serde(rename = "OrderItemsUpdated")]
    ItemsUpdated {
        /// All its items from now on.
        items: Vec<OrderItem>,
        /// What they cost together.
        total_minor: i64,
        /// When.
        updated_at: Timestamp,
    },
    /// It was settled.
    #[serde(rename = "OrderConfirmed")]
    Confirmed {
        /// When.
        confirmed_at: Timestamp,
    },
    /// It was sent.
    #[serde(rename = "OrderShipped")]
    Shipped {
        /// Who carries it.
        carrier: String,
        /// By what the carrier knows it.
        tracking_number: String,
        /// When.
        shipped_at: Timestamp,
    },
    /// It arrived.
    #[serde(rename = "OrderDelivered")]
    Delivered {
        /// Who signed for it.
        signature: String,
        /// When.
        delivered_at: Timestamp,
    },
    /// It was called off.
    #[serde(rename = "OrderCancelled")]
    Cancelled {
        /// Why.
        reason: String,
        /// When.
        cancelled_at: Timestamp,
    },
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

impl DomainEvent for OrderEvent {
    const KINDS: &'static [EventKind] = &[
        EventKind::new("OrderCreated", 1),
        EventKind::new("OrderItemsUpdated", 1),
        EventKind::new("OrderConfirmed", 1),
        EventKind::new("OrderShipped", 1),
        EventKind::new("OrderDelivered", 1),
        EventKind::new("OrderCancelled", 1),
    ];

    fn kind(&self) -> EventKind {
        match self {
            Self::Created { .. } => Self::KINDS[0],
            Self::ItemsUpdated { .. } => Self::KINDS[1],
            Self::Confirmed { .. } => Self::KINDS[2],
            Self::Shipped { .. } => Self::KINDS[3],
            Self::Delivered { .. } => Self::KINDS[4],
            Self::Cancelled { .. } => Self::KINDS[5],
        }
    }

    fn samples() -> Vec<Self> {
        super::samples::all()
    }
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
