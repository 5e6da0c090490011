//! Reads over HTTP: read models, lists, histories.
//!
//! An application brings its [`Queries`]: what they read with, and their routes. The small functions beside it are for
//! these routes.

use anyhow::Context;
use application::Application;
use database::{Database, ScyllaConfig};
use event_store::EventReader;
use http_edge::queries::{self, Page, PageRequest, QueryLimits, QueryRoutes};
use http_edge::{Problem, unavailable, unreadable};
use http_server::{HttpConfig, HttpServer, TakenPort};
use kernel::Timestamp;
use projection::QueryError;
use projection::listing::{self, ListRequest};
use runtime::config::{BadValue, Configuration};
use runtime::{BreakerConfig, Process};
use schemars::JsonSchema;
use scylla::client::session::Session;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The queries of an application. A clone is made for each request.
pub trait Queries: Clone + Send + Sync + 'static {
    /// The section `[queries]` of the configuration; [`QueryLimits`] if there is nothing to add.
    type Config: QueryConfig;

    /// Prepares the reads; the tables are there.
    fn open(
        session: Arc<Session>,
        config: &Self::Config,
    ) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Which queries there are.
    fn routes() -> QueryRoutes<Self>;
}

/// The section `[queries]` of the configuration.
pub trait QueryConfig:
    std::fmt::Debug + Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
    /// What holds for the queries of any application.
    fn limits(&self) -> QueryLimits;
}

impl QueryConfig for QueryLimits {
    fn limits(&self) -> QueryLimits {
        *self
    }
}

/// Everything but the shell's sections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "Q: QueryConfig"))]
pub struct Config<Q: QueryConfig> {
    /// The database.
    scylla: ScyllaConfig,
    /// The port for queries.
    http: HttpConfig,
    /// When requests are refused because the database does not answer.
    breaker: BreakerConfig,
    /// What a query may cost.
    queries: Q,
}

impl<Q: QueryConfig> Configuration for Config<Q> {
    fn check(&self) -> Result<(), BadValue> {
        self.http.usable().map_err(|bad| bad.within("http"))?;
        self.queries.limits().check().map_err(|bad| bad.within("queries"))?;
        self.scylla.usable().map_err(|bad| bad.within("scylla"))
    }
}

/// Runs the process of this application, from its arguments to its exit code. `defaults` is the text of its
/// `query-api.toml`, which has the keys of the application's own queries.
pub fn main<Q: Queries>(application: Application, defaults: &'static str) -> ExitCode {
    runtime::main("query-api", defaults, move |process| run::<Q>(process, application))
}

async fn run<Q: Queries>(
    mut process: Process<Config<Q::Config>>,
    application: Application,
) -> anyhow::Result<()> {
    application.check()?;
    let Config { scylla, http, breaker, queries: config } = process.config.clone();
    let port = TakenPort::take(&http)?;
    let database = Database::connect(&process, &scylla).await?;
    let schema = [event_store::MIGRATIONS, application.read_models.migrations()];
    database.wait_for_schema(&mut process, &schema).await?;
    let session = database.session();
    let timeout = http.request_timeout();
    let queries = Q::open(Arc::clone(&session), &config).await.context("prepare the queries")?;
    let events = EventReader::open(session, timeout).await.context("prepare the histories")?;
    let listener = port.listen(&process)?;
    let breaker = database.breaker(breaker);
    let limits = config.limits();
    let router = queries::router(queries, events, &http, limits, breaker, Q::routes());
    let server = HttpServer::new(listener, router, http, process.shutdown())?;
    process.child("http", move |_| {
        let server = server.clone();
        async move {
            server.run().await;
            Ok(())
        }
    });
    process.run_until_shutdown().await
}

/// What a client is told when a read model cannot be read.
pub fn failed(error: QueryError) -> Problem {
    match error {
        QueryError::Prepare(_) | QueryError::Execute(_) => unavailable(&error),
        QueryError::Shape(_) => unreadable(&error),
    }
}

/// Which page of a list a client asks for. The list goes back `days_max` days at least. 400 for what is no cursor.
pub fn list_request<P>(page: &PageRequest<P>, days_max: u32) -> Result<ListRequest, Problem> {
    Ok(ListRequest { limit: page.limit, after: page.cursor()?, days_max })
}

/// A page as a client gets it: under the name of its list, each row as `view` shows it.
pub fn page_of<R, V>(
    name: &'static str,
    page: listing::Page<R>,
    view: impl FnMut(R) -> V,
) -> Page<V> {
    let next = page.next.map(|cursor| cursor.to_string());
    Page { name, entries: page.rows.into_iter().map(view).collect(), next }
}

/// The time from which lists go back.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
