//! Examples of the events of an order, in the order of its life.

use super::{OrderEvent, OrderItem};
use kernel::testing::NOW;
use uuid::Uuid;

/// An example of each.
pub(super) fn all() -> Vec<OrderEvent> {
    let tea = OrderItem { product_id: "tea".into(), quantity: 2, unit_price_minor: 450 };
    let pot = OrderItem { product_id: "pot \"blue\"".into(), quantity: 1, unit_price_minor: 1999 };
    vec![
        OrderEvent::Created {
            customer_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0007),
            currency: "EUR".into(),
            items: vec![tea.clone(), pot],
            total_minor: 2899,
            created_at: NOW,
        },
        OrderEvent::ItemsUpdated { items: vec![tea], total_minor: 900, updated_at: NOW },
        OrderEvent::Confirmed { confirmed_at: NOW },
        OrderEvent::Shipped {
            carrier: "DHL".into(),
            tracking_number: "JD014600006281230701".into(),
            shipped_at: NOW,
        },
        OrderEvent::Delivered { signature: "Zoë Müller".into(), delivered_at: NOW },
        OrderEvent::Cancelled { reason: "ordered twice".into(), cancelled_at: NOW },
    ]
}
