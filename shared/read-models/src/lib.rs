//! The read models of the shop. Each projection is one consumer with one cursor per aggregate; [`READ_MODELS`]
//! registers them, [`queries`] reads their rows.
//!
//! | projection | tables |
//! | --- | --- |
//! | `orders` | `order_read_model`, `orders_by_customer`, `orders_by_status` |
//! | `customers` | `customer_read_model` |

#![warn(clippy::wildcard_enum_match_arm)]

mod buckets;
mod customers;
mod orders;
pub mod queries;
#[cfg(test)]
mod tests;

pub use customers::AddressView;

use application::Application;
use customers::Customers;
use database::{Migration, MigrationSet};
use orders::Orders;
use projection::{ReadModel, ReadModels};

/// The read models of the shop. Their migrations are stored under the name that they first had.
pub const READ_MODELS: ReadModels = ReadModels::new(
    &[ReadModel::of::<Orders>(), ReadModel::of::<Customers>()],
    MigrationSet {
        crate_name: "projection",
        migrations: &[
            Migration { number: 1, name: "orders", cql: include_str!("orders.cql") },
            Migration { number: 2, name: "customers", cql: include_str!("customers.cql") },
            Migration {
                number: 3,
                name: "orders_by_status_compaction",
                cql: include_str!("orders_by_status_compaction.cql"),
            },
        ],
    },
);

/// The shop, as every one of its processes takes it.
pub const SHOP: Application = Application::new(domain::AGGREGATES, READ_MODELS);
