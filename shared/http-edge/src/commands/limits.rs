//! What a request may cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

/// What a request may cost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestLimits {
    /// The largest body; then 413.
    pub body_bytes_max: NonZeroU32,
    /// How long a body may take to arrive; then 408.
    pub body_timeout_ms: NonZeroU32,
    /// Bodies of the largest size in memory at a time, smaller ones by what has arrived; then 429.
    pub full_bodies_max: NonZeroU32,
}

impl RequestLimits {
    pub(super) fn body_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.body_timeout_ms.get()))
    }
}
