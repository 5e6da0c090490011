//! States that differ only in what cannot matter any more are made one, which leaves a tenth of them.

use super::{Append, Phase, Settler, State};
use crate::Defect;

impl Append {
    pub(super) fn forget_what_cannot_matter(&self, state: &mut State) {
        self.forget_requests(state);
        self.forget_tasks(state);
        state.renumber_counters();
        state.renumber_fences();
        state.requests.sort_unstable();
    }

    /// A commit that cannot apply any more, and that nobody waits for.
    fn forget_requests(&self, state: &mut State) {
        let (ledger, fence) = (state.ledger, state.fence);
        let fences_count = !self.has(Defect::NoFence);
        state.requests.retain(|request| {
            let is_taken = ledger[usize::from(request.version) - 1].is_some();
            let is_fenced_off = fences_count && request.fence != fence;
            request.awaited || !(is_taken || is_fenced_off)
        });
    }

    fn forget_tasks(&self, state: &mut State) {
        for task in &mut state.tasks {
            if matches!(task.phase, Phase::Committed { .. } | Phase::Gone) {
                task.sends = 0;
            }
        }
        for number in 0..state.processes.len() {
            let mut tasks = (0..state.tasks.len()).filter(|task| self.process_of(*task) == number);
            if !tasks.any(|task| state.tasks[task].phase == Phase::Waiting) {
                state.processes[number].cache = None;
            }
        }
    }
}

impl State {
    /// Of a heartbeat counter matters whether it is the one that a settler saw.
    fn renumber_counters(&mut self) {
        for (number, row) in self.rows.iter_mut().enumerate() {
            let counter = std::mem::take(&mut row.counter);
            for settler in &mut self.settlers {
                if let Settler::Observed { writer, counter: seen } = settler
                    && *writer == number
                {
                    *seen = if *seen == counter { 0 } else { u8::MAX };
                }
            }
        }
    }

    /// Of a fence matters whether it is the same as another.
    fn renumber_fences(&mut self) {
        let mut used: Vec<u8> = self.fences().map(|fence| *fence).collect();
        used.sort_unstable();
        used.dedup();
        for fence in self.fences() {
            let rank = used.iter().position(|value| value == fence).unwrap_or_default();
            *fence = u8::try_from(rank).unwrap_or(u8::MAX);
        }
    }

    /// Every fence that somebody knows.
    fn fences(&mut self) -> impl Iterator<Item = &mut u8> {
        let tasks = self.tasks.iter_mut().filter_map(|task| match &mut task.phase {
            Phase::Ready { fence, .. }
            | Phase::Sent { fence, .. }
            | Phase::Unknown { fence, .. } => Some(fence),
            Phase::Waiting | Phase::Lost | Phase::Committed { .. } | Phase::Done | Phase::Gone => {
                None
            }
        });
        let settlers = self.settlers.iter_mut().filter_map(|settler| match settler {
            Settler::Fencing { fence, .. } => Some(fence),
            _ => None,
        });
        let caches = self.processes.iter_mut().filter_map(|process| process.cache.as_mut());
        let requests = self.requests.iter_mut().map(|request| &mut request.fence);
        let known = caches.map(|(_, fence)| fence).chain(requests).chain(tasks).chain(settlers);
        known.chain([&mut self.fence])
    }
}
