//! The process shell: what every process does before, beside and after its own work.
//!
//! A process's `main` is one call to [`main`]. It reads the configuration ([`config`]), starts the
//! log ([`telemetry`]) and the admin port (`/livez`, `/readyz`, `/metrics`, on a thread of its own),
//! and hands a [`Process`] to `run`. There the process connects to what it needs, registers its children
//! ([`Process::child`]) and ends with [`Process::run_until_shutdown`]. A signal cancels one token: children
//! stop taking work, finish what is in flight, and return; then the process exits 0. A child that falls is
//! started again ([`Process::child`]) or takes the process down with exit code 1, as one does that fails or
//! keeps falling; a bad configuration is exit code 64.
//!
//! Beside that the crate has what several parts of a process need: pauses ([`backoff`]), circuit breakers
//! ([`Breaker`]), encryption ([`tls`]), and ports with bounds ([`port`]). It knows no database, no broker and no
//! routes: those are the subjects of crates that rest on this one.

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
pub mod port;
pub mod telemetry;
pub mod test_hooks;
pub mod tls;
pub mod traces;

mod addresses;
mod admin;
#[cfg(test)]
#[path = "../../embedded-scylla/tests/it/certificates.rs"]
mod certificates;
mod probe;
mod process_metrics;

pub use backoff::{Backoff, BackoffConfig};
pub use breaker::{Breaker, BreakerConfig, BreakerOpen, Pass, Target};
pub use config::Secret;
pub use error_class::ErrorClass;
pub use process::{Process, main};
pub use readiness::Readiness;
pub use retry_budget::RetryBudget;
pub use shutdown::{Stopped, end_at_signals};
pub use telemetry::chain;

pub use tokio_util::sync::CancellationToken;
