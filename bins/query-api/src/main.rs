//! Reads over HTTP: read models, lists, histories.
//!
//! The life of a request: [`runtime::http::context`] gives it a correlation id, [`bounds`] a place
//! and a time, [`routes`] reads what it asks for and asks the read models or the event store,
//! [`views`] has the JSON of the answer, [`problem`] that of a refusal.

mod config;
mod routes;

mod bounds;
mod problem;
mod views;

mod metrics;

use crate::config::Config;
use anyhow::Context;
use event_store::EventReader;
use read_models::queries::Queries;
use runtime::{HttpServer, Process};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    runtime::main("query-api", include_str!("../../../config/query-api.toml"), run)
}

async fn run(mut process: Process<Config>) -> anyhow::Result<()> {
    let Config { scylla, http, breaker, queries } = process.config.clone();
    let port = process.take_http(&http)?;
    let session = process.scylla(&scylla).await?;
    process
        .wait_for_schema(
            &session,
            &[event_store::MIGRATIONS, read_models::READ_MODELS.migrations()],
        )
        .await?;
    let timeout = http.request_timeout();
    let state = routes::State {
        queries: Queries::open(Arc::clone(&session)).await.context("prepare the queries")?,
        events: EventReader::open(session, timeout).await.context("prepare the histories")?,
        config: queries,
    };
    let listener = process.listen_http(port)?;
    let breaker = process.database_breaker(breaker);
    let router = routes::router(state, &http, breaker);
    let server = HttpServer::new(listener, router, http, process.shutdown())?;
    process.child("http", move || {
        let server = server.clone();
        async move {
            server.run().await;
            Ok(())
        }
    });
    process.run_until_shutdown().await
}

#[cfg(test)]
mod tests;
