//! Running modifications, batches and DDL: jobs on the commit thread.

use super::{Engine, is_serial};
use crate::ast::Statement;
use crate::ddl::{self, Rules};
use crate::error::{CqlError, ErrorKind, Result};
use crate::execute::bindings::check_batched;
use crate::execute::later::{Ended, PutOff};
use crate::execute::lwt::{Lwt, Outcome};
use crate::execute::modify::{BoundModify, apply, check_tables, mutations};
use crate::faults::{Asked, Fault, StatementKind, Touched};
use crate::mutation::PartitionKey;
use crate::plan::conditions::CasResult;
use crate::plan::modify::{Kind, ModifyPlan};
use crate::plan::terms::Bindings;
use crate::plan::{BatchPlan, Plan, batch};
use crate::protocol::{
    BatchKind, BatchRequest, BatchStatement, QueryParams, Response, Rows, Value, consistency,
};
use crate::schema::{Partitioner, Table};
use crate::server::ConnectionContext;
use crate::storage::{ReadRows, WriteContext};
use crate::trace;
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

/// The parts of a request that writes look at.
#[derive(Debug, Clone, Copy)]
struct Levels {
    consistency: u16,
    serial: Option<u16>,
}

impl Engine {
    pub(super) async fn modify(
        &self,
        plan: &Arc<ModifyPlan>,
        values: &[Value],
        params: &QueryParams,
    ) -> Result<Response> {
        let levels = Levels { consistency: params.consistency, serial: params.serial_consistency };
        let kind = match (&plan.cas, plan.kind) {
            (Some(_), _) => "lwt",
            (None, Kind::Insert) => "insert",
            (None, Kind::Update) => "update",
            (None, Kind::Delete) => "delete",
        };
        self.inner.metrics.request(kind, &plan.table.keyspace, &plan.table.name);
        levels.check(plan.cas.is_some())?;
        let bound = vec![BoundModify::bind(plan, &self.bindings(values))?];
        match &plan.cas {
            Some(cas) => self.lwt(Lwt::new(bound, cas.clone())?, levels.serial).await,
            None => {
                let asked = Asked { consistency: levels.consistency, write_type: "SIMPLE" };
                self.write(bound, params.timestamp, StatementKind::Write, asked).await
            }
        }
    }

    pub(super) async fn text_batch(
        &self,
        plan: &BatchPlan,
        values: &[Value],
        params: &QueryParams,
    ) -> Result<Response> {
        let levels = Levels { consistency: params.consistency, serial: params.serial_consistency };
        let bindings = self.bindings(values);
        // For its checks; a batch itself has no TTL.
        plan.using.ttl(&bindings, 0)?;
        let timestamp = plan.using.timestamp(&bindings)?.or(params.timestamp);
        let bound = plan
            .statements
            .iter()
            .map(|statement| BoundModify::bind(statement, &bindings))
            .collect::<Result<_>>()?;
        self.run_batch(plan.kind, bound, plan.cas.as_ref(), timestamp, levels).await
    }

    /// One attempt at a protocol batch.
    pub(super) async fn try_batch(
        &self,
        connection: &ConnectionContext,
        request: &BatchRequest,
    ) -> Result<Response> {
        let levels =
            Levels { consistency: request.consistency, serial: request.serial_consistency };
        let now_micros = self.inner.clock.now_micros();
        let mut plans = Vec::with_capacity(request.statements.len());
        let mut bound = Vec::with_capacity(request.statements.len());
        for (statement, values) in &request.statements {
            let prepared = match statement {
                BatchStatement::Text(text) => {
                    self.plan(connection.keyspace.as_deref(), text, false)?
                }
                BatchStatement::Prepared(id) => self.find(id)?,
            };
            let Plan::Modify(plan) = &prepared.planned().plan else {
                return Err(CqlError::invalid(
                    "Invalid statement in batch: only UPDATE, INSERT and DELETE statements are allowed.",
                ));
            };
            check_batched(&prepared.metadata.markers, values)?;
            bound.push(BoundModify::bind(plan, &Bindings { values, now_micros })?);
            plans.push(Arc::clone(plan));
        }
        batch::check(request.kind, &plans, false)?;
        let cas = batch::cas_result(&plans);
        self.run_batch(request.kind, bound, cas.as_ref(), request.timestamp, levels).await
    }

    async fn run_batch(
        &self,
        kind: BatchKind,
        bound: Vec<BoundModify>,
        cas: Option<&CasResult>,
        timestamp: Option<i64>,
        levels: Levels,
    ) -> Result<Response> {
        let counted = if cas.is_some() { "lwt_batch" } else { "batch" };
        let first = bound.first().map(|statement| Arc::clone(&statement.plan.table));
        let (keyspace, table) =
            first.as_ref().map_or(("", ""), |table| (table.keyspace.as_str(), table.name.as_str()));
        self.inner.metrics.request(counted, keyspace, table);
        levels.check(cas.is_some())?;
        self.check_size(&bound)?;
        match cas {
            _ if bound.is_empty() => Ok(Response::Void),
            Some(cas) => self.lwt(Lwt::new(bound, cas.clone())?, levels.serial).await,
            None => {
                let write_type = match kind {
                    BatchKind::Unlogged => "UNLOGGED_BATCH",
                    BatchKind::Logged | BatchKind::Counter => "BATCH",
                };
                let asked = Asked { consistency: levels.consistency, write_type };
                self.write(bound, timestamp, StatementKind::Batch, asked).await
            }
        }
    }

    /// Large batches are refused when they touch several partitions.
    fn check_size(&self, statements: &[BoundModify]) -> Result<()> {
        let size: usize = statements.iter().map(BoundModify::size).sum();
        if size <= self.inner.config.batch_bytes_max {
            return Ok(());
        }
        let partitions: HashSet<(Uuid, &PartitionKey)> = statements
            .iter()
            .flat_map(|one| one.keys.iter().map(|key| (one.plan.table.id, key)))
            .collect();
        if partitions.len() > 1 {
            return Err(CqlError::invalid("Batch too large"));
        }
        Ok(())
    }

    async fn write(
        &self,
        statements: Vec<BoundModify>,
        timestamp: Option<i64>,
        kind: StatementKind,
        asked: Asked,
    ) -> Result<Response> {
        let fault = {
            let tables = statements.iter().map(|statement| Touched::from(&*statement.plan.table));
            self.inner.faults.take(kind, tables)
        };
        self.meet(fault, asked, self.run_write(statements, timestamp)).await
    }

    async fn run_write(
        &self,
        statements: Vec<BoundModify>,
        timestamp: Option<i64>,
    ) -> Result<Response> {
        let count = statements.len();
        let job = move |context: &mut WriteContext<'_>| {
            let tables = statements.iter().map(|statement| &statement.plan.table);
            check_tables(context.catalog(), tables)?;
            let changes = mutations(context, &statements, timestamp)?;
            apply(context, &changes)
        };
        trace::event(|| format!("Committing {count} statements"));
        self.inner.storage.write(job).await?;
        trace::event(|| "The commit is on disk".to_owned());
        Ok(Response::Void)
    }

    async fn lwt(&self, lwt: Lwt, serial: Option<u16>) -> Result<Response> {
        self.refuse_lwt_on_tablets(lwt.table())?;
        let fault = {
            let table = Touched::from(&**lwt.table());
            self.inner.faults.take(StatementKind::Lwt, std::iter::once(table))
        };
        let consistency = serial.unwrap_or(consistency::SERIAL);
        let asked = Asked { consistency, write_type: "CAS" };
        let Some(Fault::Later { answer, delay, on_touch }) = fault else {
            return self.meet(fault, asked, self.run_lwt(lwt)).await;
        };
        let put_off = PutOff::new(lwt);
        let waits = on_touch && self.inner.later.wait_for_touch(&put_off);
        if let Some(delay) = delay {
            // What still waits when the engine is dropped is lost.
            let inner = Arc::downgrade(&self.inner);
            let mut released = self.inner.faults.releases();
            self.inner.timers.spawn(async move {
                // An error means that the engine is gone; the next lines see that.
                let _ = tokio::time::timeout(delay, released.changed()).await;
                if let Some(inner) = inner.upgrade() {
                    Self { inner }.run_put_off(put_off).await;
                }
            });
        } else if !waits {
            self.run_put_off(put_off).await;
        }
        Err(answer.give(asked).await)
    }

    /// On tablets some releases have no LWTs at all, and in the others the log has no Paxos state of
    /// its own.
    pub(super) fn refuse_lwt_on_tablets(&self, table: &Table) -> Result<()> {
        let view = self.inner.storage.view();
        let keyspace = view.catalog().keyspaces.get(&table.keyspace);
        if keyspace.is_none_or(|keyspace| keyspace.tablets.is_none()) {
            return Ok(());
        }
        if self.inner.config.release.refuses_cdc_and_lwt_on_tablets() {
            return Err(CqlError::invalid("LWT is not yet supported with tablets"));
        }
        if table.partitioner == Partitioner::Cdc {
            return Err(CqlError::invalid(format!(
                "LWT is not supported on CDC log tables in keyspaces with tablets ({}.{})",
                table.keyspace, table.name
            )));
        }
        Ok(())
    }

    /// Runs a statement as its fault will have it; what runs later is for the caller.
    pub(super) async fn meet<T>(
        &self,
        fault: Option<Fault>,
        asked: Asked,
        run: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match fault {
            None | Some(Fault::Later { .. }) => run.await,
            Some(Fault::Late { delay }) => {
                let answer = run.await;
                tokio::time::sleep(delay).await;
                answer
            }
            Some(Fault::Applied { answer, delay }) => {
                run.await?;
                tokio::time::sleep(delay).await;
                Err(answer.give(asked).await)
            }
            Some(Fault::Never { answer, delay }) => {
                tokio::time::sleep(delay).await;
                Err(answer.give(asked).await)
            }
        }
    }

    async fn run_lwt(&self, lwt: Lwt) -> Result<Response> {
        let later = Arc::clone(&self.inner.later);
        let mut ended = Ended::new(Arc::clone(&self.inner.faults));
        let columns = Arc::clone(&lwt.cas().columns);
        let outcome = self.inner.storage.write(move |context| {
            later.touch(context, &mut ended, lwt.table(), lwt.key())?;
            Ok((lwt.run(context)?, ended))
        });
        trace::event(|| "Committing if the conditions hold".to_owned());
        let Outcome { rows, .. } = outcome.await?.0?;
        trace::event(|| "What was seen and done is on disk".to_owned());
        Ok(Response::Rows(Rows { columns, rows, paging_state: None }))
    }

    async fn run_put_off(&self, put_off: Arc<PutOff>) {
        let mut ended = Ended::new(Arc::clone(&self.inner.faults));
        let run = move |context: &mut WriteContext<'_>| {
            put_off.run(context, &mut ended)?;
            Ok(ended)
        };
        if let Err(error) = self.inner.storage.write(run).await {
            tracing::error!(%error, "an LWT that was put off could not be run");
        }
    }

    pub(super) async fn ddl(&self, statement: &Arc<Statement>) -> Result<Response> {
        let kind = match &**statement {
            Statement::Truncate { .. } => "truncate",
            _ => "ddl",
        };
        self.inner.metrics.request(kind, "", "");
        let statement = Arc::clone(statement);
        let config = &self.inner.config;
        let rules = Rules {
            release: config.release,
            tablets_enforced: config.tablets_enforced,
            tablets_per_table: config.tablets_per_table,
        };
        let run = move |context: &mut WriteContext<'_>| ddl::run(context, &statement, rules);
        trace::event(|| "Changing the schema".to_owned());
        let changes = self.inner.storage.write(run).await?;
        let mut changes = changes.into_iter();
        let Some(first) = changes.next() else { return Ok(Response::Void) };
        for change in std::iter::once(first.clone()).chain(changes) {
            // Nobody may be listening.
            let _ = self.inner.events.send(change);
        }
        Ok(Response::SchemaChange(first))
    }
}

impl Levels {
    /// Which levels a write may have.
    fn check(self, conditional: bool) -> Result<()> {
        let name = match self.consistency {
            consistency::SERIAL => "SERIAL",
            _ => "LOCAL_SERIAL",
        };
        if is_serial(self.consistency) {
            return Err(CqlError::invalid(if conditional {
                format!(
                    "{name} is not supported as conditional update commit consistency. Use ANY if you mean \"make sure it is accepted but I don't care how many replicas commit it for non-SERIAL reads\""
                )
            } else {
                "You must use conditional updates for serializable writes".to_owned()
            }));
        }
        if conditional && !is_serial(self.serial.unwrap_or(consistency::SERIAL)) {
            return Err(CqlError::new(
                ErrorKind::Invalid,
                "Invalid consistency for conditional update. Must be one of SERIAL or LOCAL_SERIAL",
            ));
        }
        Ok(())
    }
}
