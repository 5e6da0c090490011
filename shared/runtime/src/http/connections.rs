//! The connections of a port, within a bound that slow clients cannot fill.
//!
//! A connection *waits for its client* from its beginning until a request has arrived with its whole
//! body, and again from the answer on until the next one. When all places are taken, the connection
//! that has waited longest is closed for the new one: who sends its header or body drop by drop, does
//! not read its answer, or just sits there, gives way to whoever comes. What is being worked on is
//! never closed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::METRICS;

/// All connections of one port.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
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
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, inner: Mutex::default(), freed: Notify::new() })
    }

    /// A place for a new connection, as soon as there is one.
    pub(super) async fn enter(self: &Arc<Self>) -> Connection {
        loop {
            // Registered before the look, so that a place given up in between is not missed.
            let freed = self.freed.notified();
            if let Some(connection) = self.try_enter() {
                return connection;
            }
            self.make_room();
            freed.await;
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

    /// Closes the connection that has waited longest, if one waits.
    pub(super) fn make_room(&self) {
        if let Some((_, cut)) = self.lock().waiting.pop_first() {
            METRICS.cut_to_make_room.inc();
            cut.cancel();
        }
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
pub(super) struct Arriving {
    body: Incoming,
    connection: Arc<Connection>,
}

impl Arriving {
    /// `body` of a request whose header has just arrived.
    pub(super) fn of(body: Incoming, connection: &Arc<Connection>) -> Body {
        if body.is_end_stream() {
            connection.works();
            return Body::empty();
        }
        connection.waits();
        Body::new(Self { body, connection: connection.clone() })
    }
}

impl HttpBody for Arriving {
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
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_makes_room() {
        let all = Connections::new(2);
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

    #[tokio::test]
    async fn what_is_worked_on_is_never_closed() {
        let all = Connections::new(1);
        let busy = all.enter().await;
        busy.works();
        let mut next = std::pin::pin!(all.enter());
        assert!(futures::poll!(next.as_mut()).is_pending());
        assert!(!busy.cut.is_cancelled());
        drop(busy);
        next.await;
    }
}
