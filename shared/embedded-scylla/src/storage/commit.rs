//! The commit thread: it owns all writes.
//!
//! A group is whatever queued up while the last group was being synced; nobody waits to form one.
//! Its jobs run one after the other, each an atomic batch; then one device sync makes all of them
//! durable, a new snapshot makes them visible, and only then they are answered. Also a job that
//! wrote nothing is answered then, because what it saw may not have been durable.

use super::housekeeping::Housekeeping;
use super::write::{Core, WriteContext, failed};
use super::{Durability, Shared, StorageOptions, View};
use crate::error::{CqlError, Result};
use crate::metrics::Metrics;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Tells a job's caller its result, or why there is none.
pub(super) type Answer = Box<dyn FnOnce(Result<()>) + Send>;

/// A write in the queue. Gives whether it is to be committed, and how to answer it.
pub(super) type Job = Box<dyn FnOnce(&mut WriteContext<'_>) -> (bool, Answer) + Send>;

/// How the device is synced.
pub(super) type Sync = Box<dyn FnMut(&fjall::Database) -> fjall::Result<()> + Send>;

/// How far the commit thread is, for those who wait for what it has begun.
pub(super) struct Progress {
    begun: AtomicU64,
    visible: watch::Sender<u64>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { begun: AtomicU64::new(0), visible: watch::Sender::new(0) }
    }

    /// Waits until every group that has begun is visible (or has failed).
    pub(super) async fn settled(&self) {
        let begun = self.begun.load(Ordering::SeqCst);
        if *self.visible.borrow() < begun {
            // The sender lives as long as `self`, so this cannot fail.
            let _ = self.visible.subscribe().wait_for(|visible| *visible >= begun).await;
        }
    }

    fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    fn end(&self) {
        self.visible.send_replace(self.begun.load(Ordering::SeqCst));
    }
}

/// The commit thread's state.
pub(super) struct Committer {
    pub(super) core: Core,
    pub(super) jobs: Receiver<Job>,
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) options: StorageOptions,
    pub(super) sync: Sync,
    pub(super) housekeeping: Housekeeping,
    /// When the first write was committed that is not synced yet, and how many there are.
    pub(super) unsynced: Option<(Instant, usize)>,
}

impl Committer {
    /// Runs until all handles are gone.
    pub(super) fn run(mut self) {
        loop {
            match self.jobs.recv_timeout(self.patience()) {
                Ok(job) => self.group(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.tick();
        }
        if self.shared.failure().is_none() {
            self.housekeeping.remember_floor(&mut self.core);
            if let Err(error) = self.core.database.persist(fjall::PersistMode::SyncAll) {
                tracing::error!(%error, "last sync failed");
            }
        }
    }

    /// How long to wait for a job before something else is due.
    fn patience(&self) -> Duration {
        let idle = self.housekeeping.patience(&self.core);
        match (self.options.durability, self.unsynced) {
            (Durability::Periodic(interval), Some((since, _))) => {
                idle.min(interval.saturating_sub(since.elapsed()))
            }
            _ => idle,
        }
    }

    fn group(&mut self, first: Job) {
        self.shared.progress.begin();
        let (mut answers, mut writes, mut bytes) = (Vec::new(), 0, 0);
        let mut next = Some(first);
        while let Some(job) = next {
            let (answer, written) = self.job(job);
            answers.extend(answer);
            writes += usize::from(written > 0);
            bytes += written;
            let full =
                answers.len() >= self.options.group_max || bytes >= self.options.group_bytes_max;
            next = if full { None } else { self.jobs.try_recv().ok() };
        }
        let outcome = self.settle(writes);
        self.shared.progress.end();
        for answer in answers {
            answer(outcome.clone());
        }
    }

    /// Runs one job. A job that fails or panics has changed nothing.
    fn job(&mut self, job: Job) -> (Option<Answer>, usize) {
        let core = &mut self.core;
        let failure = self.shared.failure();
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let mut context = WriteContext::new(core);
            let (success, answer) = job(&mut context);
            let committed = match (failure, success) {
                (None, true) => context.commit(),
                _ => Ok(0),
            };
            (answer, committed)
        }));
        match ran {
            Ok((answer, Ok(written))) => (Some(answer), written),
            Ok((answer, Err(error))) => {
                self.shared.fail(error);
                (Some(answer), 0)
            }
            Err(_) => {
                tracing::error!("a write panicked; nothing of it was applied");
                (None, 0)
            }
        }
    }

    /// Makes the group's writes durable, if that is promised, and visible.
    fn settle(&mut self, writes: usize) -> Result<()> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure);
        }
        if writes == 0 {
            return Ok(());
        }
        let (since, before) = self.unsynced.unwrap_or((Instant::now(), 0));
        self.unsynced = Some((since, before + writes));
        match self.options.durability {
            Durability::Commit => self.sync_device()?,
            Durability::Periodic(_) => {
                // To the operating system, so that a killed process loses nothing.
                self.core
                    .database
                    .persist(fjall::PersistMode::Buffer)
                    .map_err(|error| self.shared.fail(failed("write the journal", &error)))?;
            }
        }
        self.publish();
        Ok(())
    }

    fn sync_device(&mut self) -> Result<()> {
        let Some((_, writes)) = self.unsynced.take() else { return Ok(()) };
        let start = Instant::now();
        (self.sync)(&self.core.database)
            .map_err(|error| self.shared.fail(failed("sync the device", &error)))?;
        // All batches so far come from this thread.
        self.core.synced = self.core.database.snapshot().seqno();
        self.metrics.sync(start.elapsed().as_secs_f64());
        self.metrics.commit_group(writes);
        Ok(())
    }

    fn publish(&self) {
        self.shared.view.store(Arc::new(View::of(&self.core)));
    }

    fn tick(&mut self) {
        if self.shared.failure().is_some() {
            return;
        }
        if let (Durability::Periodic(interval), Some((since, _))) =
            (self.options.durability, self.unsynced)
            && since.elapsed() >= interval
            && self.sync_device().is_err()
        {
            return;
        }
        if self.housekeeping.step(&mut self.core) && self.unsynced.is_none() {
            // Lets go of the snapshot that still holds what was removed.
            self.publish();
        }
    }
}

impl Shared {
    /// Why nothing can be written any more, if so.
    pub(super) fn failure(&self) -> Option<CqlError> {
        self.failure.borrow().clone()
    }

    /// Stops all writing for good. Gives the first reason.
    pub(super) fn fail(&self, error: CqlError) -> CqlError {
        tracing::error!(%error, "the storage stops accepting writes");
        self.failure.send_modify(|failure| {
            failure.get_or_insert(error.clone());
        });
        error
    }
}
