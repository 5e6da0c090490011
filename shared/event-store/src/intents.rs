//! Intent buckets of one writer, and which intents are durable already.
//!
//! A bucket is a counter, not a clock time. Appends enter the current one; after a second or a
//! thousand intents the next one is used, if the writer's row announces it already. A bucket stays
//! open until each append in it has finished, and the writer's row names the oldest open one. So
//! whoever settles this writer finds every unfinished append between the row's two numbers.

use crate::ids::{Bucket, Spread, WriterId};
use kernel::Version;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

/// When a bucket is full, and how far ahead buckets are announced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BucketLimits {
    pub(crate) age_max: Duration,
    pub(crate) intents_max: usize,
    pub(crate) ahead: u32,
    pub(crate) spread: u32,
}

/// The buckets of one writer.
#[derive(Debug)]
pub(crate) struct Buckets {
    writer: WriterId,
    limits: BucketLimits,
    /// Wakes the heartbeat when few announced buckets are left.
    announce_more: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Bucket,
    opened: Instant,
    /// Durable intents of the current bucket: aggregate and the version it is after.
    durable: HashMap<Uuid, Version>,
    /// The newest bucket that the writer's row names.
    announced: Bucket,
    /// Appends per open bucket.
    open: BTreeMap<Bucket, usize>,
}

impl Buckets {
    pub(crate) fn new(writer: WriterId, limits: BucketLimits, announce_more: Arc<Notify>) -> Self {
        let state = State {
            current: Bucket::FIRST,
            opened: Instant::now(),
            durable: HashMap::new(),
            announced: Bucket::FIRST,
            open: BTreeMap::new(),
        };
        Self { writer, limits, announce_more, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest open bucket and the newest that may be used before the next announcement: what
    /// the writer's row is to name.
    pub(crate) fn span(&self) -> (Bucket, Bucket) {
        let state = self.lock();
        let oldest = state.open.keys().next().copied().unwrap_or(state.current);
        (oldest, state.current.after(self.limits.ahead))
    }

    /// The writer's row names buckets up to `newest`.
    pub(crate) fn announced(&self, newest: Bucket) {
        let mut state = self.lock();
        state.announced = state.announced.max(newest);
    }

    /// Enters the current bucket, or the next one when that is due, for an append after `after`.
    pub(crate) fn enter(self: &Arc<Self>, aggregate_id: Uuid, after: Version) -> OpenBucket {
        let mut state = self.lock();
        let old = state.opened.elapsed() >= self.limits.age_max;
        let due = old || state.durable.len() >= self.limits.intents_max;
        if due && state.current < state.announced {
            state.current = state.current.after(1);
            state.opened = Instant::now();
            state.durable.clear();
        }
        // An unannounced bucket is never used: appends rather stay in the current one for longer.
        if state.announced <= state.current.after(self.limits.ahead / 4) {
            self.announce_more.notify_one();
        }
        let number = state.current;
        *state.open.entry(number).or_default() += 1;
        // Looked up under the lock that chose the bucket: an intent that is there already must not
        // be written again with a later version, for what came before may not be announced yet.
        let is_covered = state.durable.get(&aggregate_id).is_some_and(|durable| *durable <= after);
        OpenBucket { buckets: Arc::clone(self), number, is_covered }
    }
}

/// One append's hold on the bucket that its intent is in. The bucket may close when all are dropped.
#[derive(Debug)]
pub(crate) struct OpenBucket {
    buckets: Arc<Buckets>,
    number: Bucket,
    is_covered: bool,
}

impl OpenBucket {
    pub(crate) fn number(&self) -> Bucket {
        self.number
    }

    pub(crate) fn writer(&self) -> WriterId {
        self.buckets.writer
    }

    /// The partition of the bucket that an aggregate's intent is in.
    pub(crate) fn spread(&self, aggregate_id: Uuid) -> Spread {
        let spread = aggregate_id.as_u128() % u128::from(self.buckets.limits.spread.max(1));
        Spread(i32::try_from(spread).unwrap_or_default())
    }

    /// Whether this bucket had a durable intent that covers the append when it was entered.
    pub(crate) fn is_covered(&self) -> bool {
        self.is_covered
    }

    /// Takes note of a durable intent, for the appends that follow in this bucket.
    pub(crate) fn made_durable(&self, aggregate_id: Uuid, version: Version) {
        let mut state = self.buckets.lock();
        if state.current == self.number {
            state.durable.insert(aggregate_id, version);
        }
    }
}

impl Drop for OpenBucket {
    fn drop(&mut self) {
        let mut state = self.buckets.lock();
        if let Some(appends) = state.open.get_mut(&self.number) {
            *appends -= 1;
            if *appends == 0 {
                state.open.remove(&self.number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BucketLimits =
        BucketLimits { age_max: Duration::from_secs(1), intents_max: 3, ahead: 4, spread: 16 };

    fn buckets() -> (Arc<Buckets>, Arc<Notify>) {
        let more = Arc::new(Notify::new());
        let buckets =
            Arc::new(Buckets::new(WriterId(Uuid::from_u128(9)), LIMITS, Arc::clone(&more)));
        buckets.announced(buckets.span().1);
        (buckets, more)
    }

    fn enter(buckets: &Arc<Buckets>) -> OpenBucket {
        buckets.enter(Uuid::from_u128(1), Version(0))
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_or_a_full_bucket_opens_the_next_one() {
        let (buckets, _) = buckets();
        assert_eq!(enter(&buckets).number(), Bucket(0));
        tokio::time::advance(LIMITS.age_max).await;
        let bucket = enter(&buckets);
        assert_eq!(bucket.number(), Bucket(1));
        for aggregate in 1..=3 {
            bucket.made_durable(Uuid::from_u128(aggregate), Version(4));
        }
        assert_eq!(enter(&buckets).number(), Bucket(2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unannounced_bucket_is_never_used() {
        let (buckets, more) = buckets();
        for _ in 0..20 {
            tokio::time::advance(LIMITS.age_max).await;
            drop(enter(&buckets));
        }
        assert_eq!(enter(&buckets).number(), Bucket(4), "the row names 0 to 4");
        more.notified().await;
        buckets.announced(buckets.span().1);
        assert_eq!(enter(&buckets).number(), Bucket(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_stays_open_until_its_last_append_ends() {
        let (buckets, _) = buckets();
        let (first, second) = (enter(&buckets), enter(&buckets));
        tokio::time::advance(LIMITS.age_max).await;
        let third = enter(&buckets);
        drop(first);
        assert_eq!(buckets.span(), (Bucket(0), Bucket(1 + 4)));
        drop(second);
        assert_eq!(buckets.span(), (Bucket(1), Bucket(1 + 4)));
        drop(third);
        assert_eq!(buckets.span().0, Bucket(1), "the current bucket may be entered again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_intent_covers_later_appends_of_its_bucket_only() {
        let (buckets, _) = buckets();
        let aggregate = Uuid::from_u128(7);
        let covered = |after| buckets.enter(aggregate, Version(after)).is_covered();
        let first = buckets.enter(aggregate, Version(3));
        assert!(!first.is_covered());
        first.made_durable(aggregate, Version(3));
        assert!(covered(3));
        assert!(covered(8));
        assert!(!covered(2), "it speaks of what is after 3");
        tokio::time::advance(LIMITS.age_max).await;
        assert!(!covered(8), "a new bucket needs its own");
    }
}
