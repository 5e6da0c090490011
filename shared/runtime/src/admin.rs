//! The admin port: probes and metrics, on a thread and a Tokio runtime of its own, so that a busy
//! worker cannot make liveness fail.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};
use prometheus::TextEncoder;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::Admin;
use crate::port::{Arriving, Port, PortConfig, at_most_a_day};
use crate::readiness::Readiness;

/// Binds the port and serves until the process ends. Gives the bound address.
pub(crate) fn start(config: &Admin, readiness: Readiness) -> anyhow::Result<SocketAddr> {
    let listen = config.listen;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the admin port's runtime")?;
    let listener = runtime
        .block_on(TcpListener::bind(listen))
        .with_context(|| format!("bind admin.listen {listen}"))?;
    let address = listener.local_addr().context("address of the admin port")?;
    info!(%address, "admin listening");
    let patience = at_most_a_day(config.client_timeout_ms);
    let config = PortConfig {
        tls_cert_file: config.tls_cert_file.clone(),
        tls_key_file: config.tls_key_file.clone(),
        connections_max: config.connections_max,
        header_timeout: patience,
        answer_timeout: patience,
        ..PortConfig::at("admin", listen)
    };
    // It ends with the process, never before.
    let never = CancellationToken::new();
    let port = Port::new(listener, Answers { readiness }, config, never)?;
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || runtime.block_on(port.run()))
        .context("start the admin thread")?;
    Ok(address)
}

type Answer = Response<Full<Bytes>>;

/// What the port answers.
#[derive(Clone)]
struct Answers {
    readiness: Readiness,
}

impl Service<Request<Arriving>> for Answers {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn call(&self, request: Request<Arriving>) -> Self::Future {
        let (path, query) = (request.uri().path(), request.uri().query());
        ready(Ok(self.answer(request.method(), path, query)))
    }
}

impl Answers {
    fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Answer {
        let answer: fn(&Readiness, Option<&str>) -> Answer = match path {
            "/livez" => |_, _| text(StatusCode::OK, "ok\n"),
            "/readyz" => readyz,
            "/startupz" => |readiness, _| startupz(readiness),
            "/metrics" => |_, _| metrics(),
            _ => return empty(StatusCode::NOT_FOUND),
        };
        // The body of an answer to HEAD is left out where it is written.
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refused = empty(StatusCode::METHOD_NOT_ALLOWED);
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
            return refused;
        }
        answer(&self.readiness, query)
    }
}

fn readyz(readiness: &Readiness, query: Option<&str>) -> Answer {
    let ready = readiness.is_ready();
    let verbose = query.is_some_and(|query| {
        query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="))
    });
    // Who is refused wants to know why, asked or not.
    let body = match (ready, verbose) {
        (true, false) => "ready\n".to_owned(),
        _ => readiness.report(),
    };
    text(status(ready), body)
}

fn startupz(readiness: &Readiness) -> Answer {
    let started = readiness.has_started();
    text(status(started), if started { "started\n" } else { "starting\n" })
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn metrics() -> Answer {
    match TextEncoder::new().encode_to_string(&prometheus::gather()) {
        Ok(metrics) => of_type(prometheus::TEXT_FORMAT, StatusCode::OK, metrics),
        Err(error) => {
            error!(%error, "metrics cannot be encoded");
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    of_type("text/plain; charset=utf-8", status, body)
}

fn of_type(kind: &'static str, status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests;
