//! A port that serves HTTP/1.1 within bounds that slow clients cannot fill. It knows no routes: for each request it
//! calls a service. The admin port is one, and so are the ports of APIs.
//!
//! The life of a connection here: [`connections`] has a place for it, it shakes hands first where [`tls`] is configured,
//! and [`serving`] calls the service for each request whose header arrives in time.

mod connections;
mod metrics;
mod serving;
mod tls;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hyper::body::Body;
use hyper::service::Service;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::descriptors;

use self::connections::Connections;
use self::metrics::METRICS;
use self::serving::Serving;
use self::tls::Tls;

pub use self::connections::Arriving;

/// Least size of a connection's buffer; the HTTP library asks for as much.
pub const HEADER_BYTES_MIN: u32 = 8 * 1024;

/// The longest pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two lines in the log about such connections.
const WARNING_PAUSE: Duration = Duration::from_secs(10);

/// What the connections of a port may cost, and what they are encrypted with.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// The section of the configuration that has the keys of the files.
    pub section: &'static str,
    /// The address that was asked for.
    pub listen: SocketAddr,
    /// The certificate of this process and those up to its authority, PEM; empty: it speaks plainly.
    pub tls_cert_file: String,
    /// The private key of that certificate, PEM.
    pub tls_key_file: String,
    /// The authorities of clients, PEM, of which each then has to show a certificate; empty: none has to.
    pub client_ca_file: String,
    /// How long a client may take for the handshake of TLS.
    pub handshake_timeout: Duration,
    /// Connections served at once, fewer where there are too few file descriptors.
    pub connections_max: NonZeroU32,
    /// How long a connection may wait for its client at least before it is closed to make room.
    pub connection_time_min: Duration,
    /// How long a client may take to send a request's header, or leave a connection idle.
    pub header_timeout: Duration,
    /// How long a client may take to take an answer in.
    pub answer_timeout: Duration,
    /// How long a client may take for either while the process ends.
    pub drain_timeout: Duration,
    /// The largest header of a request; then 431. At least [`HEADER_BYTES_MIN`].
    pub header_bytes_max: NonZeroU32,
}

impl PortConfig {
    /// Moderate bounds, and nothing encrypted.
    #[must_use]
    pub fn at(section: &'static str, listen: SocketAddr) -> Self {
        let count = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            section,
            listen,
            tls_cert_file: String::new(),
            tls_key_file: String::new(),
            client_ca_file: String::new(),
            handshake_timeout: Duration::from_secs(5),
            connections_max: count(64),
            connection_time_min: Duration::from_millis(20),
            header_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(1),
            header_bytes_max: count(64 * 1024),
        }
    }

    /// From the moment when an answer is there until the next request's header: the client may take
    /// its time for both, and no more.
    fn client_timeout(&self) -> Duration {
        self.header_timeout + self.answer_timeout
    }
}

/// The time of a key in milliseconds. Longer than a day is never meant, and more than clocks can count.
#[must_use]
pub fn at_most_a_day(ms: NonZeroU64) -> Duration {
    Duration::from_millis(ms.get()).min(Duration::from_secs(24 * 60 * 60))
}

/// Registers the metrics of ports, so that they are there before the first connection.
pub(crate) fn register_metrics() {
    LazyLock::force(&METRICS);
}

/// Serves one port. What it holds outlives a fall of [`Port::run`], which may be run again then. Cheap to clone; all
/// clones are one port.
pub struct Port<S> {
    shared: Arc<Shared<S>>,
}

impl<S> Clone for Port<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<S> {
    /// Gone when the port is closed.
    listener: Mutex<Option<TcpListener>>,
    serving: Serving<S>,
    /// Nobody is served without it when it is there.
    tls: Option<Tls>,
    connections: Arc<Connections>,
    tasks: TaskTracker,
}

impl<S> Port<S> {
    /// Will call `service` for each request until `shutdown`. Errs with the key of a file that cannot be used.
    pub fn new(
        listener: TcpListener,
        service: S,
        config: PortConfig,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let tls = Tls::open(&config)?;
        let room = descriptors::room_for(config.listen, config.connections_max.get());
        let connections = Connections::new(room as usize, config.connection_time_min);
        let listener = Mutex::new(Some(listener));
        let tasks = TaskTracker::new();
        let serving = Serving { service, config: Arc::new(config), shutdown };
        Ok(Self { shared: Arc::new(Shared { listener, serving, tls, connections, tasks }) })
    }
}

impl<S, B> Port<S>
where
    S: Service<Request<Arriving>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
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
        let mut warned: Option<Instant> = None;
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
                    if warned.is_none_or(|at| at.elapsed() >= WARNING_PAUSE) {
                        warn!(%error, "connection cannot be accepted");
                        warned = Some(Instant::now());
                    }
                    // Out of file descriptors: one less may help; accepting again at once would spin.
                    connections.one_less(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
