//! Access to ScyllaDB, as every process has it.
//!
//! A process connects by [`Database::connect`], which waits until the cluster and the keyspace are there ([`session`]), and
//! then waits for its tables ([`Database::wait_for_schema`], [`schema`]). From then on a child of the process looks again and
//! again whether both are still as they should be ([`health`]), and `/readyz` says so. What a failed request means is
//! sorted in one place ([`error_class`]).
//!
//! This crate knows no table but `schema_migrations` and `settings`.

mod connected;
mod health;
mod waiting;

pub mod error_class;
pub mod schema;
pub mod session;

#[cfg(test)]
#[path = "../../embedded-scylla/tests/it/certificates.rs"]
mod certificates;

pub use connected::{Database, TARGET};
pub use error_class::was_never_executed;
pub use schema::{Migration, MigrationSet, Settings};
pub use session::ScyllaConfig;
