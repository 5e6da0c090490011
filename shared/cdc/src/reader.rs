//! Reads the log for a group: which slots and streams, by which pass, and until when.
//!
//! Slots come and go by the [`Leases`]. One that comes is [admitted](crate::admission): it starts at
//! its checkpoint, and what lies between there and where the others are is read beside them. One that
//! goes is closed: nothing of it begins any more, what is in hand is finished, and then it is released
//! with its last checkpoint; or forgotten, when it is lost.
//!
//! The reader follows every generation whose rows may still matter. A newer one is read at once,
//! from its beginning, beside the old one, which goes when every slot is confirmed past the change.
//! No barrier in between: order comes from versions ([`crate::sequencer`]).
//!
//! Each generation's streams are cut into chunks, each followed by a task of the
//! [fast pass](crate::fast_pass); the [confirm pass](crate::confirm_pass) runs here.

use crate::admission::{Admission, Admissions};
use crate::checkpoints::{Checkpoints, failed as slots_failed};
use crate::clock::DatabaseClock;
use crate::confirm_pass::{ActiveGeneration, ConfirmParts, ConfirmPass, Passed};
use crate::consumer::{ErrorClass, HandleError};
use crate::error::GroupError;
use crate::fast_pass::{Chunk, FastPass};
use crate::generation::{Generation, Slots, needed};
use crate::log_time::{LogTime, Window};
use crate::metrics;
use crate::source::{Checkpoint, EventSource, GenerationSource};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use leases::{Held, Leases, Phase};
use runtime::test_hooks::defect;
use runtime::{Backoff, chain};
use scylla_cdc::cdc_types::StreamID;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

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
    generation: Generation,
    active: ActiveGeneration,
    /// Ends the chunks; parts end by themselves.
    stop: CancellationToken,
}

/// What a reader works with.
pub(crate) struct ReaderParts {
    pub(crate) fast: FastPass,
    pub(crate) confirm: ConfirmParts,
    pub(crate) admissions: Admissions,
    pub(crate) events: Arc<dyn EventSource>,
}

/// Where a slot is between its take and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where it starts is being found out.
    Admitting,
    Working,
    /// What is in hand is being finished.
    Closing,
}

/// Something that was done for slots.
enum Done {
    Admitted { slots: Vec<u32>, admission: Result<Admission, HandleError> },
    Closed(u32),
}

/// The reader of one group.
pub(crate) struct Reader {
    fast: Arc<FastPass>,
    confirm: ConfirmPass,
    clock: Arc<DatabaseClock>,
    leases: Leases,
    admissions: Arc<Admissions>,
    events: Arc<dyn EventSource>,
    checkpoints: Checkpoints,
    slot_count: u32,
    places: BTreeMap<u32, Place>,
    doing: FuturesUnordered<BoxFuture<'static, Done>>,
    ahead: Option<Window>,
    following: Vec<Following>,
    chunks: JoinSet<Result<(), HandleError>>,
    stop: CancellationToken,
}

impl Reader {
    /// A reader without slots, for which `newest` is the newest generation known. Slots come by the
    /// leases.
    pub(crate) fn start(parts: ReaderParts, newest: &Generation, stop: &CancellationToken) -> Self {
        let ReaderParts { fast, confirm, admissions, events } = parts;
        let mut reader = Self {
            clock: fast.clock.clone(),
            fast: Arc::new(fast),
            leases: admissions.leases.clone(),
            admissions: Arc::new(admissions),
            events,
            checkpoints: confirm.checkpoints.clone(),
            slot_count: confirm.slots,
            confirm: ConfirmPass::new(confirm),
            places: BTreeMap::new(),
            doing: FuturesUnordered::new(),
            ahead: None,
            following: Vec::new(),
            chunks: JoinSet::new(),
            stop: stop.child_token(),
        };
        reader.follow(newest.clone());
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
        self.confirm.store_all().await;
        for slot in self.confirm.slots() {
            self.confirm.dismiss(slot);
        }
        ended
    }

    async fn read(&mut self, generations: Arc<dyn GenerationSource>) -> Result<Ended, GroupError> {
        let failed = self.fast.sequencer.failed().clone();
        let (stop, stepped_back) = (self.stop.clone(), self.clock.stepped_back().clone());
        let mut newer = self.watch(generations);
        let mut changes = self.leases.changes();
        self.compare_with_leases();
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
                Some(generation) = newer.recv() => self.follow(generation),
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Ok(Ended::Stopped);
                    }
                    self.compare_with_leases();
                }
                Some(done) = self.doing.next() => self.done(done)?,
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

    /// Begins what the leases ask for.
    fn compare_with_leases(&mut self) {
        let mut fresh = BTreeMap::new();
        let mut is_smaller = false;
        for (slot, Held { phase, state }) in self.leases.held() {
            match (self.places.get(&slot), phase) {
                (None, Phase::Held) => {
                    fresh.insert(slot, state);
                }
                (None, Phase::Lost) => self.leases.forget(slot),
                (None | Some(Place::Working), _) if phase != Phase::Held => {
                    self.close(slot);
                    is_smaller = true;
                }
                _ => {}
            }
        }
        if is_smaller {
            self.rearrange(&BTreeMap::new());
        }
        if !fresh.is_empty() {
            let slots: Vec<u32> = fresh.keys().copied().collect();
            self.places.extend(slots.iter().map(|slot| (*slot, Place::Admitting)));
            let admissions = self.admissions.clone();
            self.doing.push(Box::pin(async move {
                Done::Admitted { slots, admission: admissions.prepare(fresh).await }
            }));
        }
    }

    /// Begins to end the work on a slot: what is in hand is finished. Then its checkpoint is stored and
    /// it is released, or it is forgotten when it is lost.
    fn close(&mut self, slot: u32) {
        self.places.insert(slot, Place::Closing);
        let checkpoint = self.confirm.dismiss(slot);
        let (leases, checkpoints) = (self.leases.clone(), self.checkpoints.clone());
        let (sequencer, pauses) = (self.fast.sequencer.clone(), self.fast.config.backoff);
        self.doing.push(Box::pin(async move {
            sequencer.close(slot).await;
            let mut backoff = Backoff::new(pauses);
            while leases.held().get(&slot).is_some_and(|held| held.phase != Phase::Lost) {
                match give_up(&leases, &checkpoints, slot, checkpoint).await {
                    Ok(()) => return Done::Closed(slot),
                    Err(error) => {
                        let error = chain(&error).to_string();
                        warn!(slot, error, "slot not released, trying again");
                    }
                }
                tokio::time::sleep(backoff.next_pause()).await;
            }
            leases.forget(slot);
            Done::Closed(slot)
        }));
    }

    fn done(&mut self, done: Done) -> Result<(), GroupError> {
        match done {
            Done::Admitted { slots, admission } => {
                for slot in slots {
                    self.places.remove(&slot);
                }
                let admission = admission
                    .map_err(|source| database("find the place of slots in the log", source))?;
                self.admit(admission);
            }
            Done::Closed(slot) => {
                self.places.remove(&slot);
            }
        }
        // The leases may have changed meanwhile.
        self.compare_with_leases();
        Ok(())
    }

    /// Begins to work on slots whose start is known.
    fn admit(&mut self, admission: Admission) {
        let Admission { slots, letters, starts, generations, scans, ahead } = admission;
        let held = self.leases.held();
        let is_held = |slot: &u32, epoch: &i64| {
            let found = held.get(slot);
            found.is_some_and(|held| held.phase == Phase::Held && held.state.epoch == *epoch)
        };
        self.ahead = merged(self.ahead, ahead);
        for generation in generations {
            let newest = self.following.last().map(|following| following.active.start);
            if newest.is_none_or(|newest| newest < generation.start) {
                // It concerns those that are here as well.
                self.follow(generation);
            } else if !self.is_followed(generation.start) {
                self.add(generation);
            }
        }
        let mut gained: BTreeMap<LogTime, BTreeMap<u32, LogTime>> = BTreeMap::new();
        let restart = self.clock.restart_point();
        let mut admitted = Vec::new();
        for (slot, (epoch, checkpoint)) in slots {
            if !is_held(&slot, &epoch) {
                continue;
            }
            self.places.insert(slot, Place::Working);
            self.fast.sequencer.open_slot(slot);
            if let Some((crashes, letters)) = letters.get(&slot) {
                self.fast.sequencer.take_over(slot, *crashes, letters);
            }
            self.confirm.admit(slot, epoch, checkpoint);
            let at = Checkpoint { time: checkpoint.time.min(restart), ..checkpoint };
            let needed = needed(&starts, &[at]);
            let newest = starts.last().copied().unwrap_or(LogTime::ZERO);
            for following in &self.following {
                let generation = following.active.start;
                if (needed.contains(&generation) || generation > newest)
                    && let Some(start) = self.confirm.join(slot, generation)
                {
                    gained.entry(generation).or_default().insert(slot, start);
                }
            }
            admitted.push(slot);
        }
        self.rearrange(&gained);
        debug!(slots = ?admitted, "slots admitted");
        let scans: Vec<_> =
            scans.into_iter().filter(|scan| admitted.contains(&scan.slot)).collect();
        if !scans.is_empty() {
            let (catch_up, events) = (self.admissions.catch_up.clone(), self.events.clone());
            let (sequencer, stop) = (self.fast.sequencer.clone(), self.stop.clone());
            self.chunks.spawn(async move {
                catch_up.run(scans, &*events, &sequencer, &stop).await;
                Ok(())
            });
        }
    }

    /// Follows a generation with every slot that is here and does not follow it yet.
    fn follow(&mut self, generation: Generation) {
        let start = generation.start;
        if !self.is_followed(start) {
            self.add(generation);
        }
        let before = self.confirm.slots_in(start);
        let slots = self.confirm.slots();
        let joined = slots.into_iter().filter(|slot| !before.contains(*slot));
        let joined = joined.filter_map(|slot| Some((slot, self.confirm.join(slot, start)?)));
        let gained = BTreeMap::from([(start, joined.collect())]);
        self.rearrange(&gained);
    }

    fn is_followed(&self, generation: LogTime) -> bool {
        self.following.iter().any(|following| following.active.start == generation)
    }

    fn add(&mut self, generation: Generation) {
        info!(generation = %generation.start, "following a generation of CDC streams");
        let active =
            ActiveGeneration { start: generation.start, chunks: Vec::new(), parts: Vec::new() };
        self.following.push(Following { generation, active, stop: self.stop.child_token() });
        self.following.sort_by_key(|following| following.active.start);
    }

    /// Puts the streams of each generation together anew, for the slots that are here now. Slots that
    /// were gained start where `gained` says: what lies between there and the others' place is read
    /// beside, as a part of its own.
    fn rearrange(&mut self, gained: &BTreeMap<LogTime, BTreeMap<u32, LogTime>>) {
        for place in 0..self.following.len() {
            let following = &mut self.following[place];
            let active = &mut following.active;
            let slots = self.confirm.slots_in(active.start);
            let gained = gained.get(&active.start);
            let first = gained.and_then(|gained| gained.values().min().copied());
            let until = active.chunks.iter().map(|chunk| chunk.read_until()).min();
            let start = until.or(first).unwrap_or(LogTime::ZERO);
            following.stop.cancel();
            following.stop = self.stop.child_token();
            let streams = following.generation.streams_of(&slots);
            let chunk = |streams: &[StreamID]| {
                Arc::new(Chunk::new(streams.to_vec(), slots.clone(), start, self.ahead))
            };
            active.chunks = streams.chunks(STREAMS_PER_QUERY_MAX).map(chunk).collect();
            active.parts.retain(|part| !part.is_through());
            let mut begun = active.chunks.clone();
            if let (Some(gained), Some(first)) = (gained, first)
                && first < start
            {
                let slots = Slots::some(self.slot_count, gained.keys().copied());
                let streams = following.generation.streams_of(&slots);
                let window = Window::new(first, start);
                let part = |streams: &[StreamID]| {
                    Arc::new(Chunk::part(streams.to_vec(), slots.clone(), window))
                };
                let parts: Vec<_> = streams.chunks(STREAMS_PER_QUERY_MAX).map(part).collect();
                begun.extend(parts.iter().cloned());
                active.parts.extend(parts);
            }
            for chunk in begun {
                let fast = self.fast.clone();
                // A part goes on when the streams are put together anew.
                let stop = if chunk.is_part() { self.stop.clone() } else { following.stop.clone() };
                self.chunks.spawn(async move { fast.follow(&chunk, &stop).await });
            }
        }
        let chunks = self.following.iter().map(|following| following.active.chunks.len()).sum();
        self.fast.chunks.store(chunks, Ordering::Relaxed);
    }

    /// Lets go of generations that every slot is past.
    fn retire(&mut self) {
        while let [old, next, ..] = self.following.as_slice()
            && (self.confirm.is_past(old.active.start, next.active.start)
                || defect("old-streams-dropped"))
        {
            info!(generation = %old.active.start, "generation of CDC streams is done");
            old.stop.cancel();
            let chunks = old.active.chunks.len();
            self.fast.chunks.fetch_sub(chunks, Ordering::Relaxed);
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

/// Stores the last checkpoint of a slot of which nothing is in hand, and gives it up.
async fn give_up(
    leases: &Leases,
    checkpoints: &Checkpoints,
    slot: u32,
    checkpoint: Option<Checkpoint>,
) -> Result<(), HandleError> {
    if let Some(checkpoint) = checkpoint {
        checkpoints.save(slot, checkpoint).await?;
    }
    leases.release(slot).await.map_err(slots_failed)
}

fn merged(one: Option<Window>, other: Option<Window>) -> Option<Window> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Window::new(one.from.min(other.from), one.to.max(other.to)))
        }
        (one, other) => one.or(other),
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
