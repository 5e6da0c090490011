//! What the world consists of, and what must hold in it at every moment.

use super::letters::Found;
use super::{Counts, Faults, SAFETY, SLOTS, Treatment};
use crate::log_time::{LogTime, micros};
use crate::reading::generation::{StreamRange, token_of};
use crate::source::{CatchUpRow, Checkpoint, Cursor};
use kernel::testing::tally;
use kernel::{RecordedEvent, Timestamp, Version};
use leases::{MemberId, Revision, Slot, SlotState};
use scylla_cdc::cdc_types::StreamID;
use std::collections::{BTreeMap, HashMap, HashSet};
use tokio::time::Instant;
use uuid::Uuid;

/// One row of the log.
#[derive(Clone)]
pub(super) struct Logged {
    /// Start of the generation that the stream belongs to.
    pub(super) generation: LogTime,
    /// Stamped by a clock that had stepped back, behind what a checkpoint may have passed.
    pub(super) is_excused: bool,
    pub(super) stream: StreamID,
    pub(super) stamp: LogTime,
    pub(super) time: Uuid,
    pub(super) sequence: u32,
    pub(super) end_of_group: bool,
    /// In the world's own time, whatever the clocks show.
    pub(super) visible_at: LogTime,
    pub(super) event: RecordedEvent,
}

pub(super) struct State {
    pub(super) life_began: Instant,
    /// The world's time when the life began.
    pub(super) base: i64,
    /// What the nodes' clocks show beyond the world's time, in microseconds.
    pub(super) clocks: Vec<i64>,
    pub(super) generations: Vec<(LogTime, Vec<StreamRange>, LogTime)>,
    pub(super) ledger: HashMap<Uuid, Vec<RecordedEvent>>,
    pub(super) log: Vec<Logged>,
    pub(super) cursors: HashMap<(Uuid, String), Cursor>,
    /// Rows of `slots` and `members`.
    pub(super) slots: BTreeMap<Slot, SlotState>,
    pub(super) members: BTreeMap<MemberId, Revision>,
    /// Until when requests of a process wait, before and after they take effect.
    pub(super) cut_off: BTreeMap<usize, Instant>,
    pub(super) catch_ups: HashMap<String, BTreeMap<Slot, CatchUpRow>>,
    pub(super) letters: HashMap<(Uuid, String), Found>,
    /// Whose aggregates ever had a letter.
    pub(super) had_letter: HashSet<(Uuid, String)>,
    /// Recorded attempts by consumer, aggregate and version.
    pub(super) attempts: HashMap<(String, Uuid, u64), u32>,
    /// Events that the ledger has and nobody can read.
    pub(super) unreadable: HashSet<(Uuid, u64)>,
    /// Aggregates whose events some consumers refuse.
    pub(super) poisoned: HashSet<Uuid>,
    pub(super) effects: Vec<(String, Uuid, u64, LogTime)>,
    /// Consumers that checkpoints speak for.
    pub(super) consumers: Vec<String>,
    pub(super) faults: Faults,
    /// The highest that the stamping clock ever showed.
    pub(super) highest: i64,
    pub(super) random: u64,
    pub(super) uuids: u64,
    pub(super) counts: Counts,
}

impl State {
    pub(super) fn now(&self) -> LogTime {
        LogTime::from_micros(self.base + micros(self.life_began.elapsed()))
    }

    /// xorshift64
    pub(super) fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// What the node that stamps announcements shows: the first one.
    pub(super) fn stamp(&self) -> i64 {
        self.now().micros() + self.clocks[0]
    }

    pub(super) fn log(&mut self, events: &[RecordedEvent], treatment: Treatment, later: i64) {
        let Some(first) = events.first() else { return };
        let stamp = LogTime::from_micros(self.stamp() + later - micros(treatment.stamped_earlier));
        let visible_at = self.now().plus(treatment.delay);
        self.highest = self.highest.max(self.stamp());
        let is_excused = stamp.micros() + micros(SAFETY / 2) < self.highest;
        let (generation, stream) = self.stream_for(first.aggregate_id, stamp);
        self.uuids += 1;
        let time = stamp.uuid(self.uuids.to_be_bytes());
        // Clustering order: the newest version first.
        for (sequence, event) in (0..).zip(events.iter().rev()) {
            self.log.push(Logged {
                generation,
                is_excused,
                stream: stream.clone(),
                stamp,
                time,
                sequence,
                end_of_group: event.version == first.version,
                visible_at,
                event: event.clone(),
            });
        }
    }

    pub(super) fn stream_for(&self, aggregate_id: Uuid, stamp: LogTime) -> (LogTime, StreamID) {
        let token = token_of(aggregate_id);
        let generations = self.generations.iter().filter(|(start, ..)| *start <= stamp);
        let (start, ranges, _) =
            generations.max_by_key(|(start, ..)| *start).expect("a generation");
        let range = ranges.iter().find(|range| range.end >= token).expect("ranges cover the ring");
        (*start, range.streams[0].clone())
    }

    /// Panics when an event that was announced before the checkpoint was not handled.
    pub(super) fn check_checkpoint(&self, slot: Slot, checkpoint: Checkpoint) {
        for row in &self.log {
            let id = row.event.aggregate_id;
            let is_before = !row.is_excused
                && row.stamp < checkpoint.time
                && row.generation <= checkpoint.generation;
            if !is_before || leases::slot_of(token_of(id), SLOTS) != slot {
                continue;
            }
            for consumer in &self.consumers {
                let catch_up = self.catch_ups.get(consumer).and_then(|slots| slots.get(&slot));
                if catch_up.is_some_and(|catch_up| is_left_to_the_scan(row.stamp, catch_up)) {
                    continue;
                }
                let handled = self
                    .cursors
                    .get(&(id, consumer.clone()))
                    .map_or(Version::NONE, |cursor| cursor.version);
                // Also a released one: whoever retries it is not past its second look at the tail.
                let letter = self.letters.get(&(id, consumer.clone()));
                if letter.is_some_and(|found| found.letter.version <= row.event.version) {
                    continue;
                }
                assert!(
                    handled >= row.event.version,
                    "checkpoint {} of slot {slot} passes version {} of {id} (announced {}, visible \
                     {}), {consumer} is at {handled}",
                    checkpoint.time,
                    row.event.version,
                    row.stamp,
                    row.visible_at,
                );
            }
        }
    }
}

/// What was committed before a catch-up began is the scan's, not the checkpoint's.
fn is_left_to_the_scan(stamp: LogTime, row: &CatchUpRow) -> bool {
    !row.is_done && stamp < row.log_from
}

pub(super) fn event(aggregate_id: Uuid, version: u64, recorded_at: Timestamp) -> RecordedEvent {
    RecordedEvent {
        event_id: Uuid::from_u128(aggregate_id.as_u128() ^ u128::from(version)),
        event_type: "OrderCreated".to_owned(),
        recorded_at,
        payload: "{}".to_owned(),
        ..tally::event(aggregate_id, version)
    }
}
