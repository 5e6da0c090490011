//! The reference read models. Each projection is one consumer with one cursor per aggregate.
//!
//! | projection | tables |
//! | --- | --- |
//! | `orders` | `order_read_model`, `orders_by_customer`, `orders_by_status` |
//! | `customers` | `customer_read_model` |

#![warn(clippy::wildcard_enum_match_arm)]

pub mod buckets;
mod customers;
mod orders;

pub use customers::{AddressView, Customers, CustomersView};
pub use orders::{Orders, OrdersView};

use crate::projector::Projector;
use cdc::ChangeConsumer;
use scylla::client::session::Session;
use std::sync::Arc;

/// All projections, as consumers of one group.
pub fn consumers(session: &Arc<Session>) -> Vec<Arc<dyn ChangeConsumer>> {
    vec![
        Arc::new(Projector::new(Orders, Arc::clone(session))),
        Arc::new(Projector::new(Customers, Arc::clone(session))),
    ]
}
