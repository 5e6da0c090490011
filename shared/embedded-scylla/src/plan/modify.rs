//! INSERT, UPDATE and DELETE: from names and terms to a plan.

use crate::ast::{self, Assignment, Operand, Operator, Relation, Term};
use crate::error::{CqlError, Result};
use crate::plan::comparison::symbol;
use crate::plan::conditions::{CasResult, Condition};
use crate::plan::restrictions::{Purpose, Restrictions, check_count};
use crate::plan::terms::{Expr, Scope};
use crate::plan::using::Using;
use crate::schema::{Column, ColumnId, ColumnKind, Table};
use std::sync::Arc;

/// Which of the three statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Writes a row marker.
    Insert,
    /// Writes cells only.
    Update,
    /// Writes tombstones.
    Delete,
}

/// A modification, ready to be executed with values.
#[derive(Debug)]
pub(crate) struct ModifyPlan {
    /// The table, as it was when the plan was made.
    pub(crate) table: Arc<Table>,
    /// Which statement.
    pub(crate) kind: Kind,
    /// The partitions and rows it changes.
    pub(crate) restrictions: Restrictions,
    /// It names no row: only the static cells of its partitions are concerned.
    pub(crate) static_row: bool,
    /// Cells to write; for DELETE the terms are null.
    pub(crate) cells: Vec<CellPlan>,
    /// TTL and timestamp.
    pub(crate) using: Using,
    /// The `IF` clause.
    pub(crate) condition: Option<Condition>,
    /// What a conditional statement answers with.
    pub(crate) cas: Option<CasResult>,
}

/// One cell to write.
#[derive(Debug)]
pub(crate) struct CellPlan {
    /// The column.
    pub(crate) column: ColumnId,
    /// Whether it is static.
    pub(crate) is_static: bool,
    /// Its new value.
    pub(crate) value: Expr,
}

impl CellPlan {
    fn new(column: &Column, value: Expr) -> Self {
        let is_static = column.kind == ColumnKind::Static;
        Self { column: column.id, is_static, value }
    }
}

impl ModifyPlan {
    /// Resolves names, checks what ScyllaDB checks, declares markers.
    pub(crate) fn prepare(
        scope: &mut Scope<'_>,
        table: Arc<Table>,
        modify: &ast::Modify,
    ) -> Result<Self> {
        if table.is_virtual {
            return Err(CqlError::invalid(format!(
                "Table {}.{} cannot be modified",
                table.keyspace, table.name
            )));
        }
        let plan = match modify {
            ast::Modify::Insert { columns, values, if_not_exists, using, .. } => {
                let condition =
                    if *if_not_exists { ast::Condition::NotExists } else { ast::Condition::None };
                Self::insert(scope, table, columns, values, using, &condition)?
            }
            ast::Modify::Update { using, assignments, relations, condition, .. } => {
                let using = Using::prepare(scope, using)?;
                let cells = assigned(scope, assignments)?;
                Self::located(scope, table, Kind::Update, using, cells, relations, condition)?
            }
            ast::Modify::Delete { columns, using, relations, condition, .. } => {
                let using = Using::prepare(scope, using)?;
                if using.has_ttl() {
                    return Err(CqlError::invalid("Cannot set a TTL on a DELETE statement"));
                }
                let cells = deleted(&table, columns)?;
                Self::located(scope, table, Kind::Delete, using, cells, relations, condition)?
            }
        };
        if plan.condition.is_some() {
            plan.check_conditional()?;
        }
        Ok(plan)
    }

    fn insert(
        scope: &mut Scope<'_>,
        table: Arc<Table>,
        columns: &[String],
        values: &[Term],
        using: &ast::Using,
        condition: &ast::Condition,
    ) -> Result<Self> {
        if columns.len() != values.len() {
            return Err(CqlError::invalid("Unmatched column names/values"));
        }
        let mut relations = Vec::new();
        let mut cells = Vec::new();
        for (at, (name, term)) in columns.iter().zip(values).enumerate() {
            let column = identified(&table, name)?;
            if columns[..at].contains(name) {
                return Err(CqlError::invalid(format!(
                    "Multiple definitions found for column {name}"
                )));
            }
            match column.kind {
                ColumnKind::PartitionKey | ColumnKind::Clustering => {
                    relations.push(Relation::Column {
                        column: name.clone(),
                        operator: Operator::Eq,
                        operand: Operand::Term(term.clone()),
                    });
                }
                ColumnKind::Static | ColumnKind::Regular => {
                    let value = Expr::prepare(scope, term, name, &column.ty)?;
                    cells.push(CellPlan::new(column, value));
                }
            }
        }
        let using = Using::prepare(scope, using)?;
        Self::located(scope, table, Kind::Insert, using, cells, &relations, condition)
    }

    fn located(
        scope: &mut Scope<'_>,
        table: Arc<Table>,
        kind: Kind,
        using: Using,
        cells: Vec<CellPlan>,
        relations: &[Relation],
        condition: &ast::Condition,
    ) -> Result<Self> {
        let restrictions = Restrictions::prepare(scope, relations, Purpose::Modify)?;
        let condition = Condition::prepare(scope, condition)?;
        if condition.is_some() && using.has_timestamp() {
            return Err(CqlError::invalid(
                "Cannot provide custom timestamp for conditional updates",
            ));
        }
        let only_statics = !cells.is_empty() && cells.iter().all(|cell| cell.is_static);
        let static_row = only_statics && !restrictions.restricts_clustering;
        let cas =
            condition.as_ref().map(|given| CasResult::new(&table, std::iter::once(given), false));
        let plan = Self { table, kind, restrictions, static_row, cells, using, condition, cas };
        plan.check_rows(relations, only_statics)?;
        Ok(plan)
    }

    /// The rows must be named exactly, except where a DELETE may name ranges.
    fn check_rows(&self, relations: &[Relation], only_statics: bool) -> Result<()> {
        let fixed = self.restrictions.clustering_fixed();
        let missing = self.table.clustering().get(fixed);
        let reads_rows = self.condition.as_ref().is_some_and(|condition| {
            !(condition.compares_only_statics() || condition.is_existence() && self.static_row)
        });
        if only_statics && !self.static_row && self.kind != Kind::Insert && !reads_rows {
            return Err(CqlError::invalid(format!(
                "Invalid restrictions on clustering columns since the {} statement modifies only static columns",
                if self.kind == Kind::Update { "UPDATE" } else { "DELETE" }
            )));
        }
        let Some(missing) = missing else { return Ok(()) };
        if self.static_row && !reads_rows {
            return Ok(());
        }
        if self.kind == Kind::Delete {
            if self.condition.is_some() {
                let what = if self.static_row { "use IF condition on" } else { "delete" };
                return Err(CqlError::invalid(format!(
                    "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to {what} non static columns"
                )));
            }
            return match self.cells.iter().find(|cell| !cell.is_static) {
                None => Ok(()),
                Some(_) if fixed < self.restrictions.clustering.len() => {
                    Err(CqlError::invalid("Range deletions are not supported for specific columns"))
                }
                Some(cell) => Err(CqlError::invalid(format!(
                    "Primary key column '{}' must be specified in order to modify column '{}'",
                    missing.name,
                    self.table
                        .columns
                        .iter()
                        .find(|column| column.id == cell.column)
                        .map_or("", |column| &column.name),
                ))),
            };
        }
        match slice_relation(&self.table, relations) {
            Some(text) => {
                Err(CqlError::invalid(format!("Invalid operator in where clause ({text})")))
            }
            None => Err(CqlError::invalid(format!(
                "Missing mandatory PRIMARY KEY part {}",
                missing.name
            ))),
        }
    }

    fn check_conditional(&self) -> Result<()> {
        let what = if self.kind == Kind::Delete { "deletions" } else { "updates" };
        if self.restrictions.has_partition_in() {
            return Err(CqlError::invalid(format!(
                "IN on the partition key is not supported with conditional {what}"
            )));
        }
        Ok(())
    }

    /// `(NOT) EXISTS` of a statement without clustering restriction, or a condition on statics:
    /// a partition without live static cells counts as no row.
    pub(crate) fn checks_only_statics(&self) -> bool {
        self.condition.as_ref().is_some_and(|condition| {
            condition.compares_only_statics() || (condition.is_existence() && self.static_row)
        })
    }

    /// Whether the row that the statement names is read before conditions are checked.
    pub(crate) fn reads_row(&self) -> bool {
        self.condition.is_some() && !self.checks_only_statics()
    }
}

fn identified<'a>(table: &'a Table, name: &str) -> Result<&'a Column> {
    table.column(name).ok_or_else(|| CqlError::invalid(format!("Unknown identifier {name}")))
}

fn assigned(scope: &mut Scope<'_>, assignments: &[(String, Assignment)]) -> Result<Vec<CellPlan>> {
    let table = scope.table;
    let mut cells: Vec<CellPlan> = Vec::with_capacity(assignments.len());
    for (name, assignment) in assignments {
        let column = identified(table, name)?;
        if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
            return Err(CqlError::invalid(format!("PRIMARY KEY part {name} found in SET part")));
        }
        if cells.iter().any(|cell| cell.column == column.id) {
            return Err(CqlError::invalid(format!(
                "Multiple incompatible setting of column {name}"
            )));
        }
        let value = match assignment {
            Assignment::Set(term) => Expr::prepare(scope, term, name, &column.ty)?,
            Assignment::Arithmetic(operator, term) => {
                let what = if column.ty.is_collection_or_tuple() {
                    "frozen collection"
                } else {
                    "non counter"
                };
                return Err(CqlError::invalid(format!(
                    "Invalid operation ({name} = {name} {operator} {term}) for {what} column {name}"
                )));
            }
            Assignment::Element => {
                return Err(CqlError::invalid(format!(
                    "Invalid operation on an element of {name}, which is not a non-frozen collection"
                )));
            }
        };
        cells.push(CellPlan::new(column, value));
    }
    Ok(cells)
}

fn deleted(table: &Table, names: &[String]) -> Result<Vec<CellPlan>> {
    check_count("columns", names.len())?;
    names
        .iter()
        .map(|name| {
            let column = identified(table, name)?;
            if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
                return Err(CqlError::invalid(format!(
                    "Invalid identifier {name} for deletion (should not be a PRIMARY KEY part)"
                )));
            }
            Ok(CellPlan::new(column, Expr::Null))
        })
        .collect()
}

/// The first slice of a clustering column, as it was written.
fn slice_relation(table: &Table, relations: &[Relation]) -> Option<String> {
    relations.iter().find_map(|relation| match relation {
        Relation::Column { column, operator, operand: Operand::Term(term) }
            if !matches!(operator, Operator::Eq | Operator::In)
                && table.column(column)?.kind == ColumnKind::Clustering =>
        {
            Some(format!("{column} {} {term}", symbol(*operator)))
        }
        _ => None,
    })
}
