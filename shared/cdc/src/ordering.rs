//! Events of one aggregate in order, once: what the [`sequencer`] and the retries of a letter share.

mod blocked;
mod cursors;
mod handling;
mod lane;
mod lanes;
mod lonely;
mod queue;
mod replay;
mod sequencer;
mod state;
mod step;
mod suspects;
mod worker;

pub(crate) use cursors::LaneKey;
pub use replay::{MayBegin, Replay, ReplayError};
pub(crate) use sequencer::{Sequencer, Stopped};

use cursors::CursorCache;
use handling::Handling;
use lane::Lane;
use queue::{Queue, Share};
use state::{Arrivals, Gate, State};
use step::{Done, Step};
