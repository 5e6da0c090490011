//! Slots: fixed equal parts of the token ring, and which process of a group works on each.
//!
//! An aggregate belongs to the slot of its own token ([`slot_of`]). The consumers of one group share
//! its slots; each slot has one row in `slots` that says who owns it and up to where its part of the
//! CDC log is settled: lease and checkpoint in one row, changed by LWT on its epoch and revision, so
//! that an owner which lost the slot can no longer move the checkpoint.
//!
//! The life of a lease: the [agent](Leases::run) shows in `members` that the process is there, sees
//! who else is, and takes its [fair share](share) of the slots that are free or whose owner [stands
//! still](still). Each lease is renewed until the process is asked to end, more members come, or a
//! renewal fails for too long: an owner stops two thirds of a term after the last renewal that was
//! applied was sent, and nobody takes its slot before a whole term has passed. Whoever works on the
//! slots follows [`Leases::held`] and says when nothing is in hand any more: [`Leases::release`] after
//! an orderly end, [`Leases::forget`] after a loss.
//!
//! No wall clock takes part in any of this.

mod agent;
mod config;
mod error;
mod lease;
mod leases;
mod metrics;
mod row;
mod share;
mod still;
mod store;
mod table;
mod token;

use database::{Migration, MigrationSet};

pub use config::LeaseConfig;
pub use error::SlotError;
pub use lease::Phase;
pub use leases::{Held, Leases};
pub use row::{SlotState, list};
pub use store::{LeaseStore, Member};
pub use table::{Table, list_members};
pub use token::{slot_of, slot_range};

/// The tables of this crate.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    crate_name: "leases",
    migrations: &[
        Migration { number: 1, name: "slots", cql: include_str!("../cql/0001_slots.cql") },
        Migration { number: 2, name: "members", cql: include_str!("../cql/0002_members.cql") },
    ],
};

#[cfg(test)]
mod tests;
