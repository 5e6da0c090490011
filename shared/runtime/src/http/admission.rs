//! Who is worked on, who waits, and who is refused: a bounded number of requests at work, a bounded
//! queue before it, and a bounded wait in it, so that above capacity the answers stay fast.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::HttpConfig;
use super::metrics::METRICS;

/// The bounds, shared by all requests of a port. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    wait: Duration,
}

/// The right to be worked on, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
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
        Self {
            places: Arc::new(Semaphore::new(count(config.requests_max.get()))),
            queue: Arc::new(Semaphore::new(count(config.queue_max))),
            wait: Duration::from_millis(config.queue_ms_max),
        }
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
        let arrived = Instant::now();
        if arrived >= deadline {
            return Err(Refused::Deadline);
        }
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            METRICS.queue_seconds.observe(0.0);
            return Ok(Place::new(permit));
        }
        let Ok(_queued) = self.queue.try_acquire() else { return Err(Refused::QueueFull) };
        let _counted = Counted::new();
        let until = deadline.min(arrived + self.wait);
        match timeout_at(until, self.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => {
                METRICS.queue_seconds.observe(arrived.elapsed().as_secs_f64());
                Ok(Place::new(permit))
            }
            Err(_) if until == deadline => Err(Refused::Deadline),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(Refused::QueueWait),
        }
    }
}

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        METRICS.in_flight.inc();
        Self { _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        METRICS.in_flight.dec();
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
