//! Generations of CDC streams, and which part of the token ring a stream covers.
//!
//! On vnodes the ring is cut at every vnode's token. A row of the streams' description has the end
//! of one range and the streams (one per shard) that share it: they cover `(previous end, end]`, the
//! first range wraps round the announcement. Which of them gets a row is decided by the shard of the row's
//! token, so each of a range's streams counts for the whole range.

use crate::error::StoreError;
use crate::log_time::LogTime;
use crate::source::{Checkpoint, GenerationSource};
use leases::Slot;
use scylla::routing::partitioner::{Murmur3Partitioner, Partitioner};
use scylla_cdc::cdc_types::StreamID;
use std::collections::BTreeSet;
use uuid::Uuid;

/// One range of the ring and its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamRange {
    /// Last token of the range.
    pub(crate) end: i64,
    pub(crate) streams: Vec<StreamID>,
}

/// One generation: from when, and which streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) start: LogTime,
    /// Ascending by end.
    ranges: Vec<StreamRange>,
}

impl Generation {
    /// Reads a generation's streams. `None` when their description is not there (yet).
    pub(crate) async fn read(
        source: &dyn GenerationSource,
        start: LogTime,
    ) -> Result<Option<Self>, StoreError> {
        let ranges = source.streams(start).await?;
        Ok((!ranges.is_empty()).then(|| Self::new(start, ranges)))
    }

    pub(crate) fn new(start: LogTime, mut ranges: Vec<StreamRange>) -> Self {
        ranges.sort_unstable_by_key(|range| range.end);
        Self { start, ranges }
    }

    /// The streams that may carry rows of the given slots, in order of their ids.
    pub(crate) fn streams_of(&self, slots: &Slots) -> Vec<StreamID> {
        let mut streams = BTreeSet::new();
        let mut previous = None;
        for range in &self.ranges {
            if slots.touch(previous, range.end) || self.wraps_into(range, slots) {
                streams.extend(range.streams.iter().cloned());
            }
            previous = Some(range.end);
        }
        streams.into_iter().collect()
    }

    /// The first range also covers what lies behind the last range's end.
    fn wraps_into(&self, range: &StreamRange, slots: &Slots) -> bool {
        match (self.ranges.first(), self.ranges.last()) {
            (Some(first), Some(last)) if first == range && last.end < i64::MAX => {
                slots.touch(Some(last.end), i64::MAX)
            }
            _ => false,
        }
    }
}

/// Some slots, out of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slots {
    count: u32,
    served: BTreeSet<Slot>,
}

impl Slots {
    /// Every slot.
    #[cfg(test)]
    pub(crate) fn all(count: u32) -> Self {
        Self { count, served: Slot::all(count).collect() }
    }

    /// These slots out of `count`.
    pub(crate) fn some(count: u32, served: impl IntoIterator<Item = Slot>) -> Self {
        Self { count, served: served.into_iter().collect() }
    }

    /// How many they are, at least one, and out of how many.
    pub(crate) fn share(&self) -> (u32, u32) {
        let served = u32::try_from(self.served.len()).unwrap_or(u32::MAX);
        (served.max(1), self.count.max(1))
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.served.contains(&slot)
    }

    /// The slot of an aggregate, when it is served here.
    pub(crate) fn of(&self, aggregate_id: Uuid) -> Option<Slot> {
        let slot = slot_of(aggregate_id, self.count);
        self.served.contains(&slot).then_some(slot)
    }

    /// Whether a token in `(after, end]` belongs to a served slot. A slot is a contiguous part of
    /// the announcement, in order, so only the slots of both ends and between them count.
    fn touch(&self, after: Option<i64>, end: i64) -> bool {
        let first = after.map_or(i64::MIN, |after| after.saturating_add(1));
        let (low, high) = (leases::slot_of(first, self.count), leases::slot_of(end, self.count));
        self.served.range(low..=high).next().is_some()
    }
}

/// The slot of an aggregate, out of `slots`.
pub fn slot_of(aggregate_id: Uuid, slots: u32) -> Slot {
    leases::slot_of(token_of(aggregate_id), slots)
}

/// The token of an aggregate's partitions.
pub(crate) fn token_of(aggregate_id: Uuid) -> i64 {
    Murmur3Partitioner.hash_one(aggregate_id.as_bytes()).value()
}

/// The generations that matter to slots with these checkpoints, ascending: the one that was current
/// at the oldest checkpoint, everything newer, and what some slot has not accounted for.
pub(crate) fn needed(starts: &[LogTime], checkpoints: &[Checkpoint]) -> Vec<LogTime> {
    let oldest = checkpoints.iter().map(|checkpoint| checkpoint.time).min();
    let accounted = checkpoints.iter().map(|checkpoint| checkpoint.generation).min();
    let first = current_at(starts, oldest.unwrap_or(LogTime::ZERO));
    let is_needed = |start: &LogTime| {
        first.is_none_or(|first| *start >= first) || accounted.is_some_and(|known| *start > known)
    };
    starts.iter().copied().filter(is_needed).collect()
}

/// The generation that is current at a time.
pub(crate) fn current_at(starts: &[LogTime], time: LogTime) -> Option<LogTime> {
    starts.iter().copied().filter(|start| *start <= time).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(number: u8) -> StreamID {
        StreamID::new(vec![number; 16])
    }

    fn generation(ends: &[i64]) -> Generation {
        let ranges = ends.iter().zip(0..).map(|(end, number)| StreamRange {
            end: *end,
            streams: vec![stream(2 * number), stream(2 * number + 1)],
        });
        Generation::new(LogTime::ZERO, ranges.collect())
    }

    /// `expected`: places of the ranges whose streams are to be read.
    fn check(ends: &[i64], slots: &Slots, expected: &[u8]) {
        let expected: Vec<_> =
            expected.iter().flat_map(|n| [stream(2 * n), stream(2 * n + 1)]).collect();
        assert_eq!(generation(ends).streams_of(slots), expected, "{slots:?} in {ends:?}");
    }

    fn some(count: u32, served: &[u32]) -> Slots {
        Slots::some(count, served.iter().copied().map(Slot))
    }

    const QUARTERS: [i64; 4] = [(-1 << 62) - 1, -1, (1 << 62) - 1, i64::MAX];

    #[test]
    fn all_slots_read_all_streams() {
        check(&QUARTERS, &Slots::all(16), &[0, 1, 2, 3]);
        check(&[-7, 5], &Slots::all(1), &[0, 1]);
    }

    #[test]
    fn a_slot_reads_the_streams_whose_range_it_touches() {
        check(&QUARTERS, &some(4, &[1]), &[1]);
        check(&QUARTERS, &some(4, &[0, 3]), &[0, 3]);
        check(&QUARTERS, &some(16, &[0]), &[0]);
        check(&QUARTERS, &some(3, &[0]), &[0, 1]);
    }

    #[test]
    fn a_range_ends_with_its_own_token() {
        // The second range begins right behind 0, in the upper half of the announcement.
        check(&[0, i64::MAX], &some(2, &[0]), &[0]);
        check(&[0, i64::MAX], &some(2, &[1]), &[0, 1]);
        check(&[-1, i64::MAX], &some(2, &[1]), &[1]);
    }

    #[test]
    fn the_first_range_wraps_round_the_ring() {
        // Behind 10 comes the first range again, up to -10.
        check(&[-10, 10], &some(4, &[3]), &[0]);
        check(&[-10, 10], &some(4, &[0]), &[0]);
        check(&[-10, 10], &some(4, &[1]), &[0, 1]);
    }

    #[test]
    fn tokens_are_those_of_the_database() {
        let id = "11111111-2222-3333-4444-555555555555".parse().expect("a UUID");
        assert_eq!(token_of(id), -3_194_464_110_090_069_327);
    }

    #[test]
    fn needed_are_the_current_generation_newer_ones_and_unaccounted_ones() {
        let [a, b, c] = [100, 200, 300].map(LogTime::from_millis);
        let at = |time, generation| Checkpoint { time: LogTime::from_millis(time), generation };
        assert_eq!(needed(&[a, b, c], &[at(250, b)]), [b, c]);
        assert_eq!(needed(&[a, b, c], &[at(150, a), at(350, c)]), [a, b, c]);
        // The change to c was found too late: its streams are read from their beginning.
        assert_eq!(needed(&[a, b, c], &[at(350, b)]), [c]);
        assert_eq!(needed(&[a, b, c], &[at(350, a)]), [b, c]);
        assert_eq!(needed(&[b, c], &[at(50, a)]), [b, c]);
    }
}
