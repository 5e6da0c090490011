//! Serves a router over HTTP/1.1 within bounds: connections, the pace of clients, requests at work.
//!
//! The life of a request here: [`connections`] has a place for its connection, which shakes hands first where
//! [`tls`] is configured; its header arrives in time ([`serving`]), [`context`] gives it what it needs to be found
//! again and its deadline, and the process's own routes ask [`admission`] before they work on it.

pub mod admission;
pub mod context;
pub mod principals;

mod connections;
mod metrics;
mod serving;
mod tls;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use governor::{Quota, RateLimiter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::config::{BadValue, check_certificate, check_files};
use crate::descriptors;

use self::connections::Connections;
use self::metrics::METRICS;
use self::principals::PrincipalsConfig;
use self::serving::Serving;
use self::tls::Tls;

/// Least size of a connection's buffer; the HTTP library asks for as much.
const HEADER_BYTES_MIN: u32 = 8 * 1024;

/// The longest pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Lines in the log about such connections.
const WARNINGS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(6).expect("not zero");

/// The HTTP port and what its requests may cost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificate of this process and those up to its authority, PEM; empty: it speaks plainly.
    pub tls_cert_file: String,
    /// The private key of that certificate, PEM.
    pub tls_key_file: String,
    /// The authorities of clients, PEM, of which each then has to show a certificate; empty: none has to.
    pub client_ca_file: String,
    /// How long a client may take for the handshake of TLS.
    pub handshake_timeout_ms: NonZeroU64,
    /// Connections served at once, fewer where there are too few file descriptors (the soft limit is raised to
    /// the hard one at start); beyond it the one that has waited longest for its client is closed to make
    /// room, and while all are worked on new ones wait to be accepted.
    pub connections_max: NonZeroU32,
    /// How long a connection may wait for its client at least before it is closed to make room; newcomers wait
    /// for that to be accepted.
    pub connection_ms_min: u64,
    /// How long a client may take to send a request's header, or leave a connection idle.
    pub header_timeout_ms: NonZeroU64,
    /// How long a client may take to take an answer in.
    pub answer_timeout_ms: NonZeroU64,
    /// How long a client may take for either while the process ends.
    pub drain_timeout_ms: NonZeroU64,
    /// The largest header of a request; then 431.
    #[schemars(range(min = HEADER_BYTES_MIN))]
    pub header_bytes_max: NonZeroU32,
    /// Requests worked on at once, at most; it begins with four times `requests_min` and follows
    /// `target_ms`.
    pub requests_max: NonZeroU32,
    /// Requests worked on at once, at least.
    pub requests_min: NonZeroU32,
    /// While requests wait and even the fastest one at work takes longer than this, fewer are worked
    /// on at once; while it takes less than half of it, more.
    pub target_ms: NonZeroU64,
    /// How often it is looked at how many requests are worked on at once.
    pub adapt_ms: NonZeroU64,
    /// Requests that wait to be worked on; then 429.
    pub queue_max: u32,
    /// How long a request may wait to be worked on; then 503.
    pub queue_ms_max: u64,
    /// How long a request may wait for its answer, from its header on; a client may ask for less with
    /// `Prefer: wait=<seconds>`.
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
            tls_cert_file: String::new(),
            tls_key_file: String::new(),
            client_ca_file: String::new(),
            handshake_timeout_ms: time(5_000),
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

    /// Errs when keys contradict each other.
    pub fn check(&self) -> Result<(), BadValue> {
        if self.requests_min > self.requests_max {
            return Err(BadValue::new("requests_min", "must not be above requests_max"));
        }
        check_certificate("http", &self.tls_cert_file, &self.tls_key_file)?;
        // Who names authorities does not expect to let everybody in.
        if self.tls_cert_file.is_empty() && !self.client_ca_file.is_empty() {
            let reason = "must be named where http.client_ca_file is";
            return Err(BadValue::new("tls_cert_file", reason));
        }
        Ok(())
    }

    /// Errs when no port could be opened with these values, or with the files that they name.
    pub fn usable(&self) -> Result<(), BadValue> {
        self.check()?;
        check_files(&self.tls_files())
    }

    fn tls_files(&self) -> [(&'static str, &str); 3] {
        [
            ("tls_cert_file", &self.tls_cert_file),
            ("tls_key_file", &self.tls_key_file),
            ("client_ca_file", &self.client_ca_file),
        ]
    }

    /// How long a request may wait for its answer.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        at_most_a_day(self.request_timeout_ms)
    }

    fn handshake_timeout(&self) -> Duration {
        at_most_a_day(self.handshake_timeout_ms)
    }

    fn drain_timeout(&self) -> Duration {
        at_most_a_day(self.drain_timeout_ms)
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
    serving: Serving,
    /// Nobody is served without it when it is there.
    tls: Option<Tls>,
    connections: Arc<Connections>,
    tasks: TaskTracker,
}

impl HttpServer {
    /// Will serve `router` until `shutdown`. Errs with the key of a file that cannot be used.
    pub fn new(
        listener: TcpListener,
        router: Router,
        config: HttpConfig,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        Self::of_section("http", listener, router, config, shutdown)
    }

    /// The same for a port whose files are named in another section of the configuration.
    pub(crate) fn of_section(
        section: &str,
        listener: TcpListener,
        router: Router,
        config: HttpConfig,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let tls = Tls::open(section, &config)?;
        let room = descriptors::room_for(config.listen, config.connections_max.get());
        let moment = Duration::from_millis(config.connection_ms_min);
        let connections = Connections::new(room as usize, moment);
        let listener = Mutex::new(Some(listener));
        let tasks = TaskTracker::new();
        let serving = Serving { router, config: Arc::new(config), shutdown };
        Ok(Self { shared: Arc::new(Shared { listener, serving, tls, connections, tasks }) })
    }

    /// Serves until the shutdown, then closes the port and lets every request in flight finish; a
    /// client that has not sent its request or taken its answer soon after is cut off.
    ///
    /// How long the work may take is the supervisor's business: a request that outlives the grace
    /// period is cut off with its worker. A broken connection is its client's affair.
    pub async fn run(&self) {
        let Shared { listener, serving, tasks, .. } = &*self.shared;
        let mut listener = listener.lock().await;
        if let Some(listener) = &*listener {
            tokio::select! {
                () = serving.shutdown.cancelled() => {}
                () = self.accept(listener) => {}
            }
        }
        *listener = None;
        tasks.close();
        tasks.wait().await;
    }

    async fn accept(&self, listener: &TcpListener) {
        let Shared { serving, tls, connections, tasks, .. } = &*self.shared;
        let warnings = RateLimiter::direct(Quota::per_minute(WARNINGS_PER_MINUTE));
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let place = connections.enter().await;
                    let serving = serving.clone();
                    match tls.as_ref().map(Tls::acceptor) {
                        None => tasks.spawn(serving.plain(stream, peer, place)),
                        Some(tls) => tasks.spawn(serving.encrypted(tls, stream, peer, place)),
                    };
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

#[cfg(test)]
mod tests;
