//! From the streams of the log to rows for the sequencer, and to truthful checkpoints.

mod admission;
mod catch_up;
pub(crate) mod checkpoints;
mod chunk;
pub(crate) mod clock;
mod confirm_pass;
mod fast_pass;
pub(crate) mod generation;
mod groups;
mod lateness;
mod progress;
pub(crate) mod reader;
mod streams;

use crate::ordering::Sequencer;
use crate::surroundings::Surroundings;
use clock::DatabaseClock;
use std::sync::Arc;

/// What reads the log works with, from one beginning to the next. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) around: Arc<Surroundings>,
    pub(crate) clock: Arc<DatabaseClock>,
    pub(crate) sequencer: Sequencer,
}
