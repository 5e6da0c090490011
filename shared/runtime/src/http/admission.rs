//! Who is worked on, who waits, and who is refused: a bounded number of requests at work, a bounded
//! queue before it, and a bounded wait in it, so that above capacity the answers stay fast.
//!
//! How many can be worked on at a time depends on the machine and on the database, so the number
//! follows what is seen. When even the *fastest* request of a while took longer than the target, while
//! others had to wait, then all of them wait for each other, and fewer at a time are as much work done
//! sooner. One that is slow for reasons of its own, such as a hot aggregate, changes nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::HttpConfig;
use super::metrics::METRICS;

/// The bounds, shared by all requests of a port. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Admission {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    places: Arc<Semaphore>,
    queue: Semaphore,
    wait: Duration,
    limit: Mutex<Limit>,
}

/// How many are worked on at a time, and what was seen lately.
#[derive(Debug)]
struct Limit {
    now: usize,
    min: usize,
    max: usize,
    target: Duration,
    window: Duration,
    /// Places that are to go, and are still taken.
    surplus: usize,
    began: Instant,
    fastest: Option<Duration>,
    /// Whether somebody had to wait for a place.
    was_full: bool,
}

/// The right to be worked on, until it is dropped.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    permit: Option<OwnedSemaphorePermit>,
    began: Instant,
}

/// Why a request is not worked on. Nothing of it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no place in the queue either.
    QueueFull,
    /// It waited as long as a request may wait in the queue.
    QueueWait,
    /// Its own deadline passed before its turn came.
    Deadline,
}

impl Refused {
    pub(super) const ALL: [Self; 3] = [Self::QueueFull, Self::QueueWait, Self::Deadline];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::QueueWait => "queue_wait",
            Self::Deadline => "deadline",
        }
    }
}

impl Admission {
    /// With the bounds of a port.
    #[must_use]
    pub fn new(config: &HttpConfig) -> Self {
        let count = |number: u32| (number as usize).min(Semaphore::MAX_PERMITS);
        let limit = Limit::new(config, count(config.requests_max.get()));
        METRICS.limit.set(i64::try_from(limit.now).unwrap_or(i64::MAX));
        let shared = Shared {
            places: Arc::new(Semaphore::new(limit.now)),
            queue: Semaphore::new(count(config.queue_max)),
            wait: Duration::from_millis(config.queue_ms_max),
            limit: Mutex::new(limit),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A place, in order of arrival. Waits for one as long as the bounds and `deadline` let it.
    pub async fn admit(&self, deadline: Instant) -> Result<Place, Refused> {
        let place = self.place(deadline).await;
        if let Err(refused) = place {
            METRICS.shed.with_label_values(&[refused.label()]).inc();
        }
        place
    }

    async fn place(&self, deadline: Instant) -> Result<Place, Refused> {
        let (shared, arrived) = (&self.shared, Instant::now());
        if arrived >= deadline {
            return Err(Refused::Deadline);
        }
        if let Ok(permit) = shared.places.clone().try_acquire_owned() {
            METRICS.queue_seconds.observe(0.0);
            return Ok(Place::new(shared, permit));
        }
        shared.limit().was_full = true;
        let Ok(_queued) = shared.queue.try_acquire() else { return Err(Refused::QueueFull) };
        let _counted = Counted::new();
        let until = deadline.min(arrived + shared.wait);
        match timeout_at(until, shared.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => {
                METRICS.queue_seconds.observe(arrived.elapsed().as_secs_f64());
                Ok(Place::new(shared, permit))
            }
            Err(_) if until == deadline => Err(Refused::Deadline),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(Refused::QueueWait),
        }
    }
}

impl Shared {
    fn limit(&self) -> MutexGuard<'_, Limit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request that took so long gives its place back, if the place is to stay.
    fn ended(&self, permit: OwnedSemaphorePermit, took: Duration) {
        let mut limit = self.limit();
        let before = limit.now;
        limit.saw(took);
        if limit.now > before {
            let more = limit.now - before;
            let kept = more.min(limit.surplus);
            limit.surplus -= kept;
            self.places.add_permits(more - kept);
        } else {
            let fewer = before - limit.now;
            limit.surplus += fewer - self.places.forget_permits(fewer);
        }
        if limit.surplus > 0 {
            limit.surplus -= 1;
            permit.forget();
        }
        METRICS.limit.set(i64::try_from(limit.now).unwrap_or(i64::MAX));
    }
}

impl Limit {
    fn new(config: &HttpConfig, max: usize) -> Self {
        let min = (config.requests_min.get() as usize).min(max);
        Self {
            // Careful at first: it grows as fast as it may, while too many would take what they take.
            now: min.saturating_mul(4).min(max),
            min,
            max,
            target: Duration::from_millis(config.target_ms.get()),
            window: Duration::from_millis(config.adapt_ms.get()),
            surplus: 0,
            began: Instant::now(),
            fastest: None,
            was_full: false,
        }
    }

    /// A request was at work for so long.
    fn saw(&mut self, took: Duration) {
        let fastest = self.fastest.map_or(took, |fastest| fastest.min(took));
        self.fastest = Some(fastest);
        if self.began.elapsed() < self.window {
            return;
        }
        if self.was_full && fastest > self.target {
            self.now = (self.now * 3 / 4).max(self.min);
        } else if self.was_full && fastest < self.target / 2 {
            self.now = (self.now + (self.now / 8).max(1)).min(self.max);
        }
        (self.began, self.fastest, self.was_full) = (Instant::now(), None, false);
    }
}

impl Place {
    fn new(shared: &Arc<Shared>, permit: OwnedSemaphorePermit) -> Self {
        METRICS.in_flight.inc();
        Self { shared: shared.clone(), permit: Some(permit), began: Instant::now() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        METRICS.in_flight.dec();
        if let Some(permit) = self.permit.take() {
            self.shared.ended(permit, self.began.elapsed());
        }
    }
}

/// One request in the queue.
struct Counted;

impl Counted {
    fn new() -> Self {
        METRICS.queued.inc();
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        METRICS.queued.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn admission(requests_max: u32, queue_max: u32, queue_ms_max: u64) -> Admission {
        let requests_max = NonZeroU32::new(requests_max).expect("not zero");
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let config = HttpConfig { requests_max, queue_max, queue_ms_max, ..HttpConfig::at(listen) };
        Admission::new(&config)
    }

    fn in_ms(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn one_works_one_waits_and_the_next_is_refused_at_once() {
        let admission = admission(1, 1, 100);
        let first = admission.admit(in_ms(1_000)).await.expect("a free place");
        let mut second = std::pin::pin!(admission.admit(in_ms(1_000)));
        assert!(futures::poll!(second.as_mut()).is_pending());
        let before = Instant::now();
        assert_eq!(admission.admit(in_ms(1_000)).await.expect_err("full"), Refused::QueueFull);
        assert_eq!(before.elapsed(), Duration::ZERO);
        drop(first);
        second.await.expect("its turn");
        admission.admit(in_ms(1_000)).await.expect("a free place again");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_with_the_bound_or_the_deadline_whichever_is_first() {
        let admission = admission(1, 8, 100);
        let _first = admission.admit(in_ms(1_000)).await.expect("a free place");
        let cases = [
            (1_000, 100, Refused::QueueWait),
            (30, 30, Refused::Deadline),
            (0, 0, Refused::Deadline),
        ];
        for (deadline, waited, refused) in cases {
            let before = Instant::now();
            assert_eq!(admission.admit(in_ms(deadline)).await.expect_err("full"), refused);
            let elapsed = before.elapsed().as_millis();
            assert!(elapsed.abs_diff(waited) <= 1, "{elapsed} ms instead of {waited}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_while_waiting_leaves_the_queue() {
        let admission = admission(1, 1, 100);
        let first = admission.admit(in_ms(1_000)).await.expect("a free place");
        {
            let mut gone = std::pin::pin!(admission.admit(in_ms(1_000)));
            assert!(futures::poll!(gone.as_mut()).is_pending());
        }
        let mut second = std::pin::pin!(admission.admit(in_ms(1_000)));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        second.await.expect("its turn");
    }
}
