//! A consumer whose effects are in the world.

use super::World;
use crate::consumer::{Change, ChangeConsumer, HandleError};
use async_trait::async_trait;
use kernel::{RecordedEvent, Version};
use runtime::Target;
use std::time::Duration;
use uuid::Uuid;

/// What makes a [`Recorder`] refuse an event.
type Refusal = Box<dyn Fn(&RecordedEvent) -> Option<HandleError> + Send + Sync>;

/// A consumer whose effects are in the world.
pub(crate) struct Recorder {
    name: &'static str,
    world: World,
    takes: Duration,
    target: Target,
    refuses: Refusal,
    begins: Box<dyn Fn(Uuid) + Send + Sync>,
}

impl Recorder {
    pub(crate) fn new(name: &'static str, world: &World) -> Self {
        world.state().consumers.push(name.to_owned());
        Self {
            name,
            world: world.clone(),
            takes: Duration::ZERO,
            target: database::TARGET,
            refuses: Box::new(|_| None),
            begins: Box::new(|_| {}),
        }
    }

    /// The same consumer in a new life.
    pub(crate) fn again(name: &'static str, world: &World) -> Self {
        Self {
            name,
            world: world.clone(),
            takes: Duration::ZERO,
            target: database::TARGET,
            refuses: Box::new(|_| None),
            begins: Box::new(|_| {}),
        }
    }

    pub(crate) fn taking(mut self, takes: Duration) -> Self {
        self.takes = takes;
        self
    }

    /// Whose effects need the broker.
    pub(crate) fn at_the_broker(mut self) -> Self {
        self.target = Target::new("broker");
        self
    }

    /// Calls `begins` with the aggregate when an event begins.
    pub(crate) fn beginning(mut self, begins: impl Fn(Uuid) + Send + Sync + 'static) -> Self {
        self.begins = Box::new(begins);
        self
    }

    pub(crate) fn refusing(
        mut self,
        refuses: impl Fn(&RecordedEvent) -> Option<HandleError> + Send + Sync + 'static,
    ) -> Self {
        self.refuses = Box::new(refuses);
        self
    }
}

#[async_trait]
impl ChangeConsumer for Recorder {
    fn name(&self) -> &str {
        self.name
    }

    fn wants(&self, aggregate_type: &str) -> bool {
        aggregate_type == "tally"
    }

    fn target(&self) -> Target {
        self.target
    }

    async fn handle(
        &self,
        change: &Change,
        view: Option<&str>,
    ) -> Result<Option<String>, HandleError> {
        (self.begins)(change.event.aggregate_id);
        self.world.latency().await;
        tokio::time::sleep(self.takes).await;
        if let Some(refusal) = (self.refuses)(&change.event) {
            return Err(refusal);
        }
        let RecordedEvent { aggregate_id, version: Version(version), .. } = change.event;
        // The view is what the event before left.
        let expected = (version > 1).then(|| (version - 1).to_string());
        assert_eq!(view, expected.as_deref(), "view before version {version}");
        self.world.record(self.name, aggregate_id, version);
        self.world.latency().await;
        Ok(Some(version.to_string()))
    }
}
