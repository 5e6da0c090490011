//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::connections::{Arriving, Connection};
use super::metrics::METRICS;
use super::{HEADER_BYTES_MIN, PortConfig};

/// What all connections of a port have in common.
#[derive(Clone)]
pub(super) struct Serving<S> {
    pub(super) service: S,
    pub(super) config: Arc<PortConfig>,
    pub(super) shutdown: CancellationToken,
}

impl<S, B> Serving<S>
where
    S: Service<Request<Arriving>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    /// Serves a client that speaks plainly.
    pub(super) async fn plain(self, stream: TcpStream, peer: SocketAddr, place: Connection) {
        without_delay(&stream, peer);
        self.serve(stream, peer, place).await;
    }

    /// Serves a client that first shakes hands, in time.
    pub(super) async fn encrypted(
        self,
        acceptor: TlsAcceptor,
        stream: TcpStream,
        peer: SocketAddr,
        place: Connection,
    ) {
        without_delay(&stream, peer);
        let patience = self.config.handshake_timeout;
        let shaken = tokio::select! {
            biased;
            () = place.cut.cancelled() => {
                debug!(%peer, "connection closed to make room");
                return;
            }
            // It has asked for nothing yet.
            () = self.shutdown.cancelled() => return,
            shaken = shake_hands(acceptor, stream, patience) => shaken,
        };
        match shaken {
            Ok(stream) => {
                place.waits();
                self.serve(stream, peer, place).await;
            }
            Err(error) => debug!(%peer, %error, "TLS handshake failed"),
        }
    }

    async fn serve<T>(self, stream: T, peer: SocketAddr, connection: Connection)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { service, config, shutdown } = self;
        let connection = Arc::new(connection);
        let place = connection.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let place = place.clone();
            let answer = service.call(request.map(|body| Arriving::of(body, &place)));
            async move {
                let answer = answer.await;
                place.waits();
                answer
            }
        });
        let mut serving = Box::pin(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(config.header_timeout)
                .max_buf_size(config.header_bytes_max.get().max(HEADER_BYTES_MIN) as usize)
                .serve_connection(TokioIo::new(stream), service),
        );
        let (patience, drain) = (config.client_timeout(), config.drain_timeout);
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

fn without_delay(stream: &TcpStream, peer: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "connection keeps its delay");
    }
}

/// A client that speaks no TLS, or has no certificate where one is demanded, does not get further.
async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    patience: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    match timeout(patience, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            METRICS.handshakes_failed.inc();
            Err(error)
        }
        Err(_) => {
            METRICS.cut_slow_handshake.inc();
            Err(io::ErrorKind::TimedOut.into())
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
