//! HTTP commands in, events out.
//!
//! [`orders`] and [`customers`] have the bodies of the commands and what becomes of them, [`routes`] says which there
//! are. The way of a request through them is the same for every domain: [`http_edge::commands`].

mod config;
mod routes;

mod customers;
mod orders;

use crate::config::Config;
use event_store::EventStore;
use http_edge::commands;
use runtime::{HttpServer, Process};
use std::process::ExitCode;

fn main() -> ExitCode {
    let defaults = include_str!("../../../config/command-api.toml");
    runtime::main("command-api", defaults, run)
}

async fn run(mut process: Process<Config>) -> anyhow::Result<()> {
    let Config { scylla, http, breaker, requests, event_store } = process.config.clone();
    let routes = routes::routes();
    routes.check(domain::AGGREGATES)?;
    let port = process.take_http(&http)?;
    let session = process.scylla(&scylla).await?;
    let settings = process.wait_for_schema(&session, &[event_store::MIGRATIONS]).await?;
    let store = EventStore::open(session, event_store, &settings).await?;
    let breaker = process.database_breaker(breaker);
    let router = commands::router(store.clone(), &http, &requests, breaker, routes);
    let listener = process.listen_http(port)?;
    let server = HttpServer::new(listener, router, http, process.shutdown())?;
    let served = store.clone();
    process.child("http", move || {
        let (server, store) = (server.clone(), served.clone());
        async move {
            server.run().await;
            // No client waits for an answer any more; what was committed is announced before the end.
            store.close().await;
            Ok(())
        }
    });
    // Not to be started again here: others settle a writer whose heartbeat stops, and what this one
    // has in hand must not go on beside them.
    process.worker("event-store", async move { Ok(store.run().await?) });
    process.run_until_shutdown().await
}

#[cfg(test)]
mod tests;
