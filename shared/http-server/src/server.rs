//! A router on a port.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Body as _;
use hyper::service::Service;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use runtime::CancellationToken;
use runtime::port::{Arriving, Port};
use tokio::net::TcpListener;

use crate::config::{HttpConfig, SECTION};

/// Serves one port. What it holds outlives a fall of [`HttpServer::run`], which may be run again then.
#[derive(Clone)]
pub struct HttpServer {
    port: Port<Routes>,
}

impl HttpServer {
    /// Will serve `router` until `shutdown`. Errs with the key of a file that cannot be used.
    pub fn new(
        listener: TcpListener,
        router: Router,
        config: HttpConfig,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        config.check().map_err(|bad| bad.within(SECTION))?;
        let routes = Routes { router: TowerToHyperService::new(router) };
        Ok(Self { port: Port::new(listener, routes, config.port(), shutdown)? })
    }

    /// Serves until the shutdown, then closes the port and lets every request in flight finish, as [`Port::run`] says.
    pub async fn run(&self) {
        self.port.run().await;
    }
}

/// What is called for each request.
#[derive(Clone)]
struct Routes {
    router: TowerToHyperService<Router>,
}

impl Service<Request<Arriving>> for Routes {
    type Response = Response;
    type Error = Infallible;
    type Future = TowerToHyperServiceFuture<Router, Request<Body>>;

    fn call(&self, request: Request<Arriving>) -> Self::Future {
        // Most requests have no body, and one that is there is behind a pointer.
        self.router.call(
            request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use std::num::NonZeroU32;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn a_router_gets_requests_with_and_without_a_body() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = Router::new()
            .route("/greeting", get(async || "hello"))
            .route("/echo", post(async |body: String| body));
        let shutdown = CancellationToken::new();
        let config = HttpConfig::at(address);
        let server = HttpServer::new(listener, router, config, shutdown.clone()).expect("no TLS");
        let ask = async |request: &str| {
            let mut stream = TcpStream::connect(address).await.expect("connect");
            stream.write_all(request.as_bytes()).await.expect("send a request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("read the answer");
            answer
        };
        let client = async {
            let rest = "HTTP/1.1\r\nHost: test\r\nConnection: close\r\n";
            let greeted = ask(&format!("GET /greeting {rest}\r\n")).await;
            assert!(greeted.starts_with("HTTP/1.1 200") && greeted.ends_with("hello"), "{greeted}");
            let echoed = ask(&format!("POST /echo {rest}Content-Length: 4\r\n\r\nbody")).await;
            assert!(echoed.starts_with("HTTP/1.1 200") && echoed.ends_with("body"), "{echoed}");
            let lost = ask(&format!("GET /nowhere {rest}\r\n")).await;
            assert!(lost.starts_with("HTTP/1.1 404"), "{lost}");
            shutdown.cancel();
        };
        tokio::join!(server.run(), client);
    }

    #[tokio::test]
    async fn bounds_that_contradict_each_other_are_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let config = HttpConfig { requests_max: NonZeroU32::MIN, ..HttpConfig::at(address) };
        let server = HttpServer::new(listener, Router::new(), config, CancellationToken::new());
        let error = server.err().expect("fewer at most than at least").to_string();
        assert!(error.starts_with("http.requests_min: "), "{error}");
    }
}
