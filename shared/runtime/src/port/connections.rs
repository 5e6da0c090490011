//! The connections of a port, within a bound that slow clients cannot fill.
//!
//! A connection *waits for its client* from its beginning until a request has arrived with its whole
//! body, and again from the answer on until the next one. When all places are taken, the connection
//! that has waited longest is closed for the new one: who sends its header or body drop by drop, does
//! not read its answer, or just sits there, gives way to whoever comes. Each is given a moment at least, so
//! that in a burst of newcomers nobody is closed whose request is on its way; until then the next one
//! waits to be accepted. What is being worked on is never closed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::metrics::METRICS;

/// All connections of one port.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    /// How long a connection may wait for its client before it can be closed to make room.
    moment: Duration,
    inner: Mutex<Inner>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    opened: u64,
    open: usize,
    /// Those that wait for their client, by since when and number.
    waiting: BTreeMap<(Instant, u64), CancellationToken>,
}

/// One connection; gives up its place when dropped.
#[derive(Debug)]
pub(super) struct Connection {
    all: Arc<Connections>,
    number: u64,
    /// Cancelled when it has to make room.
    pub(super) cut: CancellationToken,
    since: Mutex<Option<Instant>>,
}

impl Connections {
    pub(super) fn new(max: usize, moment: Duration) -> Arc<Self> {
        Arc::new(Self { max, moment, inner: Mutex::default(), freed: Notify::new() })
    }

    /// A place for a new connection, as soon as there is one.
    pub(super) async fn enter(self: &Arc<Self>) -> Connection {
        loop {
            // Registered before the look, so that a place given up in between is not missed.
            let freed = self.freed.notified();
            if let Some(connection) = self.try_enter() {
                return connection;
            }
            match self.make_room() {
                // One is on its way out, or all are worked on.
                None => freed.await,
                Some(then) => _ = timeout_at(then, freed).await,
            }
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Connection> {
        let number = {
            let mut inner = self.lock();
            if inner.open >= self.max {
                return None;
            }
            inner.open += 1;
            inner.opened += 1;
            inner.opened
        };
        METRICS.connections.inc();
        let cut = CancellationToken::new();
        let connection = Connection { all: self.clone(), number, cut, since: Mutex::default() };
        connection.waits();
        Some(connection)
    }

    /// Closes the connection that has waited longest, if one waits and has had its moment; else gives
    /// when it will have.
    fn make_room(&self) -> Option<Instant> {
        let mut inner = self.lock();
        let first = inner.waiting.first_entry()?;
        let then = first.key().0 + self.moment;
        if then > Instant::now() {
            return Some(then);
        }
        METRICS.cut_to_make_room.inc();
        first.remove().cancel();
        None
    }

    /// The same, and returns when one is gone, at the latest after `pause`.
    pub(super) async fn one_less(&self, pause: Duration) {
        let freed = self.freed.notified();
        // Perhaps none waited for its client, or what is missing is not a connection's.
        let latest = Instant::now() + pause;
        let until = self.make_room().map_or(latest, |then| then.min(latest));
        let _ = timeout_at(until, freed).await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// From now on it waits for its client.
    pub(super) fn waits(&self) {
        let now = Instant::now();
        let before = self.since().replace(now);
        let mut inner = self.all.lock();
        if let Some(before) = before {
            inner.waiting.remove(&(before, self.number));
        }
        if !self.cut.is_cancelled() {
            inner.waiting.insert((now, self.number), self.cut.clone());
        }
    }

    /// From now on its request is worked on.
    pub(super) fn works(&self) {
        if let Some(before) = self.since().take() {
            self.all.lock().waiting.remove(&(before, self.number));
        }
    }

    /// Since when it waits for its client.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        *self.since()
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.works();
        self.all.lock().open -= 1;
        METRICS.connections.dec();
        self.all.freed.notify_one();
    }
}

/// A request's body that tells its connection when it has arrived.
#[derive(Debug)]
pub struct Arriving {
    body: Incoming,
    connection: Arc<Connection>,
}

impl Arriving {
    /// `body` of a request whose header has just arrived.
    pub(super) fn of(body: Incoming, connection: &Arc<Connection>) -> Self {
        if body.is_end_stream() {
            connection.works();
        } else {
            connection.waits();
        }
        Self { body, connection: connection.clone() }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.connection.works();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_makes_room() {
        let all = Connections::new(2, Duration::ZERO);
        let (first, second) = (all.enter().await, all.enter().await);
        tokio::time::advance(Duration::from_millis(1)).await;
        // It had a request since, so the second has waited longer.
        first.works();
        first.waits();
        let third = all.enter();
        let mut third = std::pin::pin!(third);
        assert!(futures::poll!(third.as_mut()).is_pending());
        assert!((!first.cut.is_cancelled()) && second.cut.is_cancelled());
        drop(second);
        third.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_has_a_moment_to_send_its_request() {
        let moment = Duration::from_millis(100);
        let all = Connections::new(1, moment);
        let first = all.enter().await;
        let began = Instant::now();
        let mut second = std::pin::pin!(all.enter());
        tokio::select! {
            _ = second.as_mut() => panic!("there is no room"),
            () = first.cut.cancelled() => {}
        }
        assert!(began.elapsed().abs_diff(moment) <= Duration::from_millis(1));
        drop(first);
        second.await;
    }

    #[tokio::test]
    async fn what_is_worked_on_is_never_closed() {
        let all = Connections::new(1, Duration::ZERO);
        let busy = all.enter().await;
        busy.works();
        let mut next = std::pin::pin!(all.enter());
        assert!(futures::poll!(next.as_mut()).is_pending());
        assert!(!busy.cut.is_cancelled());
        drop(busy);
        next.await;
    }
}
