//! Serves a router over HTTP/1.1 within bounds: connections, the pace of clients, requests at work.
//!
//! The life of a request here: [`connections`] has a place for its connection, its header arrives in
//! time, [`context`] gives it what it needs to be found again and its deadline, and the process's own
//! routes ask [`admission`] before they work on it.

pub mod admission;
pub mod context;
pub mod principals;

mod connections;
mod metrics;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use governor::{Quota, RateLimiter};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::descriptors;

use self::connections::{Arriving, Connection, Connections};
use self::metrics::METRICS;
use self::principals::PrincipalsConfig;

/// Least size of a connection's buffer; the HTTP library asks for as much.
const HEADER_BYTES_MIN: u32 = 8 * 1024;

/// The longest pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Lines in the log about such connections.
const WARNINGS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(6).expect("not zero");

/// `[http]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections served at once; beyond it the one that has waited longest for its client is
    /// closed.
    pub connections_max: NonZeroU32,
    /// How long a connection may wait for its client at least, before it can be closed for another.
    pub connection_ms_min: u64,
    /// How long a client may take to send a request's header, or leave a connection idle.
    pub header_timeout_ms: NonZeroU64,
    /// How long a client may take to take an answer in.
    pub answer_timeout_ms: NonZeroU64,
    /// How long a client may take for either while the process ends.
    pub drain_timeout_ms: NonZeroU64,
    /// The largest header; at least 8 KiB.
    pub header_bytes_max: NonZeroU32,
    /// Requests worked on at once, at most; how many it is follows `target_ms`.
    pub requests_max: NonZeroU32,
    /// And at least.
    pub requests_min: NonZeroU32,
    /// While requests wait and even the fastest one at work takes longer than this, fewer are worked
    /// on at once; while it takes less than half of it, more.
    pub target_ms: NonZeroU64,
    /// How often the number is changed.
    pub adapt_ms: NonZeroU64,
    /// Requests that wait to be worked on; more are refused at once.
    pub queue_max: u32,
    /// How long a request may wait to be worked on; then it is refused.
    pub queue_ms_max: u64,
    /// How long a request may wait for its answer; a client may ask for less.
    pub request_timeout_ms: NonZeroU64,
    /// On whose behalf requests come.
    pub principals: PrincipalsConfig,
}

impl HttpConfig {
    /// Bounds for tools and tests.
    #[must_use]
    pub fn at(listen: SocketAddr) -> Self {
        let count = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let time = |ms| NonZeroU64::new(ms).unwrap_or(NonZeroU64::MIN);
        Self {
            listen,
            connections_max: count(64),
            connection_ms_min: 20,
            header_timeout_ms: time(5_000),
            answer_timeout_ms: time(5_000),
            drain_timeout_ms: time(1_000),
            header_bytes_max: count(64 * 1024),
            requests_max: count(64),
            requests_min: count(8),
            target_ms: time(100),
            adapt_ms: time(500),
            queue_max: 64,
            queue_ms_max: 250,
            request_timeout_ms: time(5_000),
            principals: PrincipalsConfig::generous(),
        }
    }

    /// How long a request may wait for its answer.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        at_most_a_day(self.request_timeout_ms)
    }

    fn header_timeout(&self) -> Duration {
        at_most_a_day(self.header_timeout_ms)
    }

    /// From the moment when an answer is there until the next request's header: the client may take
    /// its time for both, and no more.
    fn client_timeout(&self) -> Duration {
        self.header_timeout() + at_most_a_day(self.answer_timeout_ms)
    }
}

/// Longer is never meant, and more than clocks can count.
fn at_most_a_day(ms: NonZeroU64) -> Duration {
    Duration::from_millis(ms.get()).min(Duration::from_secs(24 * 60 * 60))
}

/// Registers the metrics of HTTP ports, so that they are there before the first request.
pub(crate) fn register_metrics() {
    LazyLock::force(&METRICS);
}

/// Serves one port. What it holds outlives a fall of [`HttpServer::run`], which may be run again then.
#[derive(Clone)]
pub struct HttpServer {
    shared: Arc<Shared>,
}

struct Shared {
    /// Gone when the port is closed.
    listener: Mutex<Option<TcpListener>>,
    router: Router,
    config: HttpConfig,
    shutdown: CancellationToken,
    connections: Arc<Connections>,
    tasks: TaskTracker,
}

impl HttpServer {
    /// Will serve `router` until `shutdown`.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        router: Router,
        config: HttpConfig,
        shutdown: CancellationToken,
    ) -> Self {
        let room = descriptors::room_for(config.listen, config.connections_max.get());
        let moment = Duration::from_millis(config.connection_ms_min);
        let connections = Connections::new(room as usize, moment);
        let listener = Mutex::new(Some(listener));
        let tasks = TaskTracker::new();
        Self { shared: Arc::new(Shared { listener, router, config, shutdown, connections, tasks }) }
    }

    /// Serves until the shutdown, then closes the port and lets every request in flight finish; a
    /// client that has not sent its request or taken its answer soon after is cut off.
    ///
    /// How long the work may take is the supervisor's business: a request that outlives the grace
    /// period is cut off with its worker. A broken connection is its client's affair.
    pub async fn run(&self) {
        let Shared { listener, shutdown, tasks, .. } = &*self.shared;
        let mut listener = listener.lock().await;
        if let Some(listener) = &*listener {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.accept(listener) => {}
            }
        }
        *listener = None;
        tasks.close();
        tasks.wait().await;
    }

    async fn accept(&self, listener: &TcpListener) {
        let Shared { router, config, shutdown, connections, tasks, .. } = &*self.shared;
        let warnings = RateLimiter::direct(Quota::per_minute(WARNINGS_PER_MINUTE));
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let connection = connections.enter().await;
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    tasks.spawn(serve_connection(
                        stream, peer, router, config, connection, shutdown,
                    ));
                }
                Err(error) => {
                    if warnings.check().is_ok() {
                        warn!(%error, "connection cannot be accepted");
                    }
                    // Out of file descriptors: one less may help; accepting again at once would spin.
                    connections.one_less(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    config: &HttpConfig,
    connection: Connection,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "connection keeps its delay");
    }
    let connection = Arc::new(connection);
    let place = connection.clone();
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let place = place.clone();
        let answer = routes.call(request.map(|body| Arriving::of(body, &place)));
        async move {
            let answer = answer.await;
            place.waits();
            answer
        }
    });
    let mut serving = Box::pin(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout())
            .max_buf_size(config.header_bytes_max.get().max(HEADER_BYTES_MIN) as usize)
            .serve_connection(TokioIo::new(stream), service),
    );
    let (patience, drain) = (config.client_timeout(), at_most_a_day(config.drain_timeout_ms));
    async move {
        let mut slow = std::pin::pin!(too_slow(&connection, Instant::now(), patience));
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                () = connection.cut.cancelled() => {
                    debug!(%peer, "connection closed to make room");
                    return;
                }
                ended = serving.as_mut() => {
                    if let Err(error) = ended {
                        if error.is_timeout() {
                            METRICS.cut_slow_header.inc();
                        }
                        debug!(%peer, %error, "connection broke");
                    }
                    return;
                }
                () = slow.as_mut() => {
                    METRICS.cut_slow_answer.inc();
                    debug!(%peer, "connection closed on a client that does not take its answer");
                    return;
                }
                () = shutdown.cancelled(), if !draining => {
                    draining = true;
                    slow.set(too_slow(&connection, Instant::now(), drain));
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Resolves when the connection, counted from `from` at the earliest, has waited for its client for
/// longer than `patience` in one go. Idle connections and slow headers have a shorter bound of their
/// own, so what is left is an answer that is not taken, or what does not end with the process.
async fn too_slow(connection: &Connection, from: Instant, patience: Duration) {
    loop {
        let since = connection.waits_since();
        sleep_until(since.unwrap_or_else(Instant::now).max(from) + patience).await;
        if since.is_some() && since == connection.waits_since() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
