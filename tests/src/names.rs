//! The processes that tests speak of, by their names in `deploy/processes.toml`.

pub use local_stack::{COMMAND_API, QUERY_API};

/// Writes read models.
pub const PROJECTION_WORKER: &str = "projection-worker";
/// Publishes.
pub const OUTBOX_RELAY: &str = "outbox-relay";
/// Retries dead letters.
pub const DLQ_RETRIER: &str = "dlq-retrier";
