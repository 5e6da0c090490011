//! Who is worked on, who waits, and who is refused: a bounded number of requests at work, a bounded
//! queue before it, and a bounded wait in it, so that above capacity the answers stay fast.
//!
//! How many can be worked on at a time depends on the machine and on the database, so the number
//! follows what is seen. When even the *fastest* request of a while took longer than the target, while
//! others had to wait, then all of them wait for each other, and fewer at a time are as much work done
//! sooner. One that is slow for reasons of its own, such as a hot aggregate, changes nothing.
//!
//! While the database answers nobody, nobody takes a place for as long as a timeout: the
//! [breaker](runtime::Breaker) refuses at once, but for the one request that finds out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::{Breaker, BreakerOpen, Pass};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::config::HttpConfig;
use crate::context::RequestContext;
use crate::metrics::METRICS;
use crate::principals::Principals;

/// The bounds, shared by all requests of a port. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Admission {
    shared: Arc<Shared>,
    principals: Principals,
    breaker: Breaker,
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

/// The right to be worked on, until it is dropped. To be told what the database had to say; a place that
/// is dropped says nothing of it.
#[derive(Debug)]
#[must_use = "the request is worked on while it has its place"]
pub struct Place {
    pass: Option<Pass>,
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
    /// Its principal sent too many.
    PrincipalLimit {
        /// When they may send one more.
        retry_after: Duration,
    },
    /// The database answers nobody now.
    BreakerOpen {
        /// When it is asked again; zero while somebody is finding out.
        retry_after: Duration,
    },
}

impl Refused {
    pub(crate) const LABELS: [&str; 5] =
        ["queue_full", "queue_wait", "deadline", "principal_limit", "breaker_open"];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::QueueFull => Self::LABELS[0],
            Self::QueueWait => Self::LABELS[1],
            Self::Deadline => Self::LABELS[2],
            Self::PrincipalLimit { .. } => Self::LABELS[3],
            Self::BreakerOpen { .. } => Self::LABELS[4],
        }
    }
}

impl Admission {
    /// With the bounds of a port, and the breaker of the database behind it.
    #[must_use]
    pub fn new(config: &HttpConfig, breaker: Breaker) -> Self {
        let count = |number: u32| (number as usize).min(Semaphore::MAX_PERMITS);
        let limit = Limit::new(config, count(config.requests_max.get()));
        METRICS.limit.set(i64::try_from(limit.now).unwrap_or(i64::MAX));
        let shared = Shared {
            places: Arc::new(Semaphore::new(limit.now)),
            queue: Semaphore::new(count(config.queue_max)),
            wait: Duration::from_millis(config.queue_ms_max),
            limit: Mutex::new(limit),
        };
        let principals = Principals::new(&config.principals);
        Self { shared: Arc::new(shared), principals, breaker }
    }

    /// A place, in order of arrival. Waits for one as long as the bounds and the request's deadline let
    /// it, unless its principal has sent too many.
    pub async fn admit(&self, context: &RequestContext) -> Result<Place, Refused> {
        let place = self.place(context).await;
        if let Err(refused) = place {
            METRICS.shed.with_label_values(&[refused.label()]).inc();
        }
        place
    }

    async fn place(&self, context: &RequestContext) -> Result<Place, Refused> {
        if let Some(principal) = &context.principal {
            let taken = self.principals.take(principal).await;
            taken.map_err(|retry_after| Refused::PrincipalLimit { retry_after })?;
        }
        let (shared, arrived, deadline) = (&self.shared, Instant::now(), context.deadline);
        if arrived >= deadline {
            return Err(Refused::Deadline);
        }
        let pass = self.breaker.try_pass().map_err(|open| refused(&open))?;
        if pass.is_probe() {
            // It does not wait for a place behind those that wait for the database.
            return Ok(Place::new(shared, None, pass));
        }
        if let Ok(permit) = shared.places.clone().try_acquire_owned() {
            METRICS.queue_seconds.observe(0.0);
            return Ok(Place::new(shared, Some(permit), pass));
        }
        shared.limit().was_full = true;
        let Ok(_queued) = shared.queue.try_acquire() else { return Err(Refused::QueueFull) };
        let _counted = Counted::new();
        let until = deadline.min(arrived + shared.wait);
        match timeout_at(until, shared.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => {
                METRICS.queue_seconds.observe(arrived.elapsed().as_secs_f64());
                // The breaker may have opened meanwhile.
                self.breaker.is_closed().then_some(()).ok_or(STILL_OPEN)?;
                Ok(Place::new(shared, Some(permit), pass))
            }
            Err(_) if until == deadline => Err(Refused::Deadline),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(Refused::QueueWait),
        }
    }
}

const STILL_OPEN: Refused = Refused::BreakerOpen { retry_after: Duration::ZERO };

fn refused(open: &BreakerOpen) -> Refused {
    Refused::BreakerOpen { retry_after: open.retry_after }
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
    fn new(shared: &Arc<Shared>, permit: Option<OwnedSemaphorePermit>, pass: Pass) -> Self {
        METRICS.in_flight.inc();
        Self { pass: Some(pass), shared: shared.clone(), permit, began: Instant::now() }
    }

    /// The database answered, be it with a refusal of this very request.
    pub fn succeeded(mut self) {
        if let Some(pass) = self.pass.take() {
            pass.succeeded();
        }
    }

    /// The database did not answer a request for `key`, mostly an aggregate.
    pub fn failed(mut self, key: Uuid) {
        if let Some(pass) = self.pass.take() {
            pass.failed(key);
        }
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
    use runtime::{BackoffConfig, BreakerConfig, Target};
    use std::num::NonZeroU32;

    fn admission(requests_max: u32, queue_max: u32, queue_ms_max: u64) -> Admission {
        let requests_max = NonZeroU32::new(requests_max).expect("not zero");
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let config = HttpConfig { requests_max, queue_max, queue_ms_max, ..HttpConfig::at(listen) };
        Admission::new(&config, breaker())
    }

    /// Opens when two fail.
    fn breaker() -> Breaker {
        let pause = BackoffConfig { initial_ms: 100, max_ms: 100 };
        Breaker::new(Target::new("database"), BreakerConfig { failing_keys_min: 2, pause }, None)
    }

    fn in_ms(ms: u64) -> RequestContext {
        RequestContext::until(Instant::now() + Duration::from_millis(ms))
    }

    #[tokio::test(start_paused = true)]
    async fn one_works_one_waits_and_the_next_is_refused_at_once() {
        let admission = admission(1, 1, 100);
        let first = admission.admit(&in_ms(1_000)).await.expect("a free place");
        let patient = in_ms(1_000);
        let mut second = std::pin::pin!(admission.admit(&patient));
        assert!(futures::poll!(second.as_mut()).is_pending());
        let before = Instant::now();
        assert_eq!(admission.admit(&in_ms(1_000)).await.expect_err("full"), Refused::QueueFull);
        assert_eq!(before.elapsed(), Duration::ZERO);
        drop(first);
        drop(second.await.expect("its turn"));
        drop(admission.admit(&in_ms(1_000)).await.expect("a free place again"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_with_the_bound_or_the_deadline_whichever_is_first() {
        let admission = admission(1, 8, 100);
        let _first = admission.admit(&in_ms(1_000)).await.expect("a free place");
        let cases = [
            (1_000, 100, Refused::QueueWait),
            (30, 30, Refused::Deadline),
            (0, 0, Refused::Deadline),
        ];
        for (deadline, waited, refused) in cases {
            let before = Instant::now();
            assert_eq!(admission.admit(&in_ms(deadline)).await.expect_err("full"), refused);
            let elapsed = before.elapsed().as_millis();
            assert!(elapsed.abs_diff(waited) <= 1, "{elapsed} ms instead of {waited}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_database_is_away_one_at_a_time_finds_out_and_the_others_are_refused() {
        let admission = admission(1, 8, 100);
        for key in 1..=2 {
            let place = admission.admit(&in_ms(1_000)).await.expect("a free place");
            place.failed(Uuid::from_u128(key));
        }
        let refused = admission.admit(&in_ms(1_000)).await.expect_err("open");
        let Refused::BreakerOpen { retry_after } = refused else { panic!("{refused:?}") };
        tokio::time::sleep(retry_after).await;
        let probe = admission.admit(&in_ms(1_000)).await.expect("the probe");
        let refused = admission.admit(&in_ms(1_000)).await.expect_err("somebody is finding out");
        assert_eq!(refused, STILL_OPEN);
        probe.succeeded();
        let _place = admission.admit(&in_ms(1_000)).await.expect("closed again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_while_the_breaker_opened_is_refused_too_and_a_probe_needs_no_place() {
        let admission = admission(2, 8, 1_000);
        let places = [admission.admit(&in_ms(1_000)).await, admission.admit(&in_ms(1_000)).await];
        let patient = in_ms(1_000);
        let mut waiting = std::pin::pin!(admission.admit(&patient));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        for (key, place) in (1..).zip(places) {
            place.expect("a free place").failed(Uuid::from_u128(key));
        }
        assert_eq!(waiting.await.expect_err("open"), STILL_OPEN);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let probe = admission.admit(&in_ms(1_000)).await.expect("the probe");
        assert!(probe.permit.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_while_waiting_leaves_the_queue() {
        let admission = admission(1, 1, 100);
        let first = admission.admit(&in_ms(1_000)).await.expect("a free place");
        {
            let patient = in_ms(1_000);
            let mut gone = std::pin::pin!(admission.admit(&patient));
            assert!(futures::poll!(gone.as_mut()).is_pending());
        }
        let patient = in_ms(1_000);
        let mut second = std::pin::pin!(admission.admit(&patient));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        drop(second.await.expect("its turn"));
    }
}
