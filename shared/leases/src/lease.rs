//! One slot, held by this process.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ids::{Epoch, Slot};
use crate::row::SlotState;

/// What its holder may do with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Work on it.
    Held,
    /// Begin nothing more; finish what is in hand, store the checkpoint, then
    /// [`release`](crate::Leases::release) it.
    Surrendered,
    /// It is gone: begin nothing more, store nothing; when nothing of it is in hand any more,
    /// [`forget`](crate::Leases::forget) it.
    Lost,
}

/// A lease from the take of its slot to the end.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) slot: Slot,
    pub(crate) epoch: Epoch,
    /// The row as it was stored last; locked while a change of it is on its way, for every change is
    /// conditional on the one before.
    pub(crate) row: tokio::sync::Mutex<SlotState>,
    /// Cancelled when the lease ends, however.
    pub(crate) ended: CancellationToken,
    view: Mutex<View>,
}

#[derive(Debug)]
struct View {
    phase: Phase,
    state: SlotState,
    /// When the last applied renewal was sent.
    renewed: Instant,
    /// When to stop working unless a renewal comes before.
    until: Instant,
    /// When the checkpoint moved last, or the work went on otherwise.
    moved: Instant,
}

impl Lease {
    /// A lease whose take was sent at `sent`.
    pub(crate) fn new(state: SlotState, sent: Instant, working_time: Duration) -> Self {
        let view = View {
            phase: Phase::Held,
            state: state.clone(),
            renewed: sent,
            until: sent + working_time,
            moved: Instant::now(),
        };
        Self {
            slot: state.slot,
            epoch: state.epoch,
            row: tokio::sync::Mutex::new(state),
            ended: CancellationToken::new(),
            view: Mutex::new(view),
        }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.view().phase
    }

    pub(crate) fn state(&self) -> SlotState {
        self.view().state.clone()
    }

    /// When the last applied renewal was sent, and until when work may go on.
    pub(crate) fn times(&self) -> (Instant, Instant) {
        let view = self.view();
        (view.renewed, view.until)
    }

    /// Whether the time to work on it is over. Once it is, it stays so: [`Self::renewed`] comes too
    /// late then.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.view().until
    }

    /// Whether something of the slot may begin now.
    pub(crate) fn may_begin(&self) -> bool {
        self.phase() == Phase::Held && !self.is_over()
    }

    /// A change that was sent at `sent` is stored. A renewal that is known only after the time was
    /// over changes nothing: whoever asked meanwhile was told that it is over.
    pub(crate) fn renewed(&self, state: SlotState, sent: Instant, working_time: Duration) {
        let is_over = self.is_over();
        let mut view = self.view();
        if view.state.checkpoint_us != state.checkpoint_us {
            view.moved = Instant::now();
        }
        view.state = state;
        if !is_over && sent > view.renewed {
            view.renewed = sent;
            view.until = sent + working_time;
        }
    }

    /// How long the checkpoint has stood still and the work not gone on otherwise.
    pub(crate) fn stood_still(&self) -> Duration {
        self.view().moved.elapsed()
    }

    /// The work goes on, although the checkpoint stands still.
    pub(crate) fn progressed(&self) {
        self.view().moved = Instant::now();
    }

    /// Goes on to a later phase; false when it is there already.
    pub(crate) fn enter(&self, phase: Phase) -> bool {
        let rank = |phase| match phase {
            Phase::Held => 0,
            Phase::Surrendered => 1,
            Phase::Lost => 2,
        };
        let mut view = self.view();
        let is_later = rank(phase) > rank(view.phase);
        if is_later {
            view.phase = phase;
        }
        is_later
    }
}
