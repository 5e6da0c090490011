//! SELECT: from names and terms to a plan.

use crate::ast;
use crate::error::{CqlError, Result};
use crate::plan::comparison::ColumnRef;
use crate::plan::restrictions::{Partitions, Purpose, Restrictions};
use crate::plan::selection::Selection;
use crate::plan::terms::{Expr, Scope};
use crate::plan::using::Timeout;
use crate::protocol::ColumnSpec;
use crate::schema::{ColumnKind, CqlType, Table};
use std::sync::Arc;

/// A SELECT, ready to be executed with values.
#[derive(Debug)]
pub(crate) struct SelectPlan {
    /// The table, as it was when the plan was made.
    pub(crate) table: Arc<Table>,
    /// What each row gives.
    pub(crate) selection: Selection,
    /// The columns of the result.
    pub(crate) columns: Arc<[ColumnSpec]>,
    /// Which rows.
    pub(crate) restrictions: Restrictions,
    /// Whether there is an ORDER BY.
    pub(crate) ordered: bool,
    /// Whether it reverses the clustering order.
    pub(crate) reversed: bool,
    /// One row per partition.
    pub(crate) distinct: bool,
    /// Whether static cells are selected or filtered by.
    pub(crate) needs_statics: bool,
    /// Over all pages.
    pub(crate) limit: Option<Expr>,
    /// For each partition.
    pub(crate) per_partition_limit: Option<Expr>,
    /// `USING TIMEOUT`, checked but without effect.
    pub(crate) timeout: Timeout,
}

impl SelectPlan {
    /// Resolves names, checks what ScyllaDB checks, declares markers.
    pub(crate) fn prepare(
        scope: &mut Scope<'_>,
        table: Arc<Table>,
        select: &ast::Select,
    ) -> Result<Self> {
        if !select.group_by.is_empty() {
            return Err(CqlError::invalid("GROUP BY is not supported"));
        }
        let selection = Selection::prepare(&table, select.selectors.as_deref(), select.json)?;
        let purpose = Purpose::Select { allow_filtering: select.allow_filtering };
        let restrictions = Restrictions::prepare(scope, &select.relations, purpose)?;
        if select.distinct {
            check_distinct(&table, &selection, &restrictions)?;
        }
        if restrictions.restricts_clustering && selects_only_statics(&selection) {
            return Err(CqlError::invalid(
                "Cannot restrict clustering columns when selecting only static columns",
            ));
        }
        let reversed = order(&table, &select.order_by, &restrictions)?;
        let per_partition_limit = select
            .per_partition_limit
            .as_ref()
            .map(|term| Expr::prepare(scope, term, "[per_partition_limit]", &CqlType::Int))
            .transpose()?;
        if per_partition_limit.is_some() && select.distinct {
            return Err(CqlError::invalid(
                "PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries",
            ));
        }
        if per_partition_limit.is_some() && selection.is_aggregate {
            return Err(CqlError::invalid(
                "PER PARTITION LIMIT is not allowed with aggregate queries.",
            ));
        }
        let limit = select
            .limit
            .as_ref()
            .map(|term| Expr::prepare(scope, term, "[limit]", &CqlType::Int))
            .transpose()?;
        let timeout = Timeout::prepare(scope, select.timeout.as_ref())?;
        let mut needs_statics = false;
        let mut visit = |column| needs_statics |= matches!(column, ColumnRef::Static(_));
        selection.visit(&mut visit);
        restrictions.filters.iter().for_each(|filter| visit(filter.column));
        Ok(Self {
            columns: selection.columns(&table),
            ordered: !select.order_by.is_empty(),
            distinct: select.distinct,
            table,
            selection,
            restrictions,
            reversed,
            needs_statics,
            limit,
            per_partition_limit,
            timeout,
        })
    }
}

fn check_distinct(table: &Table, selection: &Selection, restrictions: &Restrictions) -> Result<()> {
    let mut foreign = None;
    let mut partition = vec![false; table.partition_key_len];
    selection.visit(&mut |column| match column {
        ColumnRef::Partition(at) => partition[at] = true,
        ColumnRef::Static(_) => {}
        ColumnRef::Clustering(_) | ColumnRef::Regular(_) => foreign = foreign.or(Some(column)),
    });
    if let Some(foreign) = foreign {
        let name = table
            .columns
            .iter()
            .find(|column| ColumnRef::from(*column) == foreign)
            .map_or("", |column| column.name.as_str());
        return Err(CqlError::invalid(format!(
            "SELECT DISTINCT queries must only request partition key columns and/or static columns (not {name})"
        )));
    }
    if let Some(missing) = partition.iter().position(|selected| !selected)
        && matches!(restrictions.partitions, Partitions::Ring(_))
    {
        return Err(CqlError::invalid(format!(
            "SELECT DISTINCT queries must request all the partition key columns (missing {})",
            table.columns[missing].name
        )));
    }
    if restrictions.restricts_clustering {
        return Err(CqlError::invalid(
            "SELECT DISTINCT with WHERE clause only supports restriction by partition key and/or static columns.",
        ));
    }
    Ok(())
}

/// Static columns, and besides them at most the partition key.
fn selects_only_statics(selection: &Selection) -> bool {
    let (mut statics, mut others) = (false, false);
    selection.visit(&mut |column| match column {
        ColumnRef::Static(_) => statics = true,
        ColumnRef::Partition(_) => {}
        ColumnRef::Clustering(_) | ColumnRef::Regular(_) => others = true,
    });
    statics && !others
}

/// Whether the clustering order is to be reversed.
fn order(table: &Table, order_by: &[(String, bool)], restrictions: &Restrictions) -> Result<bool> {
    if order_by.is_empty() {
        return Ok(false);
    }
    if !matches!(restrictions.partitions, Partitions::Keys(_)) {
        return Err(CqlError::invalid(
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.",
        ));
    }
    let mut reversed = None;
    let mut expected = 0;
    for (name, descending) in order_by {
        let column = super::restrictions::find(table, name)?;
        if column.kind != ColumnKind::Clustering {
            return Err(CqlError::invalid(format!(
                "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got {name}"
            )));
        }
        // Columns that are fixed by the WHERE clause have no order of their own.
        while column.position > expected && expected < restrictions.clustering_fixed() {
            expected += 1;
        }
        if column.position != expected {
            return Err(CqlError::invalid(
                "Order by currently only support the ordering of columns following their declared order in the PRIMARY KEY",
            ));
        }
        expected += 1;
        let opposite = column.descending != *descending;
        if *reversed.get_or_insert(opposite) != opposite {
            return Err(CqlError::invalid(format!(
                "Unsupported order by relation - only reversing all columns is supported, but column {name} has opposite ordering"
            )));
        }
    }
    Ok(reversed.unwrap_or(false))
}
