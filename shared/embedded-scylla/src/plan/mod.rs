//! From a statement's text to a plan: names resolved, types known, nothing left to look up.
//!
//! | file | subject |
//! | --- | --- |
//! | `terms`, `markers`, `functions` | values in the making, bind markers, functions by name |
//! | `comparison`, `restrictions` | `WHERE`: partitions, slices, filters |
//! | `selection`, `select` | SELECT |
//! | `conditions`, `using`, `modify` | INSERT, UPDATE, DELETE |
//! | `batch` | BATCH |
//!
//! A plan holds the tables it was made for; whoever executes it checks that they are still the
//! same.

pub(crate) mod batch;
pub(crate) mod comparison;
pub(crate) mod conditions;
pub(crate) mod functions;
mod markers;
pub(crate) mod modify;
pub(crate) mod restrictions;
pub(crate) mod select;
pub(crate) mod selection;
pub(crate) mod terms;
pub(crate) mod using;

use crate::ast::{self, Statement, TableName};
use crate::describe::DescribePlan;
use crate::error::{CqlError, Result};
use crate::parser;
use crate::protocol::{ColumnSpec, PreparedMetadata};
use crate::schema::{Catalog, Table};
use crate::system_tables;
use conditions::CasResult;
use markers::Markers;
use modify::ModifyPlan;
use select::SelectPlan;
use std::sync::Arc;
use terms::Scope;

/// As many statements as a BATCH frame can name.
const STATEMENTS_MAX: usize = 65_535;

/// A statement, ready to be executed with values.
#[derive(Debug)]
pub(crate) enum Plan {
    /// A query.
    Select(Arc<SelectPlan>),
    /// One modification.
    Modify(Arc<ModifyPlan>),
    /// Several.
    Batch(Arc<BatchPlan>),
    /// `USE`
    Use(String),
    /// `DESCRIBE`
    Describe(DescribePlan),
    /// DDL and TRUNCATE: resolved when it is executed, on the commit thread.
    Ddl(Arc<Statement>),
}

/// A batch that came as text.
#[derive(Debug)]
pub(crate) struct BatchPlan {
    /// Logged or not.
    pub(crate) kind: crate::protocol::BatchKind,
    /// In order.
    pub(crate) statements: Vec<Arc<ModifyPlan>>,
    /// Of the batch as a whole.
    pub(crate) using: using::Using,
    /// What a conditional batch answers with.
    pub(crate) cas: Option<CasResult>,
}

/// A plan with what PREPARE says of it.
#[derive(Debug)]
pub(crate) struct Planned {
    /// What to do.
    pub(crate) plan: Plan,
    /// Markers and result columns.
    pub(crate) metadata: PreparedMetadata,
}

/// Parses and plans one statement for a connection that uses `keyspace`.
pub(crate) fn plan(catalog: &Catalog, keyspace: Option<&str>, text: &str) -> Result<Planned> {
    let parsed = parser::parse(text)?;
    let mut planner = Planner { catalog, keyspace, markers: Markers::new(parsed.markers) };
    let plan = planner.statement(parsed.statement)?;
    let metadata = metadata(&plan, planner.markers)?;
    Ok(Planned { plan, metadata })
}

impl Plan {
    /// The tables that the plan was made for.
    pub(crate) fn tables(&self) -> Vec<&Arc<Table>> {
        match self {
            Self::Select(select) => vec![&select.table],
            Self::Modify(modify) => vec![&modify.table],
            Self::Batch(batch) => {
                batch.statements.iter().map(|statement| &statement.table).collect()
            }
            Self::Use(_) | Self::Describe(_) | Self::Ddl(_) => Vec::new(),
        }
    }

    fn cas(&self) -> Option<&CasResult> {
        match self {
            Self::Modify(modify) => modify.cas.as_ref(),
            Self::Batch(batch) => batch.cas.as_ref(),
            Self::Select(_) | Self::Use(_) | Self::Describe(_) | Self::Ddl(_) => None,
        }
    }
}

struct Planner<'a> {
    catalog: &'a Catalog,
    keyspace: Option<&'a str>,
    markers: Markers,
}

impl Planner<'_> {
    fn statement(&mut self, statement: Statement) -> Result<Plan> {
        match statement {
            Statement::Select(select) => {
                let table = find_table(self.catalog, self.keyspace, &select.table)?;
                let mut scope = Scope { table: &table, markers: &mut self.markers };
                let plan = SelectPlan::prepare(&mut scope, table.clone(), &select)?;
                Ok(Plan::Select(Arc::new(plan)))
            }
            Statement::Modify(modify) => self.modify(&modify).map(Plan::Modify),
            Statement::Batch(batch) => self.batch(batch),
            Statement::Use(keyspace) => Ok(Plan::Use(keyspace)),
            Statement::Describe(describe) => {
                Ok(Plan::Describe(DescribePlan::new(describe, self.keyspace)))
            }
            Statement::Unsupported(what) => Err(CqlError::invalid(what)),
            ddl => {
                if self.markers.len() > 0 {
                    return Err(CqlError::invalid("Bind variables are not allowed in DDL"));
                }
                Ok(Plan::Ddl(Arc::new(qualify(ddl, self.keyspace)?)))
            }
        }
    }

    fn modify(&mut self, modify: &ast::Modify) -> Result<Arc<ModifyPlan>> {
        let (ast::Modify::Insert { table, .. }
        | ast::Modify::Update { table, .. }
        | ast::Modify::Delete { table, .. }) = modify;
        let table = find_table(self.catalog, self.keyspace, table)?;
        let mut scope = Scope { table: &table, markers: &mut self.markers };
        ModifyPlan::prepare(&mut scope, table.clone(), modify).map(Arc::new)
    }

    fn batch(&mut self, batch: ast::Batch) -> Result<Plan> {
        if batch.statements.len() > STATEMENTS_MAX {
            return Err(CqlError::invalid(format!(
                "A batch may have at most {STATEMENTS_MAX} statements"
            )));
        }
        let statements: Vec<Arc<ModifyPlan>> = batch
            .statements
            .iter()
            .map(|statement| self.modify(statement))
            .collect::<Result<_>>()?;
        // Markers of the clause are told apart by name only, so any table will do.
        let nowhere;
        let table = match statements.first() {
            Some(statement) => &statement.table,
            None => {
                nowhere = system_tables::placeholder();
                &nowhere
            }
        };
        let mut scope = Scope { table, markers: &mut self.markers };
        let using = using::Using::prepare(&mut scope, &batch.using)?;
        if using.has_ttl() {
            return Err(CqlError::invalid("Global TTL on the BATCH statement is not supported."));
        }
        batch::check(batch.kind, &statements, using.has_timestamp())?;
        let cas = batch::cas_result(&statements);
        Ok(Plan::Batch(Arc::new(BatchPlan { kind: batch.kind, statements, using, cas })))
    }
}

/// A table by name, with the connection's keyspace where none is given.
pub(crate) fn find_table(
    catalog: &Catalog,
    keyspace: Option<&str>,
    name: &TableName,
) -> Result<Arc<Table>> {
    let keyspace = keyspace_of(name, keyspace)?;
    let system = system_tables::keyspaces().get(keyspace);
    let Some(keyspace) = system.or_else(|| catalog.keyspaces.get(keyspace)) else {
        return Err(CqlError::invalid(format!("Keyspace {keyspace} does not exist")));
    };
    let table = keyspace.tables.get(&name.name);
    table.cloned().ok_or_else(|| CqlError::invalid(format!("unconfigured table {}", name.name)))
}

fn keyspace_of<'a>(name: &'a TableName, keyspace: Option<&'a str>) -> Result<&'a str> {
    name.keyspace.as_deref().or(keyspace).ok_or_else(|| {
        CqlError::invalid(
            "No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename",
        )
    })
}

/// Writes the connection's keyspace into the table names of DDL.
fn qualify(mut statement: Statement, keyspace: Option<&str>) -> Result<Statement> {
    let name = match &mut statement {
        Statement::CreateTable(create) => Some(&mut create.table),
        Statement::AlterTable { table, .. }
        | Statement::DropTable { table, .. }
        | Statement::Truncate { table } => Some(table),
        _ => None,
    };
    if let Some(name) = name {
        name.keyspace = Some(keyspace_of(name, keyspace)?.to_owned());
    }
    Ok(statement)
}

fn metadata(plan: &Plan, markers: Markers) -> Result<PreparedMetadata> {
    let restrictions = match plan {
        Plan::Select(select) => Some(&select.restrictions),
        Plan::Modify(modify) => Some(&modify.restrictions),
        Plan::Batch(_) | Plan::Use(_) | Plan::Describe(_) | Plan::Ddl(_) => None,
    };
    let indexes = restrictions.and_then(|restrictions| restrictions.partition_markers());
    let partition_key_indexes = indexes
        .unwrap_or_default()
        .into_iter()
        .map(|index| u16::try_from(index).map_err(|_| CqlError::invalid("Too many markers(?)")))
        .collect::<Result<_>>()?;
    let columns: Arc<[ColumnSpec]> = match plan {
        Plan::Select(select) => select.columns.clone(),
        Plan::Describe(describe) => Arc::clone(&describe.columns),
        _ => plan.cas().map_or_else(|| Arc::from([]), |cas| cas.columns.clone()),
    };
    Ok(PreparedMetadata {
        markers: markers.finish()?,
        partition_key_indexes,
        columns,
        is_lwt: plan.cas().is_some(),
    })
}
