//! The process shell: what every process does before, beside and after its own work.
//!
//! A process's `main` is one call to [`main`]. It reads the configuration ([`config`]), starts the
//! log ([`telemetry`]) and the admin port (`/livez`, `/readyz`, `/metrics`, on a thread of its own),
//! and hands a [`Process`] to `run`. There the process connects ([`Process::scylla`]), waits for its
//! tables ([`Process::wait_for_schema`]), registers its children ([`Process::child`]) and ends with
//! [`Process::run_until_shutdown`]. A signal cancels one token: children stop taking work, finish
//! what is in flight, and return; then the process exits 0. A child that falls is started again
//! ([`Process::child`]) or takes the process down with exit code 1, as one does that fails or keeps
//! falling; a bad configuration is exit code 64. [`health`] keeps `/readyz` true while it runs.
//!
//! This crate knows no aggregate, and no table but `schema_migrations` and `settings`.

mod breaker;
mod descriptors;
mod error_class;
mod process;
mod readiness;
mod retry_budget;
mod shutdown;
mod supervisor;

pub mod backoff;
pub mod config;
pub mod http;
pub mod problem;
pub mod schema;
pub mod session;
pub mod telemetry;
pub mod test_hooks;
pub mod tls;
pub mod traces;

mod addresses;
mod admin;
#[cfg(test)]
#[path = "../../embedded-scylla/tests/it/certificates.rs"]
mod certificates;
mod health;
mod probe;
mod process_metrics;

pub use backoff::{Backoff, BackoffConfig};
pub use breaker::{Breaker, BreakerConfig, BreakerOpen, Pass, Target};
pub use config::Secret;
pub use error_class::{ErrorClass, was_never_executed};
pub use http::{HttpConfig, HttpServer};
pub use problem::Problem;
pub use process::{Process, main};
pub use readiness::Readiness;
pub use retry_budget::RetryBudget;
pub use schema::{Migration, MigrationSet, Settings};
pub use session::ScyllaConfig;
pub use shutdown::{Stopped, end_at_signals};
pub use telemetry::chain;

pub use tokio_util::sync::CancellationToken;
