//! SELECT with its values: what to read, and how much of it. [`Scan`] reads it.

use crate::error::{CqlError, Result};
use crate::execute::compare::{BoundComparison, given};
use crate::execute::keys::{self, Nulls, Source};
use crate::execute::paging::PagingState;
use crate::execute::scan::Scan;
use crate::execute::slices;
use crate::mutation::{PartitionKey, Slice};
use crate::plan::select::SelectPlan;
use crate::plan::terms::{Bindings, Expr};
use crate::plan::using::int;
use crate::protocol::{QueryParams, Rows, Value};
use crate::storage::ReadRows;
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

/// The sizes that bound a result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResultLimits {
    /// A page ends when it holds this many bytes.
    pub(crate) page_bytes: usize,
    /// A result that is not paged fails when it holds this many bytes.
    pub(crate) unpaged_bytes: usize,
}

/// A SELECT with its values.
pub(crate) struct BoundSelect {
    pub(super) plan: Arc<SelectPlan>,
    pub(super) source: Source,
    pub(super) slices: Vec<Slice>,
    pub(super) filters: Vec<BoundComparison>,
    pub(super) limit: u64,
    pub(super) per_partition: u64,
    pub(super) page_size: Option<usize>,
    pub(super) state: Option<PagingState>,
    pub(super) now_micros: i64,
    pub(super) limits: ResultLimits,
}

impl BoundSelect {
    /// Evaluates all terms of the statement and reads the paging state.
    pub(crate) fn bind(
        plan: &Arc<SelectPlan>,
        bindings: &Bindings<'_>,
        params: &QueryParams,
        limits: ResultLimits,
    ) -> Result<Self> {
        let page_size = params.page_size.filter(|size| *size > 0);
        if page_size.is_some() && plan.ordered && plan.restrictions.has_partition_in() {
            return Err(CqlError::invalid(
                "Cannot page queries with both ORDER BY and a IN restriction on the partition key; you must either remove the ORDER BY or the IN and sort client side, or disable paging for this query",
            ));
        }
        plan.timeout.check(bindings)?;
        let table = &plan.table;
        let restrictions = &plan.restrictions;
        let source = keys::source(table, &restrictions.partitions, bindings, Nulls::Nothing)?;
        let slices = slices::slices(table, restrictions, bindings, Nulls::Nothing, plan.reversed)?;
        let filters = restrictions
            .filters
            .iter()
            .map(|filter| BoundComparison::bind(filter, bindings))
            .collect::<Result<_>>()?;
        let mut limit = positive(plan.limit.as_ref(), bindings, "LIMIT")?;
        let per_partition =
            positive(plan.per_partition_limit.as_ref(), bindings, "PER PARTITION LIMIT")?;
        let state = params
            .paging_state
            .as_ref()
            .map(|state| PagingState::decode(table, state))
            .transpose()?;
        if let Some(state) = &state {
            limit = limit.min(state.remaining);
        }
        Ok(Self {
            plan: plan.clone(),
            source,
            slices,
            filters,
            limit,
            per_partition,
            page_size,
            state,
            now_micros: bindings.now_micros,
            limits,
        })
    }

    /// Whether the statement addresses at most one partition.
    pub(crate) fn is_single_partition(&self) -> bool {
        matches!(&self.source, Source::Keys(keys) if keys.len() <= 1)
    }

    /// The partition, if the statement addresses exactly one.
    pub(crate) fn single_partition(&self) -> Option<&PartitionKey> {
        match &self.source {
            Source::Keys(keys) if keys.len() == 1 => keys.first(),
            _ => None,
        }
    }

    /// Whether it can be answered without giving others a reason to wait.
    pub(crate) fn is_cheap(&self) -> bool {
        const ROWS_MAX: u64 = 1000;
        // A page is bounded in bytes too.
        let bounded = self.page_size.is_some() || self.limit <= ROWS_MAX;
        let single_rows =
            self.plan.restrictions.clustering_fixed() == self.plan.table.clustering_len;
        matches!(self.source, Source::Keys(_))
            && !self.plan.selection.is_aggregate
            && self.filters.is_empty()
            && (bounded || single_rows)
    }

    /// The upper bound on the first clustering column, if every slice has one.
    pub(crate) fn upper_bound(&self) -> Option<&Bytes> {
        let last = if self.plan.reversed { self.slices.first() } else { self.slices.last() };
        match &last?.end {
            Bound::Included(prefix) | Bound::Excluded(prefix) => prefix.first(),
            Bound::Unbounded => None,
        }
    }

    /// Reads one page, or everything.
    pub(crate) fn run(&self, reader: &dyn ReadRows) -> Result<Rows> {
        let (rows, next) = Scan::new(self, reader).run()?;
        let paging_state = next.map(|state| state.encode(&self.plan.table));
        Ok(Rows { columns: self.plan.columns.clone(), rows, paging_state })
    }

    /// A page ends here; aggregates are never paged.
    pub(super) fn is_paged(&self) -> bool {
        self.page_size.is_some() && !self.plan.selection.is_aggregate
    }
}

fn positive(expr: Option<&Expr>, bindings: &Bindings<'_>, what: &str) -> Result<u64> {
    let Some(expr) = expr else { return Ok(u64::MAX) };
    if let Some(index) = expr.marker_index()
        && bindings.values.get(index) == Some(&Value::Unset)
    {
        return Ok(u64::MAX);
    }
    let Some(value) = given(expr, bindings, what)? else {
        return Err(CqlError::invalid(format!("Invalid null value of {}", what.to_lowercase())));
    };
    match int(&value).and_then(|value| u64::try_from(value).ok()) {
        Some(value) if value > 0 => Ok(value),
        _ => Err(CqlError::invalid(format!("{what} must be strictly positive"))),
    }
}
