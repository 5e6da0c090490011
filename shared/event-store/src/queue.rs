//! One command at a time per aggregate: a bounded queue per key, in order of arrival.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// The queues of all aggregates that have a command waiting or running.
#[derive(Debug)]
pub(crate) struct Queues {
    waiting_max: usize,
    queues: Mutex<HashMap<Uuid, Queue>>,
}

#[derive(Debug)]
struct Queue {
    turn: Arc<Semaphore>,
    members: usize,
}

/// A place in the queue of one aggregate, given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    queues: Arc<Queues>,
    key: Uuid,
    turn: Arc<Semaphore>,
}

/// The right to work on an aggregate; the next in the queue gets it when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    // Order matters: the permit goes back before the place is given up.
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

impl Queues {
    /// Queues that hold at most `waiting_max` waiting members beside the one whose turn it is.
    pub(crate) fn new(waiting_max: usize) -> Arc<Self> {
        Arc::new(Self { waiting_max, queues: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Queue>> {
        // Nothing below can panic half-way through a change.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place; `None` when the aggregate's queue is full.
    pub(crate) fn enter(self: &Arc<Self>, key: Uuid) -> Option<Place> {
        let mut queues = self.lock();
        let queue = queues
            .entry(key)
            .or_insert_with(|| Queue { turn: Arc::new(Semaphore::new(1)), members: 0 });
        if queue.members > self.waiting_max {
            return None;
        }
        queue.members += 1;
        let turn = Arc::clone(&queue.turn);
        Some(Place { queues: Arc::clone(self), key, turn })
    }
}

impl Place {
    /// Waits until everyone before has finished.
    pub(crate) async fn turn(self) -> Turn {
        let turn = Arc::clone(&self.turn);
        let permit = turn.acquire_owned().await.expect("the semaphore is never closed");
        Turn { _permit: permit, _place: self }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(&self.key) {
            queue.members -= 1;
            if queue.members == 0 {
                queues.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn one_has_its_turn_the_others_wait_in_order_and_the_rest_is_turned_away() {
        let queues = Queues::new(2);
        let key = Uuid::from_u128(1);
        let place = || queues.enter(key);
        let first = place().expect("a place").turn().await;
        let mut second = Box::pin(place().expect("a place").turn());
        assert!((&mut second).now_or_never().is_none(), "the first one still has its turn");
        let mut third = Box::pin(place().expect("a place").turn());
        assert!((&mut third).now_or_never().is_none());
        assert!(place().is_none(), "the queue holds two");
        assert!(queues.enter(Uuid::from_u128(2)).is_some(), "other aggregates are not concerned");
        drop(first);
        assert!((&mut third).now_or_never().is_none(), "the second one comes first");
        drop(second.await);
        drop(third.await);
        assert!(queues.lock().is_empty(), "queues go with their last member");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_makes_room() {
        let queues = Queues::new(1);
        let key = Uuid::from_u128(1);
        let turn = queues.enter(key).expect("a place").turn().await;
        let waiting = queues.enter(key).expect("a place").turn();
        assert!(queues.enter(key).is_none());
        drop(waiting);
        assert!(queues.enter(key).is_some());
        drop(turn);
    }
}
