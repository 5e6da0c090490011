//! What a group works for and with, in one place for all that do the work.

use crate::breakers::Breakers;
use crate::config::CdcConfig;
use crate::consumer::ChangeConsumer;
use crate::letters::Letters;
use crate::source::{CatchUpStore, CursorStore, EventSource, Fence, GenerationSource, LogSource};
use leases::Leases;
use std::sync::Arc;
use std::time::Duration;

/// What a group works for and with.
pub(crate) struct Surroundings {
    pub(crate) consumers: Vec<Arc<dyn ChangeConsumer>>,
    pub(crate) log: Arc<dyn LogSource>,
    pub(crate) generations: Arc<dyn GenerationSource>,
    pub(crate) events: Arc<dyn EventSource>,
    pub(crate) cursors: Arc<dyn CursorStore>,
    pub(crate) catch_ups: Arc<dyn CatchUpStore>,
    pub(crate) letters: Arc<dyn Letters>,
    pub(crate) leases: Leases,
    /// What the leases allow.
    pub(crate) may_begin: Fence,
    pub(crate) breakers: Breakers,
    /// How many slots there are.
    pub(crate) slots: u32,
    pub(crate) safety_interval: Duration,
    pub(crate) config: CdcConfig,
}

impl Surroundings {
    /// The consumers' names, in their order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.consumers.iter().map(|consumer| consumer.name())
    }
}
