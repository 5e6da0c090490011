//! The listener: accepts clients, bounds what they can hold, and stops in order.
//!
//! Clients are whoever reaches the port, unless [`ServerConfig`] names certificates or passwords
//! ([`SecurityConfig`]).
//!
//! [`Server::start`] opens the engine and up to three ports: CQL, metrics, and only if asked for
//! the fault port. [`Server::shutdown`] stops accepting, lets requests in flight finish within the
//! drain timeout, closes the connections and drops the engine, after which the data directory is
//! free again.

mod connection;
mod frames;
mod handler;
mod handshake;
mod panic;
mod passwords;
mod security;
#[cfg(test)]
mod tests;
mod tls;

pub use handler::ConnectionContext;
pub use security::{SecurityConfig, TlsFiles};

use crate::engine::{Engine, EngineConfig, Opened};
use crate::error::CqlError;
use crate::faults::Faults;
use crate::metrics::Metrics;
use anyhow::Context as _;
use frames::Budget;
use handler::Handler;
use security::Security;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything that a server needs to know.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where clients connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `GET /metrics`.
    pub metrics_listen: SocketAddr,
    /// The fault port; for tests only.
    pub fault_listen: Option<SocketAddr>,
    /// Where the draws of fault rules come from.
    pub fault_seed: u64,
    /// TLS and passwords of the CQL port.
    pub security: SecurityConfig,
    /// Storage and cluster facts.
    pub engine: EngineConfig,
    /// Bounds.
    pub limits: Limits,
}

impl ServerConfig {
    /// Free loopback ports for everything, the fault port included, open to everybody: for tests.
    pub fn ephemeral(data_dir: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any,
            metrics_listen: any,
            fault_listen: Some(any),
            fault_seed: 0,
            security: SecurityConfig::default(),
            engine: EngineConfig::new(data_dir),
            limits: Limits::default(),
        }
    }
}

/// What clients can make the server hold, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections; further ones are closed at once.
    pub connections_max: usize,
    /// Requests in flight on one connection; the next waits unread.
    pub requests_per_connection_max: usize,
    /// Body of one request, also unpacked; at most 256 MiB.
    pub frame_bytes_max: usize,
    /// Bodies of all requests in flight; the next waits unread.
    pub request_bytes_max: usize,
    /// Answers that wait for one slow client before its next request waits.
    pub outgoing_bytes_max: usize,
    /// From connecting to the answer that lets the client in: TLS, STARTUP and password.
    pub handshake_timeout: Duration,
    /// From the first byte of a frame's header or body to the last.
    pub read_timeout: Duration,
    /// For a client that does not take anything of its answers.
    pub write_timeout: Duration,
    /// For requests in flight when their client hangs up or the server stops.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            connections_max: 1024,
            requests_per_connection_max: 2048,
            frame_bytes_max: 32 * MIB,
            request_bytes_max: 256 * MIB,
            outgoing_bytes_max: 32 * MIB,
            handshake_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// What all connections share.
struct Shared<H> {
    handler: H,
    metrics: Arc<Metrics>,
    limits: Limits,
    security: Security,
    request_bytes: Budget,
    /// All that must end before the server has stopped.
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A running server. Dropping it stops it too, but nobody knows when that is done.
pub struct Server {
    address: SocketAddr,
    metrics_address: SocketAddr,
    fault_address: Option<SocketAddr>,
    engine: Engine,
    faults: Arc<Faults>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    /// Binds the ports, opens the engine (which recovers what the data directory holds) and serves
    /// on the current runtime.
    pub async fn start(config: ServerConfig) -> anyhow::Result<Self> {
        let (listener, address) = bind(config.listen, "listen").await?;
        let (metrics_listener, metrics_address) =
            bind(config.metrics_listen, "metrics_listen").await?;
        let fault_port = match config.fault_listen {
            None => None,
            Some(address) => Some(bind(address, "fault_listen").await?),
        };
        let fault_address = fault_port.as_ref().map(|(_, address)| *address);
        let security = Security::open(config.security)?;
        let metrics = Metrics::new().context("register metrics")?;
        let faults = Faults::new(config.fault_seed);
        let engine = {
            let (metrics, faults) = (Arc::clone(&metrics), Arc::clone(&faults));
            tokio::task::spawn_blocking(move || Engine::open(config.engine, metrics, faults))
                .await
                .context("open the engine")??
        };
        let drain = config.limits.drain_timeout;
        let handler = engine.clone();
        let shared = Arc::new(Shared::new(handler, Arc::clone(&metrics), config.limits, security));
        let (tasks, stop) = (shared.tasks.clone(), shared.stop.clone());
        let router = Arc::clone(&metrics).router();
        tasks.spawn(serve_http(metrics_listener, router, stop.clone(), drain));
        if let Some((listener, _)) = fault_port {
            tasks.spawn(serve_http(
                listener,
                crate::faults::port::router(Arc::clone(&faults), engine.downgrade()),
                stop.clone(),
                drain,
            ));
        }
        tasks.spawn(accept(listener, shared));
        Ok(Self { address, metrics_address, fault_address, engine, faults, metrics, tasks, stop })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// Where `/faults` is, if it is open.
    pub fn fault_address(&self) -> Option<SocketAddr> {
        self.fault_address
    }

    /// The fault rules, for tests in the same process.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// Opens a new CDC generation, for tests in the same process; see
    /// [`Engine::open_generation`].
    pub async fn open_generation(
        &self,
        streams: Option<usize>,
        starts_in: Duration,
    ) -> Result<Opened, CqlError> {
        self.engine.open_generation(streams, starts_in).await
    }

    /// Sets how far the clock is off the host's, in ms, for tests in the same process.
    pub fn set_clock(&self, skew_ms: i64) {
        self.engine.set_clock(skew_ms);
    }

    /// The metrics, for tests in the same process.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Resolves when the storage has failed for good: nothing can be written any more, and only a
    /// new process can help.
    pub async fn failed(&self) -> CqlError {
        self.engine.failed().await
    }

    /// Stops; when it returns, all connections are closed and the data directory is free.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// `key` is the name of the address in [`ServerConfig`].
async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("bind {key} {address}"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves until stopped, and then no longer than open requests or the drain timeout last.
async fn serve_http(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
    drain: Duration,
) {
    let served =
        axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        served = async { served.await } => {
            if let Err(error) = served {
                tracing::error!(%error, "HTTP port died");
            }
        }
        () = overdue => tracing::debug!("HTTP client did not hang up"),
    }
}

impl<H: Handler> Shared<H> {
    fn new(handler: H, metrics: Arc<Metrics>, limits: Limits, security: Security) -> Self {
        let gauge = Some(metrics.request_bytes().clone());
        let request_bytes = Budget::new(limits.request_bytes_max, gauge);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Self { handler, metrics, limits, security, request_bytes, tasks, stop }
    }
}

/// Accepts until told to stop.
async fn accept<H: Handler>(listener: TcpListener, shared: Arc<Shared<H>>) {
    let slots = Arc::new(Semaphore::new(shared.limits.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Out of descriptors, most likely: give others time to close theirs.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(max = shared.limits.connections_max, "too many connections, closed one");
            continue;
        };
        let tasks = shared.tasks.clone();
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            let gauge = shared.metrics.connections().clone();
            gauge.inc();
            connection::serve(socket, shared).await;
            gauge.dec();
            drop(slot);
        });
    }
}
