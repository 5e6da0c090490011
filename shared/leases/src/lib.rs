//! Slots: fixed equal parts of the token ring, and how far each is settled.
//!
//! An aggregate belongs to the slot of its own token ([`slot_of`]). The consumers of one group share
//! its slots; each slot has one row in `slots` that says who owns it and up to where its part of the
//! CDC log is settled. A process takes the slots of its group with [`Slots::load_all`], moves their
//! checkpoints with [`Slots::save_checkpoint`], and gives them up with [`Slots::release`]. Whoever
//! takes a slot raises its revision, so that the owner before finds itself [`SlotError::Lost`] at its
//! next change instead of moving the checkpoint under the new one.
//!
//! One replica takes all slots of its group; sharing them among replicas needs members and terms,
//! which are not here.

mod error;
mod row;
mod slots;
mod token;

use runtime::{Migration, MigrationSet};

pub use error::SlotError;
pub use row::{SlotState, list};
pub use slots::Slots;
pub use token::{slot_of, slot_range};

/// The tables of this crate.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    crate_name: "leases",
    migrations: &[Migration {
        number: 1,
        name: "slots",
        cql: include_str!("../cql/0001_slots.cql"),
    }],
};

#[cfg(test)]
mod tests;
