//! What the engine needs to know, and its bounds.

use crate::faults::Faults;
use crate::release::Release;
use crate::storage::{Durability, StorageOptions};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

const MIB: usize = 1024 * 1024;

/// The engine's configuration.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where everything is stored.
    pub data_dir: PathBuf,
    /// When a write is answered.
    pub durability: Durability,
    /// Token ranges and CDC streams of a new data directory.
    pub token_ranges: usize,
    /// The release of ScyllaDB that the server is like.
    pub release: Release,
    /// The release of Cassandra that `system.local` names, by which clients choose what to ask for:
    /// some describe the schema only from 4 on. ScyllaDB says 3.0.8.
    pub cassandra_version: String,
    /// Whether new keyspaces must be on tablets, as `tablets_mode_for_new_keyspaces: enforced` has it.
    pub tablets_enforced: bool,
    /// Tablets, and with CDC streams, of a new table on tablets unless its keyspace says how many;
    /// rounded up to a power of two.
    pub tablets_per_table: u32,
    /// What `system.local` shows; by default the address that the client connected to.
    pub rpc_address: Option<IpAddr>,
    /// What `system.local` shows.
    pub cluster_name: String,
    /// The longest statement text.
    pub statement_bytes_max: usize,
    /// Prepared statements; beyond, the ones not used for longest are forgotten.
    pub prepared_max: usize,
    /// Text of all prepared statements.
    pub prepared_bytes_max: usize,
    /// Traces of requests that are kept; older ones are forgotten.
    pub traces_max: usize,
    /// Scans and other long reads at a time; more wait.
    pub scans_max: usize,
    /// A page ends when it holds this many bytes.
    pub page_bytes: usize,
    /// A result that is not paged fails when it holds this many bytes.
    pub unpaged_bytes_max: usize,
    /// A batch over several partitions fails when it writes this many bytes.
    pub batch_bytes_max: usize,
    /// The storage's own bounds; durability and token ranges are taken from here.
    pub storage: StorageOptions,
}

impl EngineConfig {
    /// Defaults for everything but the data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let storage = StorageOptions::default();
        Self {
            data_dir: data_dir.into(),
            durability: storage.durability,
            token_ranges: storage.token_ranges,
            release: Release::default(),
            cassandra_version: "3.0.8".to_owned(),
            tablets_enforced: false,
            tablets_per_table: 4,
            rpc_address: None,
            cluster_name: "embedded-scylla".to_owned(),
            statement_bytes_max: 4 * MIB,
            prepared_max: 4096,
            prepared_bytes_max: 8 * MIB,
            traces_max: 1024,
            scans_max: 8,
            page_bytes: MIB,
            unpaged_bytes_max: 64 * MIB,
            batch_bytes_max: MIB,
            storage,
        }
    }

    pub(super) fn storage(&self, faults: Arc<Faults>) -> StorageOptions {
        StorageOptions {
            faults,
            durability: self.durability,
            token_ranges: self.token_ranges,
            ..self.storage.clone()
        }
    }
}
