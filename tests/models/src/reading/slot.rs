//! The slot's row: who owns it, and changes of its checkpoint that may land late.

use super::{Checkpoint, EVENTS, Reader, Reading, Save, Settling, State};
use crate::Defect;

impl Reading {
    /// `Slots::take`: read at SERIAL, then changed if it still is so. The checkpoint read is current,
    /// and every change that was made from an earlier row is void.
    pub(super) fn take(&self, state: &mut State, number: usize) {
        state.change_row();
        state.slot.owner = Some(number);
        let checkpoint = state.slot.checkpoint;
        let reader = &mut state.readers[number];
        *reader = Reader { owns: true, is_current: true, checkpoint, ..Reader::default() };
        self.start(reader, state.now);
    }

    /// What was found is handled: the checkpoint is stored if that moves it, and positions move.
    pub(super) fn settle(&self, state: &mut State, number: usize) {
        let Some((settling, checkpoint)) = state.settled(number) else { return };
        let is_current = state.readers[number].is_current;
        if checkpoint != state.readers[number].checkpoint {
            if !self.save(state, Save { reader: number, checkpoint, is_current }) {
                // The row is another's: `SlotError::Lost`.
                state.readers[number] = Reader::default();
                return;
            }
            state.readers[number].checkpoint = checkpoint;
        }
        state.readers[number].move_positions(&settling);
    }

    /// A change of the checkpoint that nobody waits for reaches the row.
    pub(super) fn land(&self, state: &mut State, save: usize) {
        let save = state.saves.remove(save);
        self.save(state, save);
    }

    /// Whether the change applies.
    fn save(&self, state: &mut State, save: Save) -> bool {
        if !save.is_current && !self.has(Defect::DelayedRenewalMovesCheckpointBack) {
            return false;
        }
        state.change_row();
        // The next change of the same owner knows this one by its attempt's id.
        state.readers[save.reader].is_current = state.readers[save.reader].owns;
        let (before, after) = (state.slot.checkpoint, save.checkpoint);
        state.slot.has_moved_back |=
            after.time < before.time || after.generation < before.generation;
        state.slot.checkpoint = after;
        true
    }

    /// States that differ only in what cannot matter any more are made one.
    pub(super) fn forget_what_cannot_matter(&self, state: &mut State) {
        if !self.has(Defect::DelayedRenewalMovesCheckpointBack) {
            state.saves.retain(|save| save.is_current);
        }
        state.saves.sort_unstable();
        state.saves.dedup();
        for reader in &mut state.readers {
            let lane = &mut reader.lane;
            if let Some(cursor) = lane.cursor {
                let handled = usize::from(cursor).min(EVENTS);
                lane.pending[..handled].fill(false);
                if lane.wanted <= cursor {
                    lane.wanted = 0;
                }
            }
        }
    }
}

impl State {
    /// The row gets another revision.
    fn change_row(&mut self) {
        self.saves.iter_mut().for_each(|save| save.is_current = false);
        self.readers.iter_mut().for_each(|reader| reader.is_current = false);
    }

    /// Positions move all the same: a later change says the same and more.
    pub(super) fn settle_unanswered(&mut self, number: usize) {
        self.left.lost_answers -= 1;
        let Some((settling, checkpoint)) = self.settled(number) else { return };
        let is_current = self.readers[number].is_current;
        self.saves.push(Save { reader: number, checkpoint, is_current });
        self.readers[number].move_positions(&settling);
    }

    /// What the confirm pass was waiting for, and the checkpoint that follows from it.
    fn settled(&mut self, number: usize) -> Option<(Settling, Checkpoint)> {
        let reader = &mut self.readers[number];
        let settling = reader.settling.take()?;
        let checkpoint = reader.checkpoint_after(&settling);
        Some((settling, checkpoint))
    }
}
