//! Aggregates that were loaded or written lately. What is cached is always a stored fact, but it
//! may be old: only an applied commit may rest on it.

use crate::state::Loaded;
use kernel::Aggregate;
use moka::future::Cache;
use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// The cache, bounded by an estimate of its bytes.
#[derive(Debug)]
pub(crate) struct Aggregates {
    cache: Cache<Uuid, Cached>,
}

#[derive(Debug, Clone)]
struct Cached {
    /// A `Mutex<Option<Loaded<A>>>`: whoever has the aggregate's turn takes the value out and puts a
    /// new entry in, so it is never copied.
    slot: Arc<dyn Any + Send + Sync>,
    weight: u32,
}

impl Aggregates {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|_, cached: &Cached| cached.weight)
            .build();
        Self { cache }
    }

    /// Takes an aggregate out of the cache.
    pub(crate) async fn take<A: Aggregate>(&self, id: Uuid) -> Option<Loaded<A>> {
        let cached = self.cache.get(&id).await?;
        let slot = cached.slot.downcast::<Mutex<Option<Loaded<A>>>>().ok()?;
        slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts an aggregate in.
    pub(crate) async fn put<A: Aggregate>(&self, loaded: Loaded<A>) {
        let (id, weight) = (loaded.aggregate_id, loaded.weight());
        let slot = Arc::new(Mutex::new(Some(loaded)));
        self.cache.insert(id, Cached { slot, weight }).await;
    }
}
