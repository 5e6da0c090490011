//! The admin port: probes and metrics, on a thread and a Tokio runtime of its own, so that a busy
//! worker cannot make liveness fail.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::TextEncoder;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::Admin;
use crate::http::{HttpConfig, HttpServer};
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
    let config = HttpConfig {
        tls_cert_file: config.tls_cert_file.clone(),
        tls_key_file: config.tls_key_file.clone(),
        connections_max: config.connections_max,
        header_timeout_ms: config.client_timeout_ms,
        answer_timeout_ms: config.client_timeout_ms,
        ..HttpConfig::at(listen)
    };
    // It ends with the process, never before.
    let never = CancellationToken::new();
    let server = HttpServer::of_section("admin", listener, router(readiness), config, never)?;
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || runtime.block_on(server.run()))
        .context("start the admin thread")?;
    Ok(address)
}

fn router(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/metrics", get(metrics))
        .with_state(readiness)
}

async fn readyz(State(readiness): State<Readiness>, RawQuery(query): RawQuery) -> Response {
    let ready = readiness.is_ready();
    let verbose = query.is_some_and(|query| {
        query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="))
    });
    // Who is refused wants to know why, asked or not.
    let body = match (ready, verbose) {
        (true, false) => "ready\n".to_owned(),
        _ => readiness.report(),
    };
    (status(ready), body).into_response()
}

async fn startupz(State(readiness): State<Readiness>) -> Response {
    let started = readiness.has_started();
    (status(started), if started { "started\n" } else { "starting\n" }).into_response()
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn metrics() -> Response {
    match TextEncoder::new().encode_to_string(&prometheus::gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests;
