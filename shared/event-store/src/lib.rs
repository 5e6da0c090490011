//! Events committed by one lightweight transaction, then announced through the outbox.
//!
//! The life of a command: [`EventStore::execute`] takes a place in its aggregate's queue and starts a
//! task of its own for it. The task takes the aggregate from the cache or folds it from its events
//! (`load`), and decides (`decide`). It makes an intent durable under this process's writer row
//! (`intents`, `writer`), and commits under version and fence (`append`): applied, the caller gets
//! its answer, and the task goes on to write the events into the outbox until one attempt counts
//! (`announce`). A lost race is decided again; a refusal never rests on the cache; an uncertain answer
//! is looked up, sent again with the same ids, or fenced off. Callers may leave at any time.
//!
//! What a process leaves half done when it dies, the others finish: beside its own heartbeat each
//! watches the rows of all writers (`settler`, `standstill`), and for one that stands still writes the
//! death certificate, moves the fences that its intents name, and announces what is stored
//! (`settlement`, `reannounce`).
//!
//! Only this crate writes `event_store` and [`outbox::TABLE`]. [`EventReader`] reads the former.

mod command;
mod store;

mod execute;
mod look_up;

mod append;
mod call;
mod decide;
mod intents;
mod load;
mod queue;
mod seen_commands;
mod sendings;
mod state;
mod writer;

mod announce;
mod cache;
mod reannounce;

mod settlement;
mod settler;
mod standstill;

pub mod audit;
pub mod outbox;
mod reader;

mod failure;
mod ids;
mod ledger;
mod scylla_ledger;
mod statements;

mod config;
mod error;
mod metrics;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use command::{CommandRequest, Outcome, StoredEventRef};
pub use config::{EventStoreConfig, SettleConfig};
pub use error::{BusyReason, CorruptError, Effect, ExecuteError, Failure, OpenError, ReadError};
pub use ledger::LedgerError;
pub use look_up::LookUp;
pub use reader::EventReader;
pub use reannounce::{ReannounceBounds, ReannounceError, Reannouncer};
pub use store::EventStore;

use database::{Migration, MigrationSet};

/// The tables of this crate.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    crate_name: "event-store",
    migrations: &[
        Migration {
            number: 1,
            name: "event_store",
            cql: include_str!("../cql/0001_event_store.cql"),
        },
        Migration {
            number: 2,
            name: "outbox_messages",
            cql: include_str!("../cql/0002_outbox_messages.cql"),
        },
        Migration { number: 3, name: "writers", cql: include_str!("../cql/0003_writers.cql") },
        Migration {
            number: 4,
            name: "append_intents",
            cql: include_str!("../cql/0004_append_intents.cql"),
        },
        Migration { number: 5, name: "expiry", cql: include_str!("../cql/0005_expiry.cql") },
    ],
};
