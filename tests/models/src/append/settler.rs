//! Who settles a writer that stood still: certificate, fence, tail, announcement, row.

use super::{Append, RowState, Settler, State, Step, VERSIONS};
use crate::Defect;

impl Append {
    pub(super) fn settler_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for (number, settler) in state.settlers.iter().enumerate() {
            match settler {
                Settler::Idle => self.idle_steps(state, number, steps),
                Settler::Observed { .. } => steps.push(Step::Certify(number)),
                Settler::Certain { .. } => steps.push(Step::ReadIntents(number)),
                Settler::Fencing { .. } => steps.push(Step::FenceOff(number)),
                Settler::Fenced { .. } => steps.push(Step::AnnounceTail(number)),
                Settler::Settled { .. } => steps.push(Step::RemoveRow(number)),
            }
        }
    }

    fn idle_steps(&self, state: &State, settler: usize, steps: &mut Vec<Step>) {
        for (writer, row) in state.rows.iter().enumerate() {
            // The one rule of time. A counter that was seen to stand still for the grace period
            // belongs to a heartbeat that was sent more than half of it ago.
            let is_fresh =
                state.processes.iter().any(|process| process.writer == writer && process.is_fresh);
            match row.state {
                RowState::Alive if !is_fresh || self.clock_stands_still => {
                    steps.push(Step::Observe(settler, writer));
                }
                RowState::Dead => steps.push(Step::FindDead(settler, writer)),
                RowState::Alive | RowState::Absent => {}
            }
        }
    }

    pub(super) fn settler_faults(&self, state: &State, steps: &mut Vec<Step>) {
        for (number, settler) in state.settlers.iter().enumerate() {
            if *settler != Settler::Idle {
                steps.push(Step::SettlerCrash(number));
            }
        }
    }

    pub(super) fn settle(&self, state: &mut State, step: &Step) {
        match *step {
            Step::Observe(settler, writer) => {
                let counter = state.rows[writer].counter;
                state.settlers[settler] = Settler::Observed { writer, counter };
            }
            Step::FindDead(settler, writer) => {
                state.settlers[settler] = Settler::Certain { writer }
            }
            Step::Certify(settler) => self.certify(state, settler),
            Step::ReadIntents(settler) => self.read_intents(state, settler),
            Step::FenceOff(settler) => fence_off(state, settler),
            Step::AnnounceTail(settler) => announce_tail(state, settler),
            Step::RemoveRow(settler) => self.remove_row(state, settler),
            Step::SettlerCrash(settler) => {
                state.left.settler_crashes -= 1;
                state.settlers[settler] = Settler::Idle;
            }
            _ => {}
        }
    }

    /// `state = dead IF counter = <the value that stood still>`
    fn certify(&self, state: &mut State, settler: usize) {
        let Settler::Observed { writer, counter } = state.settlers[settler] else { return };
        let row = &mut state.rows[writer];
        if self.has(Defect::NoDeathCertificate) {
            state.settlers[settler] = Settler::Certain { writer };
        } else if row.state == RowState::Alive && row.counter == counter {
            row.state = RowState::Dead;
            state.settlers[settler] = Settler::Certain { writer };
        } else {
            // It beats, or another settler has it.
            state.settlers[settler] = Settler::Idle;
        }
    }

    /// The intents of the buckets that the row names. All of them concern the one aggregate, so the
    /// one after the lowest version stands for all.
    fn read_intents(&self, state: &mut State, settler: usize) {
        let Settler::Certain { writer } = state.settlers[settler] else { return };
        let row = &state.rows[writer];
        let oldest = usize::from(state.oldest_bucket(writer));
        let lowest = row.intents[oldest..].iter().flatten().min().copied();
        state.settlers[settler] = match lowest {
            Some(after) if self.has(Defect::SettlerDoesNotFence) => {
                Settler::Fenced { writer, after }
            }
            Some(after) => Settler::Fencing { writer, after, fence: state.fence },
            None => Settler::Settled { writer },
        };
    }

    fn remove_row(&self, state: &mut State, settler: usize) {
        let Settler::Settled { writer } = state.settlers[settler] else { return };
        let row = &mut state.rows[writer];
        if row.state == RowState::Dead || self.has(Defect::NoDeathCertificate) {
            *row = super::Row::default();
        }
        state.settlers[settler] = Settler::Idle;
    }
}

impl State {
    /// The oldest bucket with an open append, else the current one (`intents.rs`, `span`). The row may
    /// name an older one, since it follows with the heartbeat: then more is announced again.
    fn oldest_bucket(&self, writer: usize) -> u8 {
        let holds = self.tasks.iter().filter_map(|task| task.hold);
        let open = holds.filter(|hold| hold.writer == writer).map(|hold| hold.bucket).min();
        open.unwrap_or(self.rows[writer].bucket)
    }
}

fn fence_off(state: &mut State, settler: usize) {
    let Settler::Fencing { writer, after, fence } = state.settlers[settler] else { return };
    state.settlers[settler] = if state.fence == fence {
        state.fence += 1;
        Settler::Fenced { writer, after }
    } else {
        // Somebody else moved it; that it moved after the certificate is not certain.
        Settler::Certain { writer }
    };
}

fn announce_tail(state: &mut State, settler: usize) {
    let Settler::Fenced { writer, after } = state.settlers[settler] else { return };
    for index in usize::from(after)..VERSIONS {
        if state.ledger[index].is_some() {
            state.outbox[index] = state.ledger[index];
        }
    }
    state.settlers[settler] = Settler::Settled { writer };
}
