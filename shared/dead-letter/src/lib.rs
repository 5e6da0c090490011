//! Events that a consumer could not handle, and their way back.
//!
//! The life of a dead letter: a worker's sequencer asks the [`LetterBox`] to [`block`] the aggregate
//! with the event that failed; from then on the aggregate's events wait in the ledger, for this
//! consumer only. The [retrier](run_retrier) finds the letter ([`schedule`]) and tries again ([`retry`]) with
//! growing pauses: everything behind the cursor up to the aggregate's tail, by the same consumer. When
//! that succeeds the letter is *released*: workers no longer skip the aggregate. After one more look
//! at the tail, for what workers skipped until then, it is removed. A letter whose event stays poison
//! is *parked* after its last attempt, until a person has it retried or discards the event
//! ([`operator`]).
//!
//! The row is changed by LWT alone ([`change`]); two that work on one letter hinder each other at
//! worst.
//!
//! [`block`]: cdc::Letters::block

mod letter;

mod change;
mod store;
mod table;

mod letter_box;

mod retry;
mod schedule;
mod slots;
mod target;

mod retrier;

pub mod operator;

mod config;
mod error;
mod metrics;
#[cfg(test)]
mod tests;

pub use config::RetryConfig;
pub use error::LetterError;
pub use letter::{Key, Letter, Stamp, Stored, Unreadable, state_name, state_of};
pub use letter_box::LetterBox;
pub use retrier::{RetrierDeps, RetrierError, run_retrier};
pub use target::{ReplayTarget, Target};

use database::{Migration, MigrationSet};

/// The tables of this crate.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    crate_name: "dead-letter",
    migrations: &[
        Migration {
            number: 1,
            name: "dead_letter_queue",
            cql: include_str!("../cql/0001_dead_letter_queue.cql"),
        },
        Migration { number: 2, name: "attempts", cql: include_str!("../cql/0002_attempts.cql") },
        Migration { number: 3, name: "discards", cql: include_str!("../cql/0003_discards.cql") },
        Migration {
            number: 4,
            name: "operator_actions",
            cql: include_str!("../cql/0004_operator_actions.cql"),
        },
        Migration { number: 5, name: "expiry", cql: include_str!("../cql/0005_expiry.cql") },
    ],
};
