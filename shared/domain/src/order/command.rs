//! What may be asked of an order.

use crate::value::{Currency, Items, Text};
use uuid::Uuid;

/// A command to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderCommand {
    /// Place it.
    Create {
        /// Who orders; whether that customer exists is not checked.
        customer_id: Uuid,
        /// What all its prices are in.
        currency: Currency,
        /// What is ordered.
        items: Items,
    },
    /// Replace all its items.
    UpdateItems {
        /// What is ordered from now on.
        items: Items,
    },
    /// Settle it: from now on its items stay as they are.
    Confirm,
    /// Send it.
    Ship {
        /// Who carries it.
        carrier: Text<100>,
        /// By what the carrier knows it.
        tracking_number: Text<100>,
    },
    /// It arrived.
    Deliver {
        /// Who signed for it.
        signature: Text<200>,
    },
    /// Call it off.
    Cancel {
        /// Why.
        reason: Text<500>,
    },
}
