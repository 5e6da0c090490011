//! Reads over HTTP: read models, lists, histories.
//!
//! [`routes`] says which queries there are and asks the read models, [`views`] has the JSON of the answers. The way of a
//! request through them is the same for every domain: [`http_edge::queries`].

mod config;
mod routes;
mod views;

use crate::config::Config;
use anyhow::Context;
use event_store::EventReader;
use projection::queries::Queries;
use runtime::{HttpServer, Process};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    runtime::main("query-api", include_str!("../../../config/query-api.toml"), run)
}

async fn run(mut process: Process<Config>) -> anyhow::Result<()> {
    let Config { scylla, http, breaker, queries: config } = process.config.clone();
    let port = process.take_http(&http)?;
    let session = process.scylla(&scylla).await?;
    process.wait_for_schema(&session, &[event_store::MIGRATIONS, projection::MIGRATIONS]).await?;
    let timeout = http.request_timeout();
    let queries = Queries::open(Arc::clone(&session)).await.context("prepare the queries")?;
    let events = EventReader::open(session, timeout).await.context("prepare the histories")?;
    let listener = process.listen_http(port)?;
    let breaker = process.database_breaker(breaker);
    let shop = routes::Shop { queries, config };
    let routes = routes::routes();
    let router = http_edge::queries::router(shop, events, &http, config.limits(), breaker, routes);
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
