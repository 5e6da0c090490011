//! How the storage behaves; every bound it has.

use super::clock::Clock;
use crate::faults::Faults;
use std::sync::Arc;
use std::time::Duration;

/// When a write is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After the device sync of its group.
    Commit,
    /// At once; the device is synced this often. A power cut may take back the last interval, a
    /// killed process loses nothing.
    Periodic(Duration),
}

/// How the storage behaves; every bound it has.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// When a write is answered.
    pub durability: Durability,
    /// Token ranges (and CDC streams) of a new data directory.
    pub token_ranges: usize,
    /// Writes that may wait for the commit thread; more wait outside.
    pub queue_max: usize,
    /// Writes in one group.
    pub group_max: usize,
    /// Bytes after which a group takes no further write.
    pub group_bytes_max: usize,
    /// Block cache.
    pub cache_bytes: u64,
    /// Size at which what was written in memory goes to a file.
    pub memtable_bytes: u64,
    /// Journals on disk; at least 64 MiB.
    pub journal_bytes_max: u64,
    /// Threads that write files and compact them.
    pub workers: usize,
    /// How long after a sweep for expired rows the next one begins.
    pub sweep_interval: Duration,
    /// The least time between two steps of removing rows.
    pub step_interval: Duration,
    /// Keys looked at in one step.
    pub step_keys_max: usize,
    /// Time that one step of a sweep takes.
    pub step_time_max: Duration,
    /// The server's clock.
    pub clock: Clock,
    /// What befalls the rows of CDC logs.
    pub faults: Arc<Faults>,
}

/// One mebibyte.
pub(super) const MIB: u64 = 1024 * 1024;

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Commit,
            token_ranges: 16,
            queue_max: 4096,
            group_max: 256,
            group_bytes_max: 4 * MIB as usize,
            cache_bytes: 16 * MIB,
            memtable_bytes: 8 * MIB,
            journal_bytes_max: 64 * MIB,
            workers: 2,
            sweep_interval: Duration::from_secs(600),
            step_interval: Duration::from_millis(50),
            step_keys_max: 200,
            step_time_max: Duration::from_millis(2),
            clock: Clock::default(),
            faults: Faults::new(0),
        }
    }
}
