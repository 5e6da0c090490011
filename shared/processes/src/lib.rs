//! The processes of an application, each as one function that takes it. A program of the application is its
//! `main.rs`:
//!
//! ```text
//! fn main() -> ExitCode {
//!     processes::projection_worker::main(BANK)
//! }
//! ```
//!
//! Each process has a feature of its name: it builds what it needs and no more. Its configuration is
//! `config/<name>.toml`, compiled in as its defaults.

#[cfg(feature = "command-api")]
pub mod command_api;
#[cfg(feature = "dlq-retrier")]
pub mod dlq_retrier;
#[cfg(feature = "esctl")]
pub mod esctl;
#[cfg(feature = "outbox-relay")]
pub mod outbox_relay;
#[cfg(feature = "all")]
mod program;
#[cfg(feature = "projection-worker")]
pub mod projection_worker;
#[cfg(feature = "query-api")]
pub mod query_api;

pub use application::Application;
#[cfg(feature = "all")]
pub use program::Program;
