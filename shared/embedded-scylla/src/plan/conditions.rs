//! The `IF` clause.

use crate::ast::{self, Operator};
use crate::error::{CqlError, Result};
use crate::plan::comparison::{ColumnRef, Comparison};
use crate::plan::restrictions::{check_count, find};
use crate::plan::selection::spec;
use crate::plan::terms::Scope;
use crate::protocol::ColumnSpec;
use crate::schema::{ColumnKind, CqlType, Table};
use std::collections::HashSet;
use std::sync::Arc;

/// What must hold of the old row.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// `IF EXISTS`
    Exists,
    /// `IF NOT EXISTS`
    NotExists,
    /// `IF c = 1 AND …`
    Columns(Vec<Comparison>),
}

impl Condition {
    /// Prepares the clause; `None` when there is none.
    pub(crate) fn prepare(
        scope: &mut Scope<'_>,
        condition: &ast::Condition,
    ) -> Result<Option<Self>> {
        Ok(match condition {
            ast::Condition::None => None,
            ast::Condition::Exists => Some(Self::Exists),
            ast::Condition::NotExists => Some(Self::NotExists),
            ast::Condition::Columns(conditions) => {
                check_count("conditions", conditions.len())?;
                let comparisons: Result<_> = conditions
                    .iter()
                    .map(|condition| {
                        let column = find(scope.table, &condition.column)?;
                        if ColumnRef::from(column).is_key() {
                            return Err(CqlError::invalid(format!(
                                "PRIMARY KEY column '{}' cannot have IF conditions",
                                column.name
                            )));
                        }
                        if condition.operator == Operator::Like {
                            return Err(CqlError::invalid(
                                "LIKE is not supported in IF conditions",
                            ));
                        }
                        Comparison::prepare(scope, column, condition.operator, &condition.operand)
                    })
                    .collect();
                Some(Self::Columns(comparisons?))
            }
        })
    }

    /// `IF EXISTS` and `IF NOT EXISTS`
    pub(crate) fn is_existence(&self) -> bool {
        matches!(self, Self::Exists | Self::NotExists)
    }

    /// Whether only static columns are compared.
    pub(crate) fn compares_only_statics(&self) -> bool {
        match self {
            Self::Exists | Self::NotExists => false,
            Self::Columns(comparisons) => comparisons
                .iter()
                .all(|comparison| matches!(comparison.column, ColumnRef::Static(_))),
        }
    }
}

/// The columns of a conditional request's answer.
#[derive(Debug, Clone)]
pub(crate) struct CasResult {
    /// `[applied]`, then those of `shown`.
    pub(crate) columns: Arc<[ColumnSpec]>,
    /// Which of the old row's values follow `[applied]`.
    pub(crate) shown: Vec<ColumnRef>,
}

impl CasResult {
    /// For these conditions; in a batch the key is always shown.
    pub(crate) fn new<'a>(
        table: &Table,
        conditions: impl Iterator<Item = &'a Condition>,
        batch: bool,
    ) -> Self {
        let mut all = false;
        let mut compared = HashSet::new();
        for condition in conditions {
            match condition {
                Condition::Exists | Condition::NotExists => all = true,
                Condition::Columns(comparisons) => {
                    compared.extend(comparisons.iter().map(|comparison| comparison.column));
                }
            }
        }
        let mut columns = vec![spec(table, "[applied]", CqlType::Boolean)];
        let mut shown = Vec::new();
        for column in &table.columns {
            let place = ColumnRef::from(column);
            let is_key = matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering);
            if all || (batch && is_key) || compared.contains(&place) {
                columns.push(spec(table, &column.name, column.ty.clone()));
                shown.push(place);
            }
        }
        Self { columns: columns.into(), shown }
    }
}
