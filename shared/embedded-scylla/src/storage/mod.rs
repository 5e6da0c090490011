//! Rows on disk: one commit thread that owns all writes, and snapshots of the last durable state
//! for all reads.
//!
//! A write is a job on the commit thread ([`Storage::write`]). There it gets its timestamp, reads
//! what it needs (earlier jobs included, synced or not) and leaves its changes, which become one
//! atomic batch; one device sync covers all jobs that had queued up (`commit`). Reads go to a
//! [`View`], a snapshot taken after the last sync: they never see what a power cut could take back.
//!
//! | file | subject |
//! | --- | --- |
//! | `commit` | the commit thread and its groups |
//! | `options` | every bound |
//! | `view`, `write` | what reads see, what a job can do |
//! | `read` | live rows out of stored ones |
//! | `key`, `record`, `ranges` | keys, records and range tombstones as bytes |
//! | `meta`, `catalog` | schema, generation and timestamps as they are stored |
//! | `tails` | where the streams of CDC logs end |
//! | `journal` | where the storage crate's journal may be cut, for power cuts on demand |
//! | `housekeeping` | removing what is dropped, expired and hidden |

mod catalog;
mod clock;
mod commit;
mod housekeeping;
mod journal;
pub(crate) mod key;
mod meta;
mod options;
pub(crate) mod ranges;
mod read;
mod record;
mod tails;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod view;
mod write;

pub use clock::Clock;
pub use options::{Durability, StorageOptions};
pub use view::View;
pub use write::WriteContext;

use crate::cdc::{Generation, Streams};
use crate::error::{CqlError, Result};
use crate::metrics::Metrics;
use crate::mutation::{Cell, PartitionKey, Row, Slice};
use crate::schema::{Catalog, ColumnId, Table};
use anyhow::Context;
use arc_swap::ArcSwap;
use commit::{Answer, Committer, Job, Progress, Sync as DeviceSync};
use fjall::{Database, KeyspaceCreateOptions};
use housekeeping::Housekeeping;
use options::MIB;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot, watch};
use write::Core;

/// How far ahead of the clock the floor may be raised.
const FLOOR_AHEAD_MICROS: i64 = 5_000_000;

/// The stored state of one node. Clones share it; the data directory is free again when all of
/// them, and all views, are gone.
#[derive(Clone)]
pub struct Storage {
    handle: Arc<Handle>,
}

/// What all clones share.
struct Handle {
    shared: Arc<Shared>,
    /// Permits for the queue.
    queue: Arc<Semaphore>,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What the commit thread shares with everybody.
struct Shared {
    view: ArcSwap<View>,
    progress: Progress,
    clock: Clock,
    floor: Arc<AtomicI64>,
    failure: watch::Sender<Option<CqlError>>,
}

impl Storage {
    /// Opens a data directory, or creates it; `bootstrap` gives the schema of a new one. Fails if
    /// another server has it open.
    pub fn open(
        dir: &Path,
        options: StorageOptions,
        metrics: Arc<Metrics>,
        bootstrap: impl FnOnce(&Generation) -> Catalog,
    ) -> anyhow::Result<Self> {
        let sync = Box::new(|database: &Database| database.persist(fjall::PersistMode::SyncData));
        Self::open_with(dir, options, metrics, bootstrap, sync)
    }

    /// [`Storage::open`] with another way to sync the device.
    fn open_with(
        dir: &Path,
        options: StorageOptions,
        metrics: Arc<Metrics>,
        bootstrap: impl FnOnce(&Generation) -> Catalog,
        sync: DeviceSync,
    ) -> anyhow::Result<Self> {
        let core = open_core(dir, &options, bootstrap)
            .with_context(|| format!("cannot open data directory {}", dir.display()))?;
        let shared = Arc::new(Shared {
            view: ArcSwap::from_pointee(View::of(&core)),
            progress: Progress::new(),
            clock: core.clock.clone(),
            floor: Arc::clone(&core.floor),
            failure: watch::Sender::new(None),
        });
        let queue = Arc::new(Semaphore::new(options.queue_max.max(1)));
        let (jobs, receiver) = mpsc::channel();
        let committer = Committer {
            housekeeping: Housekeeping::new(options.clone(), core.last),
            core,
            jobs: receiver,
            shared: Arc::clone(&shared),
            metrics,
            options,
            sync,
            unsynced: None,
        };
        let thread = std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || committer.run())
            .context("cannot start the commit thread")?;
        let handle = Handle { shared, queue, jobs: Some(jobs), thread: Some(thread) };
        Ok(Self { handle: Arc::new(handle) })
    }

    /// The last durable, acknowledged state.
    pub fn view(&self) -> Arc<View> {
        self.handle.shared.view.load_full()
    }

    /// Runs a job on the commit thread; resolves when its group is durable (see [`Durability`])
    /// and visible. A job that gives an error has changed nothing. Once handed over, the job runs
    /// even if nobody waits for it any more.
    ///
    /// When a device sync fails the outcome of its group is unknown: it gets an error, as does
    /// every later write.
    pub async fn write<T, F>(&self, job: F) -> Result<T>
    where
        F: FnOnce(&mut WriteContext<'_>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let queue = Arc::clone(&self.handle.queue);
        let permit = queue.acquire_owned().await.map_err(|_| stopped())?;
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |context| {
            let result = job(context);
            let success = result.is_ok();
            let answer: Answer = Box::new(move |outcome| {
                drop(permit);
                // The caller may have gone.
                let _ = sender.send(outcome.and(result));
            });
            (success, answer)
        });
        self.handle.jobs.as_ref().ok_or_else(stopped)?.send(job).map_err(|_| stopped())?;
        receiver.await.unwrap_or_else(|_| {
            Err(CqlError::server("internal error: the write ended in a panic and was not applied"))
        })
    }

    /// From now on no commit gets a timestamp below `micros` (at most 5 s ahead of the clock), and
    /// when this resolves every commit that already has one is in [`Storage::view`]: a log read up
    /// to `micros` misses nothing. Take the view after it.
    pub async fn raise_floor(&self, micros: i64) {
        let shared = &self.handle.shared;
        let highest = shared.clock.now_micros().saturating_add(FLOOR_AHEAD_MICROS);
        shared.floor.fetch_max(micros.min(highest), Ordering::SeqCst);
        shared.progress.settled().await;
    }

    /// The newest CDC generation of the vnodes.
    pub fn generation(&self) -> Arc<Generation> {
        Arc::clone(self.view().streams().vnodes().newest())
    }

    /// Why nothing can be written any more, if so.
    pub fn failure(&self) -> Option<CqlError> {
        self.handle.shared.failure()
    }

    /// Resolves when nothing can be written any more: the process had better end.
    pub async fn failed(&self) -> CqlError {
        let mut failure = self.handle.shared.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone().unwrap_or_else(stopped),
            Err(_) => stopped(),
        }
    }
}

fn stopped() -> CqlError {
    CqlError::server("the storage has been closed")
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return };
        // The last handle may have been owned by a job; that thread cannot wait for itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the commit thread panicked");
        }
    }
}

/// Opens the database and reads, or writes, what a node begins with.
fn open_core(
    dir: &Path,
    options: &StorageOptions,
    bootstrap: impl FnOnce(&Generation) -> Catalog,
) -> anyhow::Result<Core> {
    if options.durability == Durability::Commit {
        journal::check(dir)?;
    }
    let database = Database::builder(dir)
        .cache_size(options.cache_bytes)
        .max_journaling_size(options.journal_bytes_max.max(64 * MIB))
        .worker_threads(options.workers.max(1))
        .manual_journal_persist(true)
        .open()
        .map_err(|error| match error {
            fjall::Error::Locked => anyhow::anyhow!("it is in use by another server"),
            other => other.into(),
        })?;
    let keyspace = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(options.memtable_bytes)
            .manual_journal_persist(true)
    };
    let rows = database.keyspace("rows", keyspace)?;
    let meta = database.keyspace("meta", keyspace)?;
    let clock = options.clock.clone();
    let stored = match meta::load(&meta)? {
        Some(stored) => stored,
        None => {
            let now_millis = clock.now_micros().div_euclid(1000);
            let generation = Generation::first(options.token_ranges, now_millis);
            let catalog = bootstrap(&generation);
            meta::create(&database, &meta, &catalog, &generation)?;
            let streams = Streams::new(generation);
            meta::Meta { catalog, streams, last_timestamp: i64::MIN, dropped: Vec::new() }
        }
    };
    // What another process wrote and did not sync is only certain from here on.
    database.persist(fjall::PersistMode::SyncAll)?;
    let core = Core {
        dir: dir.to_owned(),
        synced: database.snapshot().seqno(),
        database,
        rows,
        meta,
        catalog: Arc::new(stored.catalog),
        streams: Arc::new(stored.streams),
        clock,
        faults: Arc::clone(&options.faults),
        last: stored.last_timestamp,
        floor: Arc::new(AtomicI64::new(i64::MIN)),
        dropped: stored.dropped,
        tails: Arc::default(),
    };
    core.tails.follow(&View::of(&core), &core.catalog)?;
    Ok(core)
}

/// A place in the ring, as a bound of [`ReadRows::partitions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionPosition {
    /// All partitions with this token: included they are within, excluded they are not.
    Token(i64),
    /// One partition.
    Key(PartitionKey),
}

/// Rows in [`ReadRows::rows`].
pub type RowIterator<'a> = Box<dyn Iterator<Item = Result<Row>> + 'a>;

/// Keys in [`ReadRows::partitions`].
pub type KeyIterator<'a> = Box<dyn Iterator<Item = Result<PartitionKey>> + 'a>;

/// Reading, from the last durable state or within a write.
pub trait ReadRows {
    /// The schema.
    fn catalog(&self) -> &Arc<Catalog>;

    /// The server's clock, in seconds since 1970.
    fn now_seconds(&self) -> i64;

    /// The live static cells of a partition.
    fn statics(&self, table: &Table, key: &PartitionKey) -> Result<BTreeMap<ColumnId, Cell>>;

    /// The live rows of a slice of a partition, in (reversed) clustering order, lazily.
    fn rows<'a>(
        &'a self,
        table: &'a Table,
        key: &PartitionKey,
        slice: &Slice,
    ) -> Result<RowIterator<'a>>;

    /// The keys of all partitions that hold anything (also only tombstones), in the order of
    /// signed token and key bytes, lazily.
    fn partitions<'a>(
        &'a self,
        table: &'a Table,
        start: Bound<PartitionPosition>,
        end: Bound<PartitionPosition>,
    ) -> Result<KeyIterator<'a>>;
}
