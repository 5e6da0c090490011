//! What a letter's events are tried on: a consumer with its cursors.

use async_trait::async_trait;
use cdc::{ChangeConsumer, MayBegin, Replay, ReplayError, StoreError};
use kernel::Version;
use std::sync::Arc;
use uuid::Uuid;

/// A consumer as the retrier needs it.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// The consumer's stored name.
    fn name(&self) -> &str;

    /// What has to answer so that its events can be handled.
    fn needs(&self) -> cdc::Target;

    /// The last version handled; 0 before the first.
    async fn cursor(&self, aggregate_id: Uuid) -> Result<Version, StoreError>;

    /// Handles everything behind the cursor up to the aggregate's tail at the last look. Asks
    /// `may_begin` before each event. Gives the version reached.
    async fn to_tail(
        &self,
        aggregate_id: Uuid,
        may_begin: &MayBegin,
    ) -> Result<Version, ReplayError>;
}

/// The real one.
pub struct ReplayTarget {
    consumer: Arc<dyn ChangeConsumer>,
    replay: Arc<Replay>,
}

impl ReplayTarget {
    /// The target that hands events to `consumer`.
    pub fn new(consumer: Arc<dyn ChangeConsumer>, replay: Arc<Replay>) -> Self {
        Self { consumer, replay }
    }
}

#[async_trait]
impl Target for ReplayTarget {
    fn name(&self) -> &str {
        self.consumer.name()
    }

    fn needs(&self) -> cdc::Target {
        self.consumer.target()
    }

    async fn cursor(&self, aggregate_id: Uuid) -> Result<Version, StoreError> {
        self.replay.cursor(self.consumer.name(), aggregate_id).await
    }

    async fn to_tail(
        &self,
        aggregate_id: Uuid,
        may_begin: &MayBegin,
    ) -> Result<Version, ReplayError> {
        self.replay.to_tail(&*self.consumer, aggregate_id, may_begin).await
    }
}
