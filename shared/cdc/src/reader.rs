//! Reads the log for a group: which streams, by which pass, and until when.
//!
//! The reader follows every generation whose rows may still matter. A newer one is read at once,
//! from its beginning, beside the old one, which goes when every slot is confirmed past the change.
//! No barrier in between: order comes from versions ([`crate::sequencer`]).
//!
//! Each generation's streams are cut into chunks, each followed by a task of the
//! [fast pass](crate::fast_pass); the [confirm pass](crate::confirm_pass) runs here.

use crate::clock::DatabaseClock;
use crate::confirm_pass::{ActiveGeneration, ConfirmParts, ConfirmPass, Passed, SlotProgress};
use crate::consumer::{ErrorClass, HandleError};
use crate::error::GroupError;
use crate::fast_pass::{Chunk, FastPass};
use crate::generation::{Generation, Slots};
use crate::log_time::{LogTime, Window};
use crate::metrics;
use crate::source::{Checkpoint, GenerationSource};
use runtime::chain;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// ScyllaDB's bound on the keys of one `IN`.
const STREAMS_PER_QUERY_MAX: usize = 100;

/// Why a reader ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to, or the sequencer failed.
    Stopped,
    /// It lost its place in the log: everything has to begin anew.
    Lost {
        /// Why.
        reason: &'static str,
    },
}

/// A generation that is followed.
struct Following {
    active: ActiveGeneration,
    stop: CancellationToken,
}

/// The reader of one group.
pub(crate) struct Reader {
    fast: Arc<FastPass>,
    confirm: ConfirmPass,
    clock: Arc<DatabaseClock>,
    slots: Slots,
    ahead: Option<Window>,
    following: Vec<Following>,
    chunks: JoinSet<Result<(), HandleError>>,
    stop: CancellationToken,
}

impl Reader {
    /// A reader that continues from the slots' checkpoints in the given generations. Starts to follow
    /// them at once. `ahead` is where rows may be stamped although the clock is not there yet.
    pub(crate) fn start(
        fast: FastPass,
        confirm: ConfirmParts,
        checkpoints: &BTreeMap<u32, Checkpoint>,
        ahead: Option<Window>,
        generations: Vec<Generation>,
        stop: &CancellationToken,
    ) -> Self {
        let (clock, slots) = (fast.clock.clone(), fast.slots.clone());
        let progress = checkpoints.iter().map(|(slot, at)| (*slot, SlotProgress::new(*at)));
        let mut reader = Self {
            fast: Arc::new(fast),
            confirm: ConfirmPass::new(confirm, progress.collect()),
            clock,
            slots,
            ahead,
            following: Vec::new(),
            chunks: JoinSet::new(),
            stop: stop.child_token(),
        };
        for generation in generations {
            reader.follow(&generation);
        }
        reader
    }

    /// Reads until told to stop, the sequencer fails, or rows may have expired. Then stores the
    /// checkpoints.
    pub(crate) async fn run(
        mut self,
        generations: Arc<dyn GenerationSource>,
    ) -> Result<Ended, GroupError> {
        let ended = self.read(generations).await;
        self.stop.cancel();
        while self.chunks.join_next().await.is_some() {}
        if let Err(error) = self.confirm.store_all().await {
            // What is stored is older and just as true.
            warn!(error = chain(&error).to_string(), "last checkpoints not stored");
        }
        ended
    }

    async fn read(&mut self, generations: Arc<dyn GenerationSource>) -> Result<Ended, GroupError> {
        let failed = self.fast.sequencer.failed().clone();
        let (stop, stepped_back) = (self.stop.clone(), self.clock.stepped_back().clone());
        let mut newer = self.watch(generations);
        let mut confirm_at = Instant::now();
        let mut failures = 0_u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(Ended::Stopped),
                () = failed.cancelled() => return Ok(Ended::Stopped),
                () = stepped_back.cancelled() => {
                    return Ok(Ended::Lost { reason: "the database's clock stepped back" });
                }
                Some(ended) = self.chunks.join_next() => chunk_ended(ended)?,
                Some(generation) = newer.recv() => self.follow(&generation),
                settled = self.confirm.next_settled() => {
                    settled.map_err(|source| database("store a checkpoint", source))?;
                    if !self.confirm.is_settling() && self.is_behind() {
                        confirm_at = Instant::now();
                    }
                }
                () = tokio::time::sleep_until(confirm_at) => {
                    confirm_at = Instant::now() + self.fast.config.confirm_interval();
                    let active: Vec<_> = self.following.iter().map(|f| f.active.clone()).collect();
                    let passed = tokio::select! {
                        () = stop.cancelled() => return Ok(Ended::Stopped),
                        passed = self.confirm.pass(&active) => passed,
                    };
                    match passed {
                        Ok(Passed::Expired) => {
                            let reason = "unconfirmed rows may have expired";
                            return Ok(Ended::Lost { reason });
                        }
                        Ok(Passed::Through) => failures = 0,
                        Err(error) => note_failure(&mut failures, error)?,
                    }
                    self.retire();
                }
            }
        }
    }

    /// Whether another confirm pass could go on at once.
    fn is_behind(&self) -> bool {
        let Ok(limit) = self.clock.settled_until() else { return false };
        let interval = self.fast.config.confirm_interval() * 2;
        self.confirm.lag_behind(limit) > interval.max(self.fast.config.window_max())
    }

    /// Starts to read a generation's streams.
    fn follow(&mut self, generation: &Generation) {
        let start = self.confirm.join(generation.start);
        let streams = generation.streams_of(&self.slots);
        let stop = self.stop.child_token();
        let chunks: Vec<_> = streams
            .chunks(STREAMS_PER_QUERY_MAX)
            .map(|streams| Arc::new(Chunk::new(streams.to_vec(), start, self.ahead)))
            .collect();
        info!(
            generation = %generation.start,
            streams = streams.len(),
            from = %start,
            "following a generation of CDC streams"
        );
        self.fast.chunks.fetch_add(chunks.len(), Ordering::Relaxed);
        for chunk in &chunks {
            let (fast, chunk, stop) = (self.fast.clone(), chunk.clone(), stop.clone());
            self.chunks.spawn(async move { fast.follow(&chunk, &stop).await });
        }
        let active = ActiveGeneration { start: generation.start, chunks };
        self.following.push(Following { active, stop });
        self.following.sort_by_key(|following| following.active.start);
    }

    /// Lets go of generations that every slot is past.
    fn retire(&mut self) {
        while let [old, next, ..] = self.following.as_slice()
            && self.confirm.is_past(old.active.start, next.active.start)
        {
            info!(generation = %old.active.start, "generation of CDC streams is done");
            old.stop.cancel();
            self.fast.chunks.fetch_sub(old.active.chunks.len(), Ordering::Relaxed);
            self.confirm.retire(old.active.start);
            self.following.remove(0);
        }
    }

    /// Looks for newer generations, beside the reading. Ends with the reader.
    fn watch(&mut self, source: Arc<dyn GenerationSource>) -> mpsc::Receiver<Generation> {
        let (sender, receiver) = mpsc::channel(1);
        let newest = self.following.iter().map(|f| f.active.start).max().unwrap_or(LogTime::ZERO);
        let interval = self.fast.config.generation_interval();
        let stop = self.stop.clone();
        self.chunks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = look_for_newer(source, newest, interval, sender) => {}
            }
            Ok(())
        });
        receiver
    }
}

/// Sends each newer generation, in order. Ends when nobody receives.
async fn look_for_newer(
    source: Arc<dyn GenerationSource>,
    mut newest: LogTime,
    interval: Duration,
    sender: mpsc::Sender<Generation>,
) {
    let mut failures = 0_u32;
    loop {
        tokio::time::sleep(interval).await;
        match newer_than(&*source, newest).await {
            Ok(generations) => {
                failures = 0;
                for generation in generations {
                    newest = generation.start;
                    if sender.send(generation).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                failures += 1;
                metrics::RETRIES.with_label_values(&["generations"]).inc();
                if failures.is_power_of_two() {
                    let error = chain(&error).to_string();
                    warn!(attempts = failures, error, "CDC generations not read, trying again");
                }
            }
        }
    }
}

/// The generations after `newest` whose streams are known, in order.
async fn newer_than(
    source: &dyn GenerationSource,
    newest: LogTime,
) -> Result<Vec<Generation>, HandleError> {
    let mut generations = Vec::new();
    for start in source.starts(Some(newest)).await? {
        let Some(generation) = Generation::read(source, start).await? else {
            // The description follows; a later one must not come first.
            break;
        };
        generations.push(generation);
    }
    Ok(generations)
}

fn chunk_ended(
    ended: Result<Result<(), HandleError>, tokio::task::JoinError>,
) -> Result<(), GroupError> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(database("read the CDC log", source)),
        Err(error) => {
            let what = "follow a part of the CDC log".to_owned();
            let source =
                HandleError { class: ErrorClass::Fatal, what, source: Some(Box::new(error)) };
            Err(database("read the CDC log", source))
        }
    }
}

fn note_failure(failures: &mut u32, error: HandleError) -> Result<(), GroupError> {
    if error.class != ErrorClass::Transport {
        return Err(database("confirm the CDC log", error));
    }
    *failures += 1;
    metrics::RETRIES.with_label_values(&["confirm"]).inc();
    if failures.is_power_of_two() {
        let error = chain(&error).to_string();
        warn!(attempts = *failures, error, "log not confirmed, trying again");
    }
    Ok(())
}

pub(crate) fn database(doing: &'static str, source: HandleError) -> GroupError {
    GroupError::Database { doing, source }
}
