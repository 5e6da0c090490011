//! The aggregate's lane: handle the next event, store the cursor. The cursor is loaded with the first
//! version that is offered, which is as early, and as stale, as it can be.

use super::{EVENTS, Lane, Reader, Reading, State, Step, index, versions};
use crate::Defect;

impl Reader {
    pub(super) fn lane_step(&self, number: usize, steps: &mut Vec<Step>) {
        let lane = &self.lane;
        match lane.cursor {
            _ if lane.is_unflushed => steps.push(Step::Flush(number)),
            Some(cursor) if cursor < lane.wanted => steps.push(Step::Handle(number)),
            None | Some(_) => {}
        }
    }
}

impl Lane {
    /// `Lanes::offer`: the log brought a version with its content.
    pub(super) fn offer(&mut self, version: u8, stored: u8) {
        self.want(version, stored);
        self.pending[index(version)] |= self.cursor.is_some_and(|cursor| cursor < version);
    }

    /// A version is there. The stored cursor is read when nothing is known yet.
    pub(super) fn want(&mut self, version: u8, stored: u8) {
        self.cursor.get_or_insert(stored);
        self.wanted = self.wanted.max(version);
    }
}

impl Reading {
    /// `Lanes::next`: the version after the cursor, from the log or, when it is missing there, from
    /// the ledger, which then brings everything that it has.
    pub(super) fn handle(&self, state: &mut State, number: usize) {
        let lane = &mut state.readers[number].lane;
        let Some(cursor) = lane.cursor else { return };
        let mut next = cursor + 1;
        if !lane.pending[index(next)] {
            if self.has(Defect::GapHealingOff) {
                let mut later = versions().filter(|version| *version > cursor);
                next = later.find(|version| lane.pending[index(*version)]).unwrap_or(lane.wanted);
            } else {
                versions().for_each(|version| lane.pending[index(version)] |= version > cursor);
                lane.wanted = u8::try_from(EVENTS).unwrap_or(u8::MAX);
            }
        }
        lane.cursor = Some(next - 1);
        lane.is_unflushed = true;
        state.is_out_of_order |= state.effects[..index(next)].contains(&false);
        state.effects[index(next)] = true;
    }
}

impl State {
    /// Written under the version's timestamp: one that comes after a later one changes nothing.
    pub(super) fn flush(&mut self, number: usize) {
        let lane = &mut self.readers[number].lane;
        let Some(handled) = lane.cursor.map(|cursor| cursor + 1) else { return };
        lane.cursor = Some(handled);
        lane.is_unflushed = false;
        lane.pending[index(handled)] = false;
        self.cursor = self.cursor.max(handled);
    }
}
