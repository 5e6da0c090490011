//! HTTP commands in, events out.
//!
//! The life of a request: [`http_server::context`] gives it a correlation id and turns every refusal into a
//! problem document; [`resource`] reads id, [`headers`] and [`body`], parses it strictly ([`json`]),
//! checks its values ([`orders`], [`customers`]), names the command ([`identity`]) and hands it to
//! the event store, which answers as soon as the events are facts.

mod config;
mod routes;

mod look_up;
mod resource;

mod body;
mod headers;
mod identity;
mod json;

mod customers;
mod orders;

mod problem;

use crate::config::Config;
use database::Database;
use event_store::EventStore;
use http_server::{HttpServer, TakenPort};
use runtime::Process;
use std::process::ExitCode;

fn main() -> ExitCode {
    let defaults = include_str!("../../../config/command-api.toml");
    runtime::main("command-api", defaults, run)
}

async fn run(mut process: Process<Config>) -> anyhow::Result<()> {
    let Config { scylla, http, breaker, requests, event_store } = process.config.clone();
    let port = TakenPort::take(&http)?;
    let database = Database::connect(&process, &scylla).await?;
    let settings = database.wait_for_schema(&mut process, &[event_store::MIGRATIONS]).await?;
    let store = EventStore::open(database.session(), event_store, &settings).await?;
    let breaker = database.breaker(breaker);
    let router = routes::router(store.clone(), &http, &requests, breaker);
    let listener = port.listen(&process)?;
    let server = HttpServer::new(listener, router, http, process.shutdown())?;
    let served = store.clone();
    process.child("http", move || {
        let (server, store) = (server.clone(), served.clone());
        async move {
            server.run().await;
            // Nobody is left who waits for an answer; what was committed is announced before the end.
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
