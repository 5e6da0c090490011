//! Running SELECTs: which state they read, and on which thread.

use super::{Engine, is_serial};
use crate::error::{CqlError, Result};
use crate::execute::later::Ended;
use crate::execute::select::{BoundSelect, ResultLimits};
use crate::faults::{Asked, StatementKind, Touched};
use crate::plan::select::SelectPlan;
use crate::protocol::{QueryParams, Response, Rows, Value, consistency};
use crate::schema::{CqlType, Partitioner};
use crate::server::ConnectionContext;
use crate::storage::ReadRows;
use crate::system_tables::{Node, VirtualReader};
use crate::trace;
use crate::types::timeuuid;
use std::sync::Arc;
use uuid::Uuid;

impl Engine {
    pub(super) async fn select(
        &self,
        connection: &ConnectionContext,
        plan: &Arc<SelectPlan>,
        values: &[Value],
        params: &QueryParams,
    ) -> Result<Response> {
        check_consistency(params.consistency)?;
        let serial = is_serial(params.consistency);
        let table = &plan.table;
        let kind = if serial { "serial_select" } else { "select" };
        self.inner.metrics.request(kind, &table.keyspace, &table.name);
        let limits = ResultLimits {
            page_bytes: self.inner.config.page_bytes,
            unpaged_bytes: self.inner.config.unpaged_bytes_max,
        };
        let bound = BoundSelect::bind(plan, &self.bindings(values), params, limits)?;
        if serial {
            self.refuse_lwt_on_tablets(table)?;
        }
        if serial && !bound.is_single_partition() {
            return Err(CqlError::invalid(
                "SERIAL/LOCAL_SERIAL consistency may only be requested for one partition at a time",
            ));
        }
        let fault = {
            let table = Touched::from(&**table);
            self.inner.faults.take(StatementKind::Read, std::iter::once(table))
        };
        let asked = Asked { consistency: params.consistency, write_type: "SIMPLE" };
        trace::event(|| format!("Reading from {}.{}", table.keyspace, table.name));
        let run = async {
            if table.is_virtual {
                return bound.run(&self.virtual_reader(connection));
            }
            if serial {
                self.finish_put_off(&bound, plan).await?;
            }
            if table.partitioner == Partitioner::Cdc {
                self.raise_floor(&bound, plan).await;
            }
            self.read(bound).await
        };
        let rows = self.meet(fault, asked, run).await?;
        trace::event(|| format!("Read {} rows", rows.rows.len()));
        Ok(Response::Rows(rows))
    }

    /// Short reads run where they are; whatever may take long has a thread of its own.
    async fn read(&self, bound: BoundSelect) -> Result<Rows> {
        if bound.is_cheap() {
            return bound.run(&*self.inner.storage.view());
        }
        let permit = Arc::clone(&self.inner.scans).acquire_owned().await;
        let permit = permit.map_err(|_| CqlError::server("the engine has been closed"))?;
        let view = self.inner.storage.view();
        let scan = move || {
            let rows = bound.run(&*view);
            drop(permit);
            rows
        };
        tokio::task::spawn_blocking(scan)
            .await
            .map_err(|_| CqlError::server("internal error: the read ended in a panic"))?
    }

    /// A SERIAL read first finishes what was accepted before it.
    async fn finish_put_off(&self, bound: &BoundSelect, plan: &Arc<SelectPlan>) -> Result<()> {
        let Some(key) = bound.single_partition() else { return Ok(()) };
        if !self.inner.later.has(&plan.table, key) {
            return Ok(());
        }
        let later = Arc::clone(&self.inner.later);
        let (table, key) = (Arc::clone(&plan.table), key.clone());
        let mut ended = Ended::new(Arc::clone(&self.inner.faults));
        let touched = self.inner.storage.write(move |context| {
            later.touch(context, &mut ended, &table, &key)?;
            Ok(ended)
        });
        touched.await.map(drop)
    }

    /// No commit after a log read may get a timestamp within what was read.
    async fn raise_floor(&self, bound: &BoundSelect, plan: &SelectPlan) {
        let is_time = plan.table.clustering().first().is_some_and(|c| c.ty == CqlType::Timeuuid);
        if let Some(upper) = bound.upper_bound().filter(|_| is_time)
            && let Ok(time) = Uuid::from_slice(upper)
        {
            // One more: the bound itself may be within.
            let micros = timeuuid::micros(&time).saturating_add(1);
            self.inner.storage.raise_floor(micros).await;
        }
    }

    pub(super) fn virtual_reader(&self, connection: &ConnectionContext) -> VirtualReader {
        let config = &self.inner.config;
        let view = self.inner.storage.view();
        VirtualReader {
            catalog: Arc::clone(view.catalog()),
            node: Node {
                streams: Arc::clone(view.streams()),
                release: config.release,
                cassandra_version: config.cassandra_version.clone(),
                cluster_name: config.cluster_name.clone(),
                traces: Arc::clone(&self.inner.traces),
                rpc_address: config.rpc_address.unwrap_or(connection.local_address.ip()),
            },
            now_seconds: self.inner.clock.now_seconds(),
        }
    }
}

fn check_consistency(level: u16) -> Result<()> {
    match level {
        consistency::ANY => {
            Err(CqlError::invalid("ANY ConsistencyLevel is only supported for writes"))
        }
        consistency::EACH_QUORUM => {
            Err(CqlError::invalid("EACH_QUORUM ConsistencyLevel is only supported for writes"))
        }
        _ => Ok(()),
    }
}
