//! The shop: customers and orders. Pure, as everything that the kernel asks for is.
//!
//! Each aggregate has a folder: its state with [`kernel::Aggregate::decide`] and `apply`, its commands, its
//! events and their samples. [`AGGREGATES`] registers them; [`value`] has the values that commands are made of.

#[macro_use]
mod status;

pub mod customer;
pub mod order;
#[cfg(test)]
mod replay;
pub mod value;

pub use customer::{Customer, CustomerCommand, CustomerError, CustomerEvent, CustomerStatus};
pub use order::{Order, OrderCommand, OrderError, OrderEvent, OrderItem, OrderStatus};
pub use value::ValueError;

use kernel::{AggregateType, Aggregates};

/// The aggregates of the shop.
pub const AGGREGATES: Aggregates =
    Aggregates::new(&[AggregateType::of::<Order>(), AggregateType::of::<Customer>()]);

#[cfg(test)]
mod tests {
    #[test]
    fn golden_events_are_stored_as_ever() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        kernel::testing::golden::check(super::AGGREGATES, &folder);
    }
}
