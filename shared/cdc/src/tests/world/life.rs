//! A group that runs in a world.

use super::{Recorder, SAFETY, SLOTS, World};
use crate::breakers::Breakers;
use crate::config::CdcConfig;
use crate::consumer::ChangeConsumer;
use crate::error::GroupError;
use crate::group;
use crate::surroundings::Surroundings;
use leases::{LeaseConfig, Leases};
use runtime::Readiness;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A group from its start to its clean end.
pub(crate) struct Life {
    stop: CancellationToken,
    task: JoinSet<Result<(), GroupError>>,
}

impl Life {
    /// Starts a group with one consumer, `c`, and the default configuration.
    pub(crate) fn start(world: &World) -> Self {
        Self::with(world, vec![Recorder::new("c", world)], CdcConfig::default())
    }

    pub(crate) fn with(world: &World, consumers: Vec<Recorder>, config: CdcConfig) -> Self {
        let around = Arc::new(surroundings(world, consumers, config));
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn({
            let stop = stop.clone();
            async move { group::run(around, &stop).await }
        });
        Self { stop, task }
    }

    /// Asks the group to end, and waits until it has.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        self.ended().await.expect("a clean end");
    }

    /// Waits until the group fails by itself.
    pub(crate) async fn failure(mut self) -> GroupError {
        self.ended().await.expect_err("a failure")
    }

    async fn ended(&mut self) -> Result<(), GroupError> {
        self.task.join_next().await.expect("one task").expect("no panic")
    }
}

/// A world as a group sees it.
pub(crate) fn surroundings(
    world: &World,
    consumers: Vec<Recorder>,
    config: CdcConfig,
) -> Surroundings {
    let consumers = consumers.into_iter().map(|c| Arc::new(c) as Arc<dyn ChangeConsumer>);
    around(world, consumers.collect(), config)
}

/// The same for any consumers.
pub(crate) fn around(
    world: &World,
    consumers: Vec<Arc<dyn ChangeConsumer>>,
    config: CdcConfig,
) -> Surroundings {
    let world = Arc::new(world.clone());
    let (owned, _) = tokio::sync::watch::channel(BTreeSet::new());
    let terms = LeaseConfig::default();
    let leases = Leases::new(world.clone(), "g", SLOTS, terms, owned, Readiness::default());
    Surroundings {
        log: world.clone(),
        generations: world.clone(),
        events: world.clone(),
        cursors: world.clone(),
        catch_ups: world.clone(),
        letters: world,
        may_begin: group::fence(&leases),
        leases,
        breakers: Breakers::new(&consumers, config.breaker, None),
        consumers,
        slots: SLOTS,
        safety_interval: SAFETY,
        config,
    }
}
