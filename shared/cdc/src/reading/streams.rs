//! Which streams of the log a reader follows: those of every generation whose rows may still matter.
//!
//! A newer generation is read at once, from its beginning, beside the old one, which goes when every
//! slot is confirmed past the change. No barrier in between: order comes from versions.

use super::{
    chunk::Chunk,
    generation::{Generation, Slots},
    progress::ActiveGeneration,
    reader::Reader,
};
use crate::config::millis;
use crate::error::StoreError;
use crate::log_time::{LogTime, Window};
use crate::retries::Retries;
use crate::source::GenerationSource;
use crate::surroundings::Surroundings;
use leases::Slot;
use scylla_cdc::cdc_types::StreamID;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// ScyllaDB's bound on the keys of one `IN`.
const STREAMS_PER_QUERY_MAX: usize = 100;

/// A generation that is followed.
pub(super) struct Following {
    generation: Generation,
    pub(super) active: ActiveGeneration,
    /// Ends the chunks; parts end by themselves.
    stop: CancellationToken,
}

/// By generation: slots that were gained, and where they start.
pub(super) type Gained = BTreeMap<LogTime, BTreeMap<Slot, LogTime>>;

impl Reader {
    /// Follows a generation with every slot that is here and does not follow it yet.
    pub(super) fn follow(&mut self, generation: Generation) {
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

    pub(super) fn is_followed(&self, generation: LogTime) -> bool {
        self.following.iter().any(|following| following.active.start == generation)
    }

    pub(super) fn add(&mut self, generation: Generation) {
        info!(generation = %generation.start, "following a generation of CDC streams");
        let active =
            ActiveGeneration { start: generation.start, chunks: Vec::new(), parts: Vec::new() };
        self.following.push(Following { generation, active, stop: self.stop.child_token() });
        self.following.sort_by_key(|following| following.active.start);
    }

    /// Puts the streams of each generation together anew, for the slots that are here now. Slots that
    /// were gained start where `gained` says: what lies between there and the others' place is read
    /// beside, as a part of its own.
    pub(super) fn rearrange(&mut self, gained: &Gained) {
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
                let slots = Slots::some(self.reading.around.slots, gained.keys().copied());
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
                self.chunks.spawn(async move {
                    let followed = stop.run_until_cancelled(fast.follow(&chunk)).await;
                    followed.unwrap_or(Ok(()))
                });
            }
        }
        let chunks = self.following.iter().map(|following| following.active.chunks.len()).sum();
        self.fast.chunks.store(chunks, Ordering::Relaxed);
    }

    /// Lets go of generations that every slot is past.
    pub(super) fn retire(&mut self) {
        while let [old, next, ..] = self.following.as_slice()
            && self.confirm.is_past(old.active.start, next.active.start)
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
    pub(super) fn watch(&mut self) -> mpsc::Receiver<Generation> {
        let (sender, receiver) = mpsc::channel(1);
        let newest = self.following.iter().map(|f| f.active.start).max().unwrap_or(LogTime::ZERO);
        let (around, stop) = (self.reading.around.clone(), self.stop.clone());
        self.chunks.spawn(async move {
            stop.run_until_cancelled(look_for_newer(&around, newest, sender)).await;
            Ok(())
        });
        receiver
    }
}

/// Sends each newer generation, in order. Ends when nobody receives.
async fn look_for_newer(
    around: &Surroundings,
    mut newest: LogTime,
    sender: mpsc::Sender<Generation>,
) {
    let pauses = around.config.backoff;
    let mut retries = Retries::new(Some("generations"), "look for CDC generations", pauses);
    loop {
        tokio::time::sleep(millis(around.config.generation_interval_ms)).await;
        match newer_than(&*around.generations, newest).await {
            Ok(generations) => {
                retries.reset();
                for generation in generations {
                    newest = generation.start;
                    if sender.send(generation).await.is_err() {
                        return;
                    }
                }
            }
            // The next look comes after the interval, as always.
            Err(error) => drop(retries.failed(&error)),
        }
    }
}

/// The generations after `newest` whose streams are known, in order.
async fn newer_than(
    source: &dyn GenerationSource,
    newest: LogTime,
) -> Result<Vec<Generation>, StoreError> {
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
