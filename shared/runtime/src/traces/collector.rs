//! The way to the collector: a connection per export, encrypted if the URL says `https`.

use super::EXPORT_TIMEOUT;
use crate::tls::ClientTls;
use anyhow::{Context, bail};
use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use reloaded::Reloaded;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tracing::{info, warn};

/// What a collector may answer at most.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Names the authorities of a collector, PEM.
const CA: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
/// Names the certificate of this process.
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
/// Names its private key.
const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";

/// Sends on the thread that exports, which is nobody else's.
#[derive(Debug)]
pub(super) struct Collector {
    runtime: tokio::runtime::Runtime,
    /// Of the files as they are now. `None`: the way is not encrypted.
    tls: Option<Reloaded<ClientTls>>,
    /// Whether the last export failed.
    is_away: AtomicBool,
}

impl Collector {
    /// For the endpoint of this URL. Errs with the variable that is at fault. `variable` reads the environment,
    /// in which those of traces (`OTEL_EXPORTER_OTLP_TRACES_…`) come before those of everything.
    pub(super) fn at(
        endpoint: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let uri: Uri = endpoint
            .parse()
            .with_context(|| format!("OTEL_EXPORTER_OTLP_ENDPOINT {endpoint:?} is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(encrypted(variable)?),
            _ => bail!("OTEL_EXPORTER_OTLP_ENDPOINT {endpoint:?} is neither http:// nor https://"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("start the runtime of the exporter of traces")?;
        Ok(Self { runtime, tls, is_away: AtomicBool::new(false) })
    }

    /// Says when the collector goes away and when it is back, once each: its spans are lost meanwhile.
    fn note(&self, sent: Result<StatusCode, &HttpError>) {
        let failure = match sent {
            Ok(status) if status.is_success() => None,
            Ok(status) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let was_away = self.is_away.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(reason) if !was_away => {
                warn!(reason, "the collector takes no spans, dropping them")
            }
            None if was_away => info!("the collector takes spans again"),
            _ => {}
        }
    }
}

/// What is encrypted with, read again when a file changes.
fn encrypted(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Reloaded<ClientTls>> {
    let of_traces = |name: &str| {
        let own = name.replace("_OTLP_", "_OTLP_TRACES_");
        variable(&own).or_else(|| variable(name)).filter(|path| !path.is_empty())
    };
    let ca = of_traces(CA)
        .with_context(|| format!("{CA} must name the authorities of an https:// collector"))?;
    let own = match (of_traces(CERTIFICATE), of_traces(KEY)) {
        (Some(certificate), Some(key)) => [certificate, key],
        (None, None) => [String::new(), String::new()],
        _ => bail!("{CERTIFICATE} and {KEY} must both be set, or neither"),
    };
    let files = [&ca, &own[0], &own[1]].into_iter().filter(|file| !file.is_empty());
    let files = files.map(Into::into).collect();
    Reloaded::open("certificates of the collector", files, move || {
        let [certificate, key] = own.each_ref().map(String::as_str);
        ClientTls::open([CA, CERTIFICATE, KEY], [&ca, certificate, key])
    })
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let tls = self.tls.as_ref().map(Reloaded::get);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(EXPORT_TIMEOUT, send(request, tls)).await? });
        self.note(answer.as_ref().map(Response::status));
        // That was told. The exporter would tell each failure once more, and does nothing else about it.
        Ok(answer.ok().filter(|answer| answer.status().is_success()).unwrap_or_default())
    }
}

async fn send(
    mut request: Request<Bytes>,
    tls: Option<Arc<ClientTls>>,
) -> Result<Response<Bytes>, HttpError> {
    let authority = request.uri().authority().ok_or("a collector without address")?.clone();
    let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let host = authority.host().trim_matches(['[', ']']);
    let path = request.uri().path_and_query().ok_or("a collector without path")?;
    *request.uri_mut() = path.as_str().parse()?;
    request.headers_mut().insert(hyper::header::HOST, authority.as_str().parse()?);
    let stream = TcpStream::connect((host, port)).await?;
    match tls {
        None => exchange(stream, request).await,
        Some(tls) => exchange(tls.encrypt(host, stream).await?, request).await,
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    tokio::select! {
        biased;
        answer = exchange => answer,
        ended = connection => {
            ended?;
            Err("the collector closed the connection before its answer".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{Authority, Folder};
    use crate::port::testing::Answering;
    use crate::port::{Port, PortConfig};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    fn refused(endpoint: &str, variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let collector = Collector::at(endpoint, variable);
        crate::chain(collector.expect_err("refused").as_ref()).to_string()
    }

    #[test]
    fn what_is_wrong_is_named_by_its_variable() {
        let https = "https://collector:4318";
        assert!(refused("collector:4318", &[]).contains("neither http:// nor https://"));
        assert!(refused("http://a b", &[]).contains("is no URL"));
        assert!(refused(https, &[]).starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE must name"));
        assert!(
            refused(https, &[(CA, "/nowhere/ca.crt")])
                .starts_with("cannot read OTEL_EXPORTER_OTLP_CERTIFICATE /nowhere/ca.crt")
        );
        let one = [("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "ca"), (KEY, "key")];
        assert!(refused(https, &one).ends_with("must both be set, or neither"));
    }

    #[test]
    fn an_open_collector_needs_no_files() {
        assert!(Collector::at("http://127.0.0.1:4318", |_| None).expect("good").tls.is_none());
    }

    /// A collector that demands a certificate, and sends back what it got.
    async fn guarded(folder: &Folder, shutdown: CancellationToken) -> (Port<Answering>, String) {
        let file = |name: &str| folder.path().join(name).display().to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut config = PortConfig::at("http", address);
        config.tls_cert_file = file("server.crt");
        config.tls_key_file = file("server.key");
        config.client_ca_file = file("ca.crt");
        let service = Answering::new(|body| async { body });
        let server = Port::new(listener, service, config, shutdown).expect("sound files");
        (server, format!("https://127.0.0.1:{}/v1/traces", address.port()))
    }

    /// What the collector answers to a batch.
    fn export(collector: &Collector, url: &str) -> Bytes {
        let request = Request::post(url).body(Bytes::from_static(b"spans")).expect("a request");
        let answer = futures::executor::block_on(collector.send_bytes(request));
        answer.expect("failures are told and not returned").into_body()
    }

    #[test]
    fn spans_travel_encrypted_by_the_files_as_they_are_now() {
        let (authority, others, folder) =
            (Authority::new("services"), Authority::new("others"), Folder::new());
        folder.authority("ca.crt", &authority);
        folder.identity("server", &authority.issue(&["127.0.0.1"]));
        folder.authority("trusted.crt", &others);
        folder.identity("own", &others.issue(&["worker"]));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let shutdown = CancellationToken::new();
        let (server, url) = runtime.block_on(guarded(&folder, shutdown.clone()));
        let serving = runtime.spawn(async move { server.run().await });
        let variable = |name: &str| {
            let file = match name {
                CA => "trusted.crt",
                CERTIFICATE => "own.crt",
                KEY => "own.key",
                _ => return None,
            };
            Some(folder.path().join(file).display().to_string())
        };
        let collector = Collector::at(&url, variable).expect("sound files");

        let arrives = || export(&collector, &url) == "spans";
        assert!(!arrives(), "the server is of another authority");
        folder.authority("trusted.crt", &authority);
        assert!(!arrives(), "the own certificate is of another authority");
        assert!(collector.is_away.load(Ordering::Relaxed));
        folder.identity("own", &authority.issue(&["worker"]));
        assert!(arrives() && !collector.is_away.load(Ordering::Relaxed));

        shutdown.cancel();
        runtime.block_on(serving).expect("no panic");
    }
}
