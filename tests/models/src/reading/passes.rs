//! The two passes over the log.

use super::{
    CHANGE, Checkpoint, NEW, OLD, Reader, Reading, SAFETY_INTERVAL, Settling, State, Streams,
    index, versions,
};
use crate::Defect;

impl Reading {
    /// `confirm_pass.rs`, `SlotProgress::join`, for the generations that `needed` names.
    pub(super) fn start(&self, reader: &mut Reader, now: u8) {
        let checkpoint = reader.checkpoint;
        let knows_new = now >= CHANGE;
        let drops_old = knows_new && self.has(Defect::OldStreamsDropped);
        if (checkpoint.time < CHANGE || !knows_new) && !drops_old {
            reader.streams[OLD] = Some(Streams::from(checkpoint.time));
        }
        if knows_new {
            reader.join_new();
        }
    }

    /// `reader.rs`, `follow`: the new streams are read beside the old ones.
    pub(super) fn follow(&self, state: &mut State, reader: usize) {
        let reader = &mut state.readers[reader];
        reader.join_new();
        if self.has(Defect::OldStreamsDropped) {
            reader.streams[OLD] = None;
        }
        reader.retire();
    }

    pub(super) fn can_confirm(&self, state: &State, reader: &Reader) -> bool {
        [OLD, NEW].iter().any(|generation| self.window(state, reader, *generation).is_some())
    }

    /// What the confirm pass reads of a generation: from its position to now minus the safety
    /// interval, and no further than the fast pass has read.
    fn window(&self, state: &State, reader: &Reader, generation: usize) -> Option<(u8, u8)> {
        let streams = reader.streams[generation]?;
        let limit = if self.has(Defect::ConfirmPassOff) {
            streams.read_until
        } else {
            state.now.saturating_sub(SAFETY_INTERVAL).min(streams.read_until)
        };
        (streams.position < limit).then_some((streams.position, limit))
    }

    /// `ConfirmPass::pass`: what it finds is asked for; positions move when that is handled.
    pub(super) fn confirm(&self, state: &mut State, number: usize) {
        let reader = &state.readers[number];
        let mut settling = Settling { reached: [None; 2], found: 0 };
        for generation in [OLD, NEW] {
            let Some((from, to)) = self.window(state, reader, generation) else { continue };
            settling.reached[generation] = Some(to);
            for version in versions() {
                if state.log[index(version)].is_in(generation, from, to) {
                    settling.found = settling.found.max(version);
                }
            }
        }
        if self.has(Defect::ConfirmPassOff) {
            settling.found = reader.lane.wanted;
        }
        let reader = &mut state.readers[number];
        reader.settling = Some(settling);
        if settling.found > 0 {
            reader.lane.want(settling.found, state.cursor);
        }
    }

    /// `Sequencer::settle`: every version up to the newest one found is handled, its cursor stored.
    pub(super) fn is_settled(&self, reader: &Reader, found: u8) -> bool {
        let is_handled = reader.lane.cursor.is_some_and(|cursor| cursor >= found);
        found == 0 || is_handled || self.has(Defect::CheckpointBeforeApply)
    }
}

impl Streams {
    fn from(position: u8) -> Self {
        Self { read_until: position, position }
    }
}

impl Reader {
    /// From its beginning, unless the checkpoint accounts for it.
    fn join_new(&mut self) {
        let from = if self.checkpoint.generation < NEW { CHANGE } else { self.checkpoint.time };
        self.streams[NEW].get_or_insert(Streams::from(from));
    }

    /// `SlotProgress::checkpoint_after`
    pub(super) fn checkpoint_after(&self, settling: &Settling) -> Checkpoint {
        let reached = |generation: usize| {
            let position = self.streams[generation].map(|streams| streams.position);
            position.map(|position| position.max(settling.reached[generation].unwrap_or(0)))
        };
        let least = [OLD, NEW].into_iter().filter_map(reached).min();
        let time = least.unwrap_or(0).max(self.checkpoint.time);
        let accounts_for_new = reached(NEW).is_some_and(|position| position >= time);
        let generation = if accounts_for_new { NEW } else { self.checkpoint.generation };
        Checkpoint { time, generation }
    }

    pub(super) fn move_positions(&mut self, settling: &Settling) {
        for (streams, reached) in self.streams.iter_mut().zip(settling.reached) {
            if let (Some(streams), Some(reached)) = (streams, reached) {
                streams.position = streams.position.max(reached);
            }
        }
        self.retire();
    }

    /// `reader.rs`, `retire`: the old streams go when everything before the change is settled.
    fn retire(&mut self) {
        let is_past = self.streams[OLD].is_some_and(|old| old.position >= CHANGE);
        if is_past && self.streams[NEW].is_some() {
            self.streams[OLD] = None;
        }
    }
}

impl State {
    /// `fast_pass.rs`: what can be seen up to now. It does not look back here, which is the
    /// confirm pass's to make good.
    pub(super) fn read(&mut self, number: usize) {
        let reader = &mut self.readers[number];
        for (generation, streams) in reader.streams.iter_mut().enumerate() {
            let Some(streams) = streams else { continue };
            for version in versions() {
                if self.log[index(version)].is_in(generation, streams.read_until, self.now) {
                    reader.lane.offer(version, self.cursor);
                }
            }
            streams.read_until = streams.read_until.max(self.now);
        }
    }
}
