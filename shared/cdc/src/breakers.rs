//! The circuit breakers of what a group of consumers sends requests to.

use crate::consumer::ChangeConsumer;
use runtime::{Breaker, BreakerConfig, Readiness, Target};
use std::sync::Arc;

/// A breaker for the database, and one for each other target of the consumers. Cheap to clone; all
/// clones share the breakers.
#[derive(Debug, Clone)]
pub struct Breakers {
    database: Breaker,
    others: Vec<Breaker>,
}

impl Breakers {
    /// Closed breakers; their states are shown in `readiness`.
    pub fn new(
        consumers: &[Arc<dyn ChangeConsumer>],
        config: BreakerConfig,
        readiness: Option<&Readiness>,
    ) -> Self {
        let breaker = |target| Breaker::new(target, config, readiness.cloned());
        let mut others: Vec<Breaker> = Vec::new();
        for target in consumers.iter().map(|consumer| consumer.target()) {
            let is_known = others.iter().any(|breaker| breaker.target() == target);
            if target != database::TARGET && !is_known {
                others.push(breaker(target));
            }
        }
        Self { database: breaker(database::TARGET), others }
    }

    /// The breaker of a target; of one that no consumer has, the database's.
    pub fn of(&self, target: Target) -> &Breaker {
        let other = self.others.iter().find(|breaker| breaker.target() == target);
        other.unwrap_or(&self.database)
    }
}
