//! INSERT, UPDATE and DELETE: values bound outside of the commit thread, mutations made on it.

use crate::cdc;
use crate::error::{CqlError, ErrorKind, Result};
use crate::execute::compare::BoundComparison;
use crate::execute::keys::{self, Nulls, Source};
use crate::execute::slices;
use crate::mutation::{
    Cell, ClusteringKey, Expiry, Marker, Mutation, PartitionKey, RangeTombstone, RowChange, Slice,
    Tombstone, compare_clustering,
};
use crate::plan::conditions::Condition;
use crate::plan::modify::{Kind, ModifyPlan};
use crate::plan::terms::Bindings;
use crate::protocol::Value;
use crate::schema::{Catalog, ColumnId, Table};
use crate::storage::{ReadRows, WriteContext};
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

/// A modification with its values.
#[derive(Debug)]
pub(crate) struct BoundModify {
    /// What it was made from.
    pub(crate) plan: Arc<ModifyPlan>,
    /// The partitions.
    pub(crate) keys: Vec<PartitionKey>,
    /// What of them.
    pub(crate) target: Target,
    cells: Vec<BoundCell>,
    ttl: u32,
    /// `USING TIMESTAMP`
    timestamp: Option<i64>,
    /// The `IF` clause.
    pub(crate) condition: Option<BoundCondition>,
}

/// Which part of a partition a statement names.
#[derive(Debug)]
pub(crate) enum Target {
    /// Its static cells.
    Static,
    /// These rows.
    Rows(Vec<ClusteringKey>),
    /// All rows in these slices.
    Ranges(Vec<Slice>),
    /// All of it.
    Partition,
}

#[derive(Debug)]
struct BoundCell {
    column: ColumnId,
    is_static: bool,
    value: Option<Bytes>,
}

/// A condition with its values.
#[derive(Debug)]
pub(crate) enum BoundCondition {
    /// `IF EXISTS`
    Exists,
    /// `IF NOT EXISTS`
    NotExists,
    /// All of these.
    Columns(Vec<BoundComparison>),
}

impl BoundModify {
    /// Evaluates all terms of the statement and checks keys, TTL and timestamp.
    pub(crate) fn bind(plan: &Arc<ModifyPlan>, bindings: &Bindings<'_>) -> Result<Self> {
        let table = &plan.table;
        let restrictions = &plan.restrictions;
        let Source::Keys(keys) =
            keys::source(table, &restrictions.partitions, bindings, Nulls::Refused)?
        else {
            return Err(CqlError::server("a modification without partition key"));
        };
        let target = target(plan, bindings)?;
        let mut cells = Vec::with_capacity(plan.cells.len());
        for cell in &plan.cells {
            let value = match cell.value.evaluate(bindings)? {
                Value::Bytes(bytes) => Some(bytes),
                Value::Null => None,
                Value::Unset => continue,
            };
            cells.push(BoundCell { column: cell.column, is_static: cell.is_static, value });
        }
        let condition = match &plan.condition {
            None => None,
            Some(Condition::Exists) => Some(BoundCondition::Exists),
            Some(Condition::NotExists) => Some(BoundCondition::NotExists),
            Some(Condition::Columns(comparisons)) => Some(BoundCondition::Columns(
                comparisons
                    .iter()
                    .map(|comparison| BoundComparison::bind_condition(comparison, bindings))
                    .collect::<Result<_>>()?,
            )),
        };
        let bound = Self {
            keys,
            target,
            cells,
            ttl: plan.using.ttl(bindings, table.default_time_to_live)?,
            timestamp: plan.using.timestamp(bindings)?,
            condition,
            plan: plan.clone(),
        };
        if bound.condition.is_some() {
            bound.check_conditional()?;
        }
        Ok(bound)
    }

    fn check_conditional(&self) -> Result<()> {
        if self.keys.is_empty() {
            return Err(CqlError::invalid("Unrestricted partition key in a conditional update"));
        }
        match &self.target {
            Target::Rows(rows) if rows.is_empty() => {
                Err(CqlError::invalid("Unrestricted clustering key in a conditional update"))
            }
            Target::Rows(rows) if rows.len() > 1 => Err(CqlError::invalid(format!(
                "IN on the clustering key columns is not supported with conditional {}",
                if self.plan.kind == Kind::Delete { "deletions" } else { "updates" }
            ))),
            _ => Ok(()),
        }
    }

    /// About how many bytes it writes.
    pub(crate) fn size(&self) -> usize {
        let cells: usize =
            self.cells.iter().map(|cell| 16 + cell.value.as_ref().map_or(0, Bytes::len)).sum();
        let rows = match &self.target {
            Target::Rows(rows) => rows.len(),
            Target::Ranges(slices) => slices.len(),
            Target::Static | Target::Partition => 1,
        };
        self.keys.len() * rows * (32 + cells)
    }

    /// Adds what the statement changes to the changes of its request.
    fn add_to(&self, changes: &mut Changes, timestamp: i64, now_seconds: i64) {
        let tombstone = Tombstone { timestamp, deleted_at: now_seconds };
        let expiry =
            (self.ttl > 0).then(|| Expiry { ttl: self.ttl, at: now_seconds + i64::from(self.ttl) });
        let cell = |bound: &BoundCell| match &bound.value {
            Some(value) => Cell { expiry, ..Cell::live(timestamp, value.clone()) },
            None => Cell::dead(timestamp, now_seconds),
        };
        for key in &self.keys {
            let mutation = changes.of(&self.plan.table, key);
            for bound in self.cells.iter().filter(|bound| bound.is_static) {
                mutation.set_static(bound.column, cell(bound));
            }
            match &self.target {
                Target::Static => {}
                Target::Partition => mutation.set_tombstone(tombstone),
                Target::Ranges(slices) => {
                    mutation.ranges.extend(slices.iter().map(|slice| RangeTombstone {
                        start: slice.start.clone(),
                        end: slice.end.clone(),
                        tombstone,
                    }));
                }
                Target::Rows(rows) => {
                    let change = self.row_change(&cell, tombstone, expiry);
                    // An UPDATE of nothing leaves no trace.
                    if change != RowChange::default() {
                        let rows = rows.iter().map(|key| (key.clone(), change.clone()));
                        mutation.rows.extend(rows);
                    }
                }
            }
        }
    }

    /// What the statement does to each of its rows.
    fn row_change(
        &self,
        cell: &dyn Fn(&BoundCell) -> Cell,
        tombstone: Tombstone,
        expiry: Option<Expiry>,
    ) -> RowChange {
        let mut change = RowChange::default();
        if self.plan.kind == Kind::Insert {
            change.set_marker(Marker { timestamp: tombstone.timestamp, expiry });
        }
        if self.plan.kind == Kind::Delete && self.plan.cells.is_empty() {
            change.set_tombstone(tombstone);
        }
        for bound in self.cells.iter().filter(|bound| !bound.is_static) {
            change.set_cell(bound.column, cell(bound));
        }
        change
    }
}

fn target(plan: &ModifyPlan, bindings: &Bindings<'_>) -> Result<Target> {
    let table = &plan.table;
    let restrictions = &plan.restrictions;
    if plan.static_row {
        return Ok(Target::Static);
    }
    let deletes = plan.kind == Kind::Delete && plan.cells.is_empty();
    if deletes && !restrictions.restricts_clustering {
        return Ok(Target::Partition);
    }
    let slices = slices::slices(table, restrictions, bindings, Nulls::Refused, false)?;
    if deletes && restrictions.clustering_fixed() < table.clustering_len {
        return Ok(Target::Ranges(slices));
    }
    // The planner saw to it that all of the key is given, so each slice is one row.
    let rows = slices.into_iter().map(|slice| match slice.start {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => ClusteringKey::new(),
    });
    Ok(Target::Rows(rows.collect()))
}

/// The changes of one request, one mutation per table and partition.
#[derive(Default)]
struct Changes {
    mutations: Vec<Mutation>,
    places: HashMap<(Uuid, PartitionKey), usize>,
}

impl Changes {
    fn of(&mut self, table: &Arc<Table>, key: &PartitionKey) -> &mut Mutation {
        let at = *self.places.entry((table.id, key.clone())).or_insert_with(|| {
            self.mutations.push(Mutation::new(table.clone(), key.clone()));
            self.mutations.len() - 1
        });
        &mut self.mutations[at]
    }

    /// Mutations that change something, their rows in clustering order and each there once.
    ///
    /// Rows are put in order only here: keeping them so from the beginning would take quadratic
    /// time for a large batch.
    fn finish(mut self) -> Vec<Mutation> {
        for mutation in &mut self.mutations {
            let table = Arc::clone(&mutation.table);
            let columns = table.clustering();
            mutation.rows.sort_by(|(a, _), (b, _)| compare_clustering(columns, a, b));
            mutation.rows.dedup_by(|(later, change), (earlier, merged)| {
                let same = compare_clustering(columns, earlier, later).is_eq();
                if same {
                    merged.merge(change);
                }
                same
            });
        }
        self.mutations.retain(|mutation| !mutation.is_empty());
        self.mutations
    }
}

/// Makes the mutations of a request, the CDC rows included. Nothing is applied yet, so an error
/// leaves no trace. `timestamp` is that of the protocol; without one the server gives one to all
/// statements that have none of their own.
pub(crate) fn mutations(
    context: &mut WriteContext<'_>,
    statements: &[BoundModify],
    timestamp: Option<i64>,
) -> Result<Vec<Mutation>> {
    let now_seconds = context.now_seconds();
    let mut common = timestamp;
    let mut changes = Changes::default();
    for statement in statements {
        let timestamp = match statement.timestamp {
            Some(timestamp) => timestamp,
            None => *common.get_or_insert_with(|| context.next_timestamp()),
        };
        statement.add_to(&mut changes, timestamp, now_seconds);
    }
    let mut mutations = changes.finish();
    let log = cdc::augment(context, &mutations)?;
    mutations.extend(log);
    Ok(mutations)
}

/// Applies mutations; an error has to be the result of the job.
pub(crate) fn apply(context: &mut WriteContext<'_>, mutations: &[Mutation]) -> Result<()> {
    mutations.iter().try_for_each(|mutation| context.apply(mutation))
}

/// Refuses to go on with a plan whose tables have changed since; the caller plans again.
pub(crate) fn check_tables<'a>(
    catalog: &Catalog,
    tables: impl IntoIterator<Item = &'a Arc<Table>>,
) -> Result<()> {
    for table in tables {
        let current = catalog.table(&table.keyspace, &table.name);
        if !table.is_virtual && !current.is_some_and(|current| Arc::ptr_eq(current, table)) {
            return Err(stale());
        }
    }
    Ok(())
}

/// What [`check_tables`] says; it never leaves the engine.
pub(crate) fn stale() -> CqlError {
    CqlError::new(ErrorKind::Unprepared { id: Bytes::new() }, "the table has changed")
}
