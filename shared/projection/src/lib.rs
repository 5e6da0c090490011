//! Folds events into read models.
//!
//! The life of an event here: the sequencer of `cdc` hands it to a [`Projector`], in order per
//! aggregate; the projector decodes it, lets the [`Projection`] fold it over the aggregate's view,
//! and writes the resulting [`RowWrite`]s under the version's timestamp; the sequencer stores the
//! new view with its cursor. [`read_models`] lists the projections; [`queries`] reads their rows;
//! [`audit`] compares them with the events.

pub mod audit;
mod metrics;
mod projection;
mod projector;
pub mod queries;
pub mod read_models;
mod row;
#[cfg(test)]
mod tests;

pub use projection::{FoldError, Folded, Projection};
pub use projector::Projector;
pub use row::{IntoCell, RowWrite};

use database::{Migration, MigrationSet};

/// The tables of the first generation of every projection.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    crate_name: "projection",
    migrations: &[
        Migration { number: 1, name: "orders", cql: include_str!("read_models/orders.cql") },
        Migration { number: 2, name: "customers", cql: include_str!("read_models/customers.cql") },
        Migration {
            number: 3,
            name: "orders_by_status_compaction",
            cql: include_str!("read_models/orders_by_status_compaction.cql"),
        },
    ],
};
