//! Reads the CDC log of `outbox_messages` and hands its events on, in order, once.
//!
//! The life of an announced event here: the fast pass ([`reading`]) finds its row within milliseconds
//! and the sequencer ([`ordering`]) brings it to each [`ChangeConsumer`] that wants it, after every
//! earlier event of its aggregate, reading from the event store what the log did not bring; effect
//! first, then the cursor. Once the row is as old as the safety interval, the confirm pass comes by,
//! makes sure that the event was handled, and moves the checkpoint of its slot. The reader knows which
//! streams there are and when to scan the ledger, because the log no longer has what a consumer needs.
//! [`run_group`] puts all of it together, from its [`surroundings`].
//!
//! What no reader of the log can find, because it was never announced or its row never came, is found
//! by the slow [`scanner`], which compares the newest versions with the cursors and announces again.
//!
//! An event that a consumer cannot handle goes into a dead letter ([`Letters`]) and its aggregate waits,
//! in that consumer only; [`Replay`] is for the retries.
//!
//! Nothing of this is exactly once: an event comes again when its process died between effect and
//! cursor, and the consumers are made for that.

mod breakers;
mod config;
mod consumer;
mod database;
mod error;
mod group;
mod handled;
mod letters;
mod log_time;
mod metrics;
mod ordering;
mod reading;
mod retries;
mod scanner;
mod source;
mod surroundings;
#[cfg(test)]
mod tests;

pub use breakers::Breakers;
pub use config::{CatchUpConfig, CdcConfig};
pub use consumer::{Change, ChangeConsumer, HandleError};
pub use error::{EventError, EventName, GroupError, Origin, StoreError};
pub use group::{GroupDeps, run_group};
pub use handled::Handled;
pub use letters::{Letter, LetterKey, LetterState, Letters, Refusal};
pub use ordering::{MayBegin, Replay, ReplayError};
pub use reading::generation::slot_of;
pub use runtime::{ErrorClass, Target};
pub use scanner::{OwnedSlots, ScannerConfig, ScannerDeps, run_scanner};

use ::database::{Migration, MigrationSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// Nothing in this crate leaves what it locks half changed, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
