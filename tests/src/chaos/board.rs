//! What the clients know together: which aggregates there are, and what may be asked of them.

use crate::history::Kind;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// How many aggregates everybody works on at the same time, and how many commands one of them gets
/// before it is replaced.
const HOT: usize = 6;
const HOT_COMMANDS_MAX: u32 = 150;
/// Others that are remembered.
const COLD_MAX: usize = 48;

/// An aggregate as clients believe it to be.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) kind: Kind,
    pub(super) id: Uuid,
    /// The last version that an answer named.
    pub(super) version: u64,
    /// How far an order is in its life: created, confirmed, shipped, done.
    pub(super) stage: u8,
    commands: u32,
}

impl Known {
    pub(super) fn new(kind: Kind, id: Uuid) -> Self {
        Self { kind, id, version: 0, stage: 0, commands: 0 }
    }
}

/// Shared by all clients.
#[derive(Debug, Default)]
pub(super) struct Board {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hot: Vec<Known>,
    cold: VecDeque<Known>,
}

impl Board {
    /// One of the hot aggregates, or `None` while there are too few: then a new one is wanted.
    pub(super) fn hot(&self, random: &mut StdRng) -> Option<Known> {
        let mut state = self.lock();
        if state.hot.len() < HOT {
            return None;
        }
        let at = random.random_range(0..state.hot.len());
        state.hot[at].commands += 1;
        let known = state.hot[at].clone();
        if known.commands >= HOT_COMMANDS_MAX {
            state.hot.swap_remove(at);
        }
        Some(known)
    }

    /// One of the others.
    pub(super) fn cold(&self, random: &mut StdRng) -> Option<Known> {
        let state = self.lock();
        let at = random.random_range(0..state.cold.len().max(1));
        state.cold.get(at).cloned()
    }

    /// A new aggregate: hot while there are too few of these.
    pub(super) fn add(&self, known: Known) {
        let mut state = self.lock();
        if state.hot.len() < HOT {
            state.hot.push(known);
            return;
        }
        state.cold.push_back(known);
        if state.cold.len() > COLD_MAX {
            state.cold.pop_front();
        }
    }

    /// Somebody learned more about an aggregate.
    pub(super) fn learn(&self, id: Uuid, version: u64, stage: u8) {
        let mut state = self.lock();
        let State { hot, cold } = &mut *state;
        if let Some(known) = hot.iter_mut().chain(cold.iter_mut()).find(|known| known.id == id) {
            known.version = known.version.max(version);
            known.stage = known.stage.max(stage);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
