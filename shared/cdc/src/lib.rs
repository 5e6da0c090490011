//! Reads the CDC log of `outbox_messages` and hands its events on, in order, once.
//!
//! The life of an announced event here: [`fast_pass`] finds its row within milliseconds and
//! [`sequencer`] brings it to each [`ChangeConsumer`] that wants it, after every earlier event of its
//! aggregate, reading from the event store what the log did not bring; effect first, then the
//! cursor. Once the row is as old as the safety interval, [`confirm_pass`] comes by, makes sure that
//! the event was handled, and moves the checkpoint of its slot. [`reader`] knows which streams there
//! are, [`clock`] what time it is in the database, and [`catch_up`] what to do when the log no longer
//! has what a consumer needs. [`run_group`] puts all of it together.
//!
//! What no reader of the log can find, because it was never announced or its row never came, is found
//! by the slow [`scanner`], which compares the newest versions with the cursors and announces again.
//!
//! An event that a consumer cannot handle goes into a dead letter ([`Letters`]) and its aggregate waits,
//! in that consumer only; [`Replay`] is for whoever tries it again.
//!
//! Nothing of this is exactly once: an event comes again when its process died between effect and
//! cursor, and the consumers are made for that.

mod admission;
mod blocked;
mod breakers;
mod catch_up;
mod checkpoints;
mod clock;
mod config;
mod confirm_pass;
mod consumer;
mod cursors;
mod database;
mod error;
mod fast_pass;
mod generation;
mod group;
mod handled;
mod lanes;
mod letters;
mod log_time;
mod lonely;
mod metrics;
mod reader;
mod replay;
mod scanner;
mod sequencer;
mod source;
mod suspects;
#[cfg(test)]
mod tests;

pub use breakers::Breakers;
pub use config::{CatchUpConfig, CdcConfig};
pub use consumer::{Change, ChangeConsumer, HandleError};
pub use error::{EventName, GroupError, Origin};
pub use generation::slot_of;
pub use group::{GroupDeps, run_group};
pub use handled::Handled;
pub use letters::{Letter, LetterKey, LetterState, Letters, Refusal};
pub use replay::{MayBegin, Replay, ReplayError};
pub use runtime::{ErrorClass, Target};
pub use scanner::{OwnedSlots, ScannerConfig, ScannerDeps, run_scanner};

use ::database::{Migration, MigrationSet};

/// The tables of this crate.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    crate_name: "cdc",
    migrations: &[
        Migration {
            number: 1,
            name: "consumer_cursors",
            cql: include_str!("../cql/0001_consumer_cursors.cql"),
        },
        Migration { number: 2, name: "catch_ups", cql: include_str!("../cql/0002_catch_ups.cql") },
    ],
};
