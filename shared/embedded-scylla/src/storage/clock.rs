//! The server's clock, which a test or a fault may set off.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The host's clock plus an offset that all clones share.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_micros: Arc<AtomicI64>,
}

impl Clock {
    /// µs since 1970.
    pub fn now_micros(&self) -> i64 {
        let host = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        host.saturating_add(self.offset_micros.load(Ordering::Relaxed))
    }

    /// Whole seconds since 1970.
    pub fn now_seconds(&self) -> i64 {
        self.now_micros().div_euclid(1_000_000)
    }

    /// Sets how far the clock is off the host's, back if negative.
    pub fn set_skew(&self, micros: i64) {
        self.offset_micros.store(micros, Ordering::Relaxed);
    }

    /// Moves the clock, backward if negative.
    pub fn shift(&self, micros: i64) {
        self.offset_micros.fetch_add(micros, Ordering::Relaxed);
    }
}
