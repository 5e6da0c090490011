//! HTTP commands in, events out.

use application::Application;
use database::{Database, ScyllaConfig};
use event_store::{EventStore, EventStoreConfig};
use http_edge::commands::{self, CommandRoutes, RequestLimits};
use http_server::{HttpConfig, HttpServer, TakenPort};
use runtime::config::{BadValue, Configuration};
use runtime::{BreakerConfig, Process};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// Everything but the shell's sections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The database.
    scylla: ScyllaConfig,
    /// The port for commands.
    http: HttpConfig,
    /// When requests are refused because the database does not answer.
    breaker: BreakerConfig,
    /// What a request may cost.
    requests: RequestLimits,
    /// Bounds and intervals of the append.
    event_store: EventStoreConfig,
}

impl Configuration for Config {
    fn check(&self) -> Result<(), BadValue> {
        self.http.usable().map_err(|bad| bad.within("http"))?;
        self.event_store.check().map_err(|bad| bad.within("event_store"))?;
        self.scylla.usable().map_err(|bad| bad.within("scylla"))
    }
}

/// The configuration of this process as it was when it was compiled.
const DEFAULTS: &str = include_str!("../../../config/command-api.toml");

/// Runs the process of this application, from its arguments to its exit code. `routes` gives its commands; each
/// registered aggregate must have some.
pub fn main(application: Application, routes: fn() -> CommandRoutes) -> ExitCode {
    runtime::main("command-api", DEFAULTS, move |process| run(process, application, routes()))
}

async fn run(
    mut process: Process<Config>,
    application: Application,
    routes: CommandRoutes,
) -> anyhow::Result<()> {
    application.check()?;
    routes.check(application.aggregates)?;
    let Config { scylla, http, breaker, requests, event_store } = process.config.clone();
    let port = TakenPort::take(&http)?;
    let database = Database::connect(&process, &scylla).await?;
    let settings = database.wait_for_schema(&mut process, &[event_store::MIGRATIONS]).await?;
    let store = EventStore::open(database.session(), event_store, &settings).await?;
    let breaker = database.breaker(breaker);
    let router = commands::router(store.clone(), &http, &requests, breaker, routes);
    let listener = port.listen(&process)?;
    let server = HttpServer::new(listener, router, http, process.shutdown())?;
    let served = store.clone();
    process.child("http", move |_| {
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
mod tests {
    use super::*;

    #[test]
    fn every_key_refuses_what_is_bad() {
        runtime::config::testing::assert_refuses_what_is_bad::<Config>("command-api", DEFAULTS);
    }
}
