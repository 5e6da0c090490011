//! Lightweight transactions: old rows read, conditions checked, all or nothing written, in one job
//! on the commit thread.

use crate::error::{CqlError, Result};
use crate::execute::modify::{BoundCondition, BoundModify, Target, apply, check_tables, mutations};
use crate::execute::project::ResultRow;
use crate::execute::row::{RowView, Statics};
use crate::mutation::{ClusteringKey, PartitionKey, Row, Slice};
use crate::plan::conditions::CasResult;
use crate::schema::Table;
use crate::storage::{ReadRows, WriteContext};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// A conditional statement or batch with its values.
#[derive(Debug)]
pub(crate) struct Lwt {
    /// In order; all of one partition of one table.
    statements: Vec<BoundModify>,
    cas: CasResult,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whether all conditions held.
    pub(crate) applied: bool,
    /// One row for each statement.
    pub(crate) rows: Vec<ResultRow>,
}

impl Lwt {
    /// Checks that all statements concern one partition.
    pub(crate) fn new(statements: Vec<BoundModify>, cas: CasResult) -> Result<Self> {
        let first = &statements[0];
        let one = |statement: &BoundModify| {
            statement.keys.len() == 1 && statement.keys.first() == first.keys.first()
        };
        if !statements.iter().all(one) {
            return Err(CqlError::invalid("BATCH with conditions cannot span multiple partitions"));
        }
        Ok(Self { statements, cas })
    }

    /// The table.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.statements[0].plan.table
    }

    /// The partition.
    pub(crate) fn key(&self) -> &PartitionKey {
        &self.statements[0].keys[0]
    }

    /// What it answers with.
    pub(crate) fn cas(&self) -> &CasResult {
        &self.cas
    }

    /// Runs it. The inner error left no trace; the outer one has to be the result of the job.
    pub(crate) fn run(&self, context: &mut WriteContext<'_>) -> Result<Result<Outcome>> {
        let decided = self.decide(context).and_then(|outcome| {
            let changes = match outcome.applied {
                true => mutations(context, &self.statements, None)?,
                false => Vec::new(),
            };
            Ok((outcome, changes))
        });
        match decided {
            Ok((outcome, changes)) => apply(context, &changes).map(|()| Ok(outcome)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn decide(&self, context: &WriteContext<'_>) -> Result<Outcome> {
        check_tables(context.catalog(), [self.table()])?;
        let old = OldState::read(context, self)?;
        let applied = self.statements.iter().all(|statement| old.allows(statement));
        let rows = self
            .statements
            .iter()
            .map(|statement| {
                let row = old.row_of(statement);
                let shown = self.cas.shown.iter().map(|column| row?.value(*column).cloned());
                let applied = Some(Bytes::from_static(if applied { &[1] } else { &[0] }));
                std::iter::once(applied).chain(shown).collect()
            })
            .collect();
        Ok(Outcome { applied, rows })
    }
}

/// What was read before the conditions are checked.
struct OldState<'a> {
    table: &'a Table,
    key: &'a PartitionKey,
    statics: Statics,
    /// By the clustering key that was asked for; `None`: there is no such row.
    rows: HashMap<ClusteringKey, Option<Row>>,
    /// Whether any of them is there.
    has_row: bool,
}

impl<'a> OldState<'a> {
    fn read(context: &WriteContext<'_>, lwt: &'a Lwt) -> Result<Self> {
        let (table, key) = (&**lwt.table(), lwt.key());
        let mut rows: HashMap<ClusteringKey, Option<Row>> = HashMap::new();
        for statement in &lwt.statements {
            let Target::Rows(targets) = &statement.target else { continue };
            let Some(clustering) = targets.first().filter(|_| statement.plan.reads_row()) else {
                continue;
            };
            if rows.contains_key(clustering) {
                continue;
            }
            let slice = match clustering.is_empty() {
                true => Slice::all(),
                false => Slice::prefix(clustering.clone()),
            };
            let row = context.rows(table, key, &slice)?.next().transpose()?;
            rows.insert(clustering.clone(), row);
        }
        if rows.is_empty()
            && let Some(row) = context.rows(table, key, &Slice::all())?.next()
        {
            let row = row?;
            rows.insert(row.clustering.clone(), Some(row));
        }
        let has_row = rows.values().any(Option::is_some);
        let statics = match table.has_static() {
            true => context.statics(table, key)?,
            false => Statics::new(),
        };
        Ok(Self { table, key, statics, rows, has_row })
    }

    /// The old row of a statement; `None` if there is none.
    fn row_of(&self, statement: &BoundModify) -> Option<RowView<'_>> {
        let clustered = self.table.clustering_len > 0;
        let named = match &statement.target {
            Target::Rows(rows) => rows.first(),
            Target::Static | Target::Ranges(_) | Target::Partition => None,
        };
        // Without clustering columns the one row has the empty key.
        let empty = ClusteringKey::new();
        let wanted = named.or((!clustered).then_some(&empty));
        if let Some(row) = wanted.and_then(|wanted| self.rows.get(wanted)?.as_ref()) {
            return Some(RowView { key: self.key, statics: &self.statics, row: Some(row) });
        }
        let only_the_row = named.is_some()
            && statement.plan.condition.as_ref().is_some_and(|condition| condition.is_existence());
        let is_there = self.has_row || !self.statics.is_empty();
        (clustered && self.table.has_static() && !only_the_row && is_there).then_some(RowView {
            key: self.key,
            statics: &self.statics,
            row: None,
        })
    }

    fn allows(&self, statement: &BoundModify) -> bool {
        let Some(condition) = &statement.condition else { return true };
        let old = self
            .row_of(statement)
            .filter(|_| !statement.plan.checks_only_statics() || !self.statics.is_empty());
        match condition {
            BoundCondition::Exists => old.is_some(),
            BoundCondition::NotExists => old.is_none(),
            BoundCondition::Columns(comparisons) => {
                comparisons.iter().all(|comparison| comparison.holds(old.as_ref()))
            }
        }
    }
}
