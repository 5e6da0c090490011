//! Connects for [`HttpClient`](super::HttpClient): encrypted where the URL is `https`, plainly where it is
//! `http`.

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use runtime::tls::ClientTls;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::{BoxError, Service};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<ClientTls>,
}

/// An open connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connection for Box<dyn Stream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Connector {
    /// Without `tls` only plainly.
    pub(super) fn new(tls: Option<ClientTls>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        // It refuses every other scheme otherwise.
        tcp.enforce_http(false);
        Self { tcp, tls }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let (connecting, tls) = (self.tcp.call(url.clone()), self.tls.clone());
        async move {
            if url.scheme() != Some(&Scheme::HTTPS) {
                let stream: Box<dyn Stream> = Box::new(connecting.await?.into_inner());
                return Ok(TokioIo::new(stream));
            }
            let tls = tls.ok_or("this client knows no authorities for https")?;
            let stream = connecting.await?.into_inner();
            let encrypted = tls.encrypt(url.host().unwrap_or_default(), stream).await?;
            let stream: Box<dyn Stream> = Box::new(encrypted);
            Ok(TokioIo::new(stream))
        }
        .boxed()
    }
}
