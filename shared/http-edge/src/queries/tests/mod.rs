//! Queries of a small domain: its rows in memory, its histories in the embedded engine.

mod bad_input;
mod failures;
mod history;
mod rows;

use super::malformed_parameter;
use super::{NoParameters, Page, PageRequest, QueryLimits, QueryRoutes, Representation, router};
use crate::testing::{Answer, Ask, breaker, ok, send, unhurried};
use crate::{Problem, unavailable, unreadable};
use axum::Router;
use axum::http::StatusCode;
use database::schema::{ApplyConfig, KeyspaceConfig, SettingsConfig, apply};
use database::{ScyllaConfig, Settings};
use embedded_scylla::server::{Server, ServerConfig};
use event_store::EventReader;
use http_server::HttpConfig;
use kernel::testing::tally::Tally;
use kernel::{Timestamp, Version};
use scylla::client::session::Session;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

const TALLY: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
const NOBODY: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_000F);

/// Rows of a read model, and why they cannot be read.
#[derive(Clone, Default)]
struct Rows {
    tallies: Vec<TallyView>,
    fails: Option<Fails>,
}

#[derive(Debug, Clone, Copy)]
enum Fails {
    Unavailable,
    Unreadable,
}

#[derive(Debug, Clone, Serialize)]
struct TallyView {
    tally_id: Uuid,
    total: u64,
    at: Timestamp,
    #[serde(skip)]
    version: u64,
}

impl Representation for TallyView {
    fn version(&self) -> Version {
        Version(self.version)
    }
}

impl Rows {
    fn read(&self) -> Result<&[TallyView], Problem> {
        let error = std::io::Error::other("internals");
        match self.fails {
            None => Ok(&self.tallies),
            Some(Fails::Unavailable) => Err(unavailable(&error)),
            Some(Fails::Unreadable) => Err(unreadable(&error)),
        }
    }
}

fn routes() -> QueryRoutes<Rows> {
    QueryRoutes::new()
        .get("tally", "/v1/tallies/{id}", tally)
        .list("tallies", "/v1/tallies", tallies)
        .list_of("tallies_of_owner", "/v1/owners/{id}/tallies", tallies_of_owner)
        .history::<Tally>("tallies")
}

async fn tally(rows: Rows, id: Uuid) -> Result<Option<TallyView>, Problem> {
    Ok(rows.read()?.iter().find(|tally| tally.tally_id == id).cloned())
}

/// `?parity=even` or `odd`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByParity {
    parity: String,
}

async fn tallies(rows: Rows, page: PageRequest<ByParity>) -> Result<Page<TallyView>, Problem> {
    let odd = match page.parameters.parity.as_str() {
        "even" => 0,
        "odd" => 1,
        _ => return Err(malformed_parameter("parity", "must be even or odd")),
    };
    let of_parity = rows.read()?.iter().filter(|tally| tally.total % 2 == odd);
    page_of(of_parity.cloned().collect(), &page)
}

async fn tallies_of_owner(
    rows: Rows,
    owner: Uuid,
    page: PageRequest<NoParameters>,
) -> Result<Page<TallyView>, Problem> {
    let rows = rows.read()?;
    page_of(if owner == NOBODY { Vec::new() } else { rows.to_vec() }, &page)
}

/// The cursor is how many were given already.
fn page_of<P>(rows: Vec<TallyView>, page: &PageRequest<P>) -> Result<Page<TallyView>, Problem> {
    let given = page.cursor::<usize>()?.unwrap_or_default();
    let end = given + page.limit;
    let next = (rows.len() > end).then(|| end.to_string());
    let entries = rows.into_iter().skip(given).take(page.limit).collect();
    Ok(Page { name: "tallies", entries, next })
}

fn row(number: u64) -> TallyView {
    let tally_id = Uuid::from_u128(u128::from(number));
    TallyView { tally_id, total: number, at: Timestamp(0), version: number }
}

/// The routes over a database of their own.
struct Api {
    server: Server,
    session: Arc<Session>,
    settings: Settings,
    events: EventReader,
    router: Router,
    _directory: TempDir,
}

impl Api {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let server = Server::start(ServerConfig::ephemeral(directory.path())).await;
        let server = server.expect("the engine starts");
        let scylla = ScyllaConfig::at(server.address().to_string());
        let session = scylla.connect().await.expect("connect");
        let migrate = ApplyConfig {
            keyspace: KeyspaceConfig { replication_factor: 1, tablets: false },
            settings: SettingsConfig { slots: 4, safety_interval_ms: 10_000 },
            claim_timeout: Duration::from_secs(10),
        };
        let applied = apply(&session, "edge_test", &migrate, &[event_store::MIGRATIONS]).await;
        let session = Arc::new(session);
        let timeout = Duration::from_secs(10);
        let events = EventReader::open(Arc::clone(&session), timeout).await.expect("prepare");
        let router = over(Rows::default(), &events);
        let settings = applied.expect("migrate").settings;
        Self { server, session, settings, events, router, _directory: directory }
    }

    /// The same with these rows.
    fn with(mut self, rows: Rows) -> Self {
        self.router = over(rows, &self.events);
        self
    }

    async fn get(&self, path: &str) -> Answer {
        send(&self.router, Ask::get(path)).await
    }

    /// A representation that must be there.
    async fn ok(&self, path: &str) -> Answer {
        ok(&self.router, path).await
    }
}

fn over(rows: Rows, events: &EventReader) -> Router {
    let limits = QueryLimits { page_size: 3, page_size_max: 5, events_page_size_max: 4 };
    router(rows, events.clone(), &unhurried(), limits, breaker(), routes())
}
