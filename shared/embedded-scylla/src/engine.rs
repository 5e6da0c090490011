//! The engine: statements in, answers out.
//!
//! [`Engine::prepare`] makes a plan of a text once; [`Engine::execute`], [`Engine::query`] and
//! [`Engine::batch`] run plans with values. Reads look at the last durable view, writes are jobs on
//! the commit thread. A plan whose table has changed is not used again: a prepared one is answered
//! with "unprepared", which makes the client prepare it anew.

mod config;
mod prepared;
mod read;
#[cfg(test)]
mod tests;
mod unkind;
mod write;

pub use config::EngineConfig;
pub use prepared::Prepared;
pub use unkind::Opened;

use crate::error::{CqlError, ErrorKind, Result};
use crate::execute::bindings;
use crate::execute::later::Later;
use crate::execute::modify::{check_tables, stale};
use crate::faults::Faults;
use crate::metrics::Metrics;
use crate::plan::terms::Bindings;
use crate::plan::{self, Plan, Planned};
use crate::protocol::{BatchRequest, QueryParams, Response, SchemaChange, Value, consistency};
use crate::schema::Catalog;
use crate::server::ConnectionContext;
use crate::storage::{Clock, ReadRows, Storage};
use crate::system_tables;
use crate::trace::{self, Trace, Traces};
use bytes::Bytes;
use prepared::Cache;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How often a statement is planned anew because its table changed between plan and commit.
const PLANS_MAX: usize = 3;

/// Schema changes that a slow listener may be behind.
const EVENTS_MAX: usize = 1024;

/// One node's database. Clones share it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// An engine that may be gone.
#[derive(Clone)]
pub(crate) struct WeakEngine {
    inner: Weak<Inner>,
}

impl WeakEngine {
    /// The engine, if it is still there.
    pub(crate) fn get(&self) -> Option<Engine> {
        self.inner.upgrade().map(|inner| Engine { inner })
    }
}

struct Inner {
    storage: Storage,
    clock: Clock,
    config: EngineConfig,
    metrics: Arc<Metrics>,
    faults: Arc<Faults>,
    later: Arc<Later>,
    /// Keeps LWTs that a fault put off until they are due.
    timers: TaskTracker,
    /// What clients asked to be traced.
    traces: Arc<Traces>,
    /// Permits for long reads.
    scans: Arc<Semaphore>,
    prepared: Mutex<Cache>,
    events: broadcast::Sender<SchemaChange>,
}

impl Engine {
    /// Opens or creates the data directory of a node.
    pub fn open(
        config: EngineConfig,
        metrics: Arc<Metrics>,
        faults: Arc<Faults>,
    ) -> anyhow::Result<Self> {
        let options = config.storage(Arc::clone(&faults));
        let clock = options.clock.clone();
        let bootstrap =
            |_: &_| Catalog { version: Uuid::new_v4(), next_storage_id: 1, ..Catalog::default() };
        let storage = Storage::open(&config.data_dir, options, Arc::clone(&metrics), bootstrap)?;
        let scans = Arc::new(Semaphore::new(config.scans_max.max(1)));
        let traces = Arc::new(Traces::new(config.traces_max));
        let prepared = Cache::new(config.prepared_max, config.prepared_bytes_max);
        let inner = Inner {
            storage,
            clock,
            config,
            metrics,
            faults,
            later: Arc::default(),
            timers: TaskTracker::new(),
            traces,
            scans,
            prepared: Mutex::new(prepared),
            events: broadcast::Sender::new(EVENTS_MAX),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// For those who must not keep the data directory open.
    pub(crate) fn downgrade(&self) -> WeakEngine {
        WeakEngine { inner: Arc::downgrade(&self.inner) }
    }

    /// Makes a plan of a text, or finds the one made before. The id depends on nothing but
    /// keyspace and text.
    pub fn prepare(&self, keyspace: Option<&str>, text: &str) -> Result<Arc<Prepared>> {
        self.inner.metrics.request("prepare", "", "");
        self.plan(keyspace, text, true)
    }

    /// Runs a statement that comes as text.
    pub async fn query(
        &self,
        connection: &ConnectionContext,
        text: &str,
        params: QueryParams,
    ) -> Result<Response> {
        let mut plans = 1;
        loop {
            let prepared = self.plan(connection.keyspace.as_deref(), text, false)?;
            match self.run(connection, &prepared, params.clone()).await {
                Err(error) if error == stale() && plans < PLANS_MAX => plans += 1,
                Err(error) if error == stale() => return Err(changing()),
                answer => return answer,
            }
        }
    }

    /// Runs a prepared statement; an id that is not known (any more) is `Unprepared`.
    pub async fn execute(
        &self,
        connection: &ConnectionContext,
        id: &Bytes,
        params: QueryParams,
    ) -> Result<Response> {
        let prepared = self.find(id)?;
        match self.run(connection, &prepared, params).await {
            Err(error) if error == stale() => Err(unprepared(id)),
            answer => answer,
        }
    }

    /// Runs a batch of prepared statements and texts, all or nothing.
    pub async fn batch(
        &self,
        connection: &ConnectionContext,
        request: BatchRequest,
    ) -> Result<Response> {
        let mut plans = 1;
        loop {
            match self.try_batch(connection, &request).await {
                // One of the statements was planned before a change and is found out next time.
                Err(error) if error == stale() && plans < PLANS_MAX => plans += 1,
                Err(error) if error == stale() => return Err(changing()),
                answer => return answer,
            }
        }
    }

    /// Begins the trace of a request.
    pub(crate) fn begin_trace(
        &self,
        connection: &ConnectionContext,
        request: trace::Request,
    ) -> Arc<Trace> {
        self.inner.traces.begin(connection, self.inner.clock.now_micros(), request)
    }

    /// Schema changes from now on.
    pub fn schema_events(&self) -> broadcast::Receiver<SchemaChange> {
        self.inner.events.subscribe()
    }

    /// Resolves when nothing can be written any more.
    pub async fn failed(&self) -> CqlError {
        self.inner.storage.failed().await
    }

    /// A current plan for a text; `keep` puts it among the prepared statements.
    fn plan(&self, keyspace: Option<&str>, text: &str, keep: bool) -> Result<Arc<Prepared>> {
        let id = prepared::id(keyspace, text);
        let view = self.inner.storage.view();
        let known = self.prepared().get(&id);
        if let Some(known) = known
            && known.is_of(keyspace, text)
            && known.is_current(view.catalog())
        {
            return Ok(known);
        }
        let bytes_max = self.inner.config.statement_bytes_max;
        if text.len() > bytes_max {
            return Err(CqlError::invalid(format!(
                "A statement may have at most {bytes_max} bytes (got {}); bind large values",
                text.len()
            )));
        }
        trace::event(|| "Parsing a statement".to_owned());
        let planned = plan::plan(view.catalog(), keyspace, text)?;
        let prepared = Arc::new(Prepared::new(id, keyspace, text, planned));
        if keep {
            self.prepared().insert(Arc::clone(&prepared));
        }
        Ok(prepared)
    }

    /// A prepared statement by id, as long as its tables are what they were.
    fn find(&self, id: &Bytes) -> Result<Arc<Prepared>> {
        let Some(known) = self.prepared().get(id) else { return Err(unprepared(id)) };
        let view = self.inner.storage.view();
        if known.is_current(view.catalog()) {
            return Ok(known);
        }
        // TRUNCATE changes where rows are, which is no reason to trouble clients.
        if known.differs_only_in_storage(view.catalog()) {
            return self.plan(known.keyspace(), known.text(), true);
        }
        self.prepared().remove(id);
        Err(unprepared(id))
    }

    fn prepared(&self) -> MutexGuard<'_, Cache> {
        self.inner.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(
        &self,
        connection: &ConnectionContext,
        prepared: &Prepared,
        mut params: QueryParams,
    ) -> Result<Response> {
        trace::statement(prepared.text());
        trace::event(|| "Processing a statement".to_owned());
        let Planned { plan, metadata } = prepared.planned();
        let values =
            std::mem::replace(&mut params.values, crate::protocol::Values::Positional(Vec::new()));
        let values = bindings::arrange(&metadata.markers, values)?;
        match plan {
            Plan::Select(select) => self.select(connection, select, &values, &params).await,
            Plan::Modify(modify) => self.modify(modify, &values, &params).await,
            Plan::Batch(batch) => self.text_batch(batch, &values, &params).await,
            Plan::Use(keyspace) => self.use_keyspace(keyspace),
            Plan::Describe(describe) => {
                self.inner.metrics.request("other", "", "");
                describe.run(&self.virtual_reader(connection)).map(Response::Rows)
            }
            Plan::Ddl(statement) => self.ddl(statement).await,
        }
    }

    fn use_keyspace(&self, keyspace: &str) -> Result<Response> {
        self.inner.metrics.request("other", "", "");
        let view = self.inner.storage.view();
        let exists = system_tables::keyspaces().contains_key(keyspace)
            || view.catalog().keyspaces.contains_key(keyspace);
        if !exists {
            return Err(CqlError::invalid(format!("Keyspace '{keyspace}' does not exist")));
        }
        Ok(Response::SetKeyspace(keyspace.to_owned()))
    }

    fn bindings<'a>(&self, values: &'a [Value]) -> Bindings<'a> {
        Bindings { values, now_micros: self.inner.clock.now_micros() }
    }
}

impl Prepared {
    /// Whether all tables are still those that the plan was made for.
    fn is_current(&self, catalog: &Catalog) -> bool {
        check_tables(catalog, self.planned().plan.tables()).is_ok()
    }
}

fn unprepared(id: &Bytes) -> CqlError {
    CqlError::new(
        ErrorKind::Unprepared { id: id.clone() },
        format!("No prepared statement with ID {} found.", crate::execute::functions::hex(id)),
    )
}

fn changing() -> CqlError {
    CqlError::server("the table is being changed again and again; try again")
}

/// `SERIAL` and `LOCAL_SERIAL`
fn is_serial(level: u16) -> bool {
    matches!(level, consistency::SERIAL | consistency::LOCAL_SERIAL)
}
