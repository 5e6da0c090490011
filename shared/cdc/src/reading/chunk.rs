//! A part of the log that is read by itself: some streams, for some slots.

use crate::log_time::{LogTime, Window};
use crate::reading::generation::Slots;
use scylla_cdc::cdc_types::StreamID;
use std::sync::atomic::{AtomicI64, Ordering};

/// Streams of one generation that are read together, and up to where they were.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) streams: Vec<StreamID>,
    /// Rows of other slots are dropped.
    pub(super) slots: Slots,
    /// Where to end; `None` to follow the log for good.
    pub(super) end: Option<LogTime>,
    read_until: AtomicI64,
    /// Where rows may be stamped although the clock is not there yet.
    pub(super) ahead: Option<Window>,
}

impl Chunk {
    /// Nothing of it was read before `start`.
    pub(super) fn new(
        streams: Vec<StreamID>,
        slots: Slots,
        start: LogTime,
        ahead: Option<Window>,
    ) -> Self {
        let read_until = AtomicI64::new(start.micros());
        Self { streams, slots, end: None, read_until, ahead }
    }

    /// A part of the log with an end, which is read once.
    pub(super) fn part(streams: Vec<StreamID>, slots: Slots, part: Window) -> Self {
        let read_until = AtomicI64::new(part.from.micros());
        Self { streams, slots, end: Some(part.to), read_until, ahead: None }
    }

    pub(super) fn is_part(&self) -> bool {
        self.end.is_some()
    }

    /// Whether a part was read to its end.
    pub(super) fn is_through(&self) -> bool {
        self.end.is_some_and(|end| self.read_until() >= end)
    }

    /// Every row before it that was visible went to the sequencer.
    pub(super) fn read_until(&self) -> LogTime {
        LogTime::from_micros(self.read_until.load(Ordering::Acquire))
    }

    /// So far all that was visible went to the sequencer.
    pub(super) fn was_read_until(&self, to: LogTime) {
        self.read_until.store(to.micros(), Ordering::Release);
    }
}
