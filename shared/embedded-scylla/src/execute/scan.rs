//! Reading the rows of a SELECT: partition by partition, slice by slice, filtered and projected,
//! until a page is full.

use crate::error::{CqlError, Result};
use crate::execute::keys::Source;
use crate::execute::paging::PagingState;
use crate::execute::project::{Aggregation, Clock, ResultRow};
use crate::execute::row::{RowView, Statics};
use crate::execute::select::BoundSelect;
use crate::execute::slices;
use crate::mutation::{ClusteringKey, PartitionKey, compare_clustering};
use crate::storage::{PartitionPosition, ReadRows};
use bytes::Bytes;
use std::ops::Bound;

enum Output<'a> {
    Rows(Vec<ResultRow>),
    /// With their clustering keys, to be merged at the end.
    Sorted(Vec<(ClusteringKey, ResultRow)>),
    Aggregate(Aggregation<'a>),
}

/// How a partition came to its end.
enum End {
    /// All of its rows were looked at.
    Done,
    /// LIMIT is reached.
    Limit,
    /// The page is full; `None`: and the partition is done with.
    Page(Option<ClusteringKey>),
}

/// One execution of a SELECT.
pub(super) struct Scan<'a> {
    select: &'a BoundSelect,
    reader: &'a dyn ReadRows,
    clock: Clock,
    /// Rows looked at. Pages are filled by this number, as ScyllaDB fills them, so that a page of
    /// a filtering scan is bounded work.
    raw: usize,
    bytes: usize,
    emitted: u64,
    output: Output<'a>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(select: &'a BoundSelect, reader: &'a dyn ReadRows) -> Self {
        let selection = &select.plan.selection;
        let output = if selection.is_aggregate {
            Output::Aggregate(Aggregation::new(selection))
        } else if select.plan.ordered && !select.is_single_partition() {
            Output::Sorted(Vec::new())
        } else {
            Output::Rows(Vec::new())
        };
        let clock = Clock { now_micros: select.now_micros, now_seconds: reader.now_seconds() };
        Self { select, reader, clock, raw: 0, bytes: 0, emitted: 0, output }
    }

    /// Reads one page, or everything. The rows, and where the next page starts.
    pub(super) fn run(mut self) -> Result<(Vec<ResultRow>, Option<PagingState>)> {
        let next = if self.select.limit == 0 { None } else { self.partitions()? };
        Ok((self.finish()?, next))
    }

    /// Where the next page starts; `None` at the end.
    fn partitions(&mut self) -> Result<Option<PagingState>> {
        let select = self.select;
        let state = select.state.as_ref();
        match &select.source {
            Source::Keys(keys) => {
                let from = match state {
                    None => 0,
                    Some(state) => {
                        keys.iter().position(|key| *key == state.key).ok_or_else(|| {
                            CqlError::protocol("The paging state belongs to another query")
                        })?
                    }
                };
                for key in &keys[from..] {
                    let resumed = state.filter(|state| state.key == *key);
                    if let Some(next) = self.partition(key, resumed)? {
                        return Ok(next.state());
                    }
                }
            }
            Source::Ring(start, end) => {
                let start = match state {
                    None => start.clone(),
                    Some(PagingState { key, last: None, .. }) => {
                        Bound::Excluded(PartitionPosition::Key(key.clone()))
                    }
                    Some(PagingState { key, .. }) => {
                        Bound::Included(PartitionPosition::Key(key.clone()))
                    }
                };
                let reader = self.reader;
                for key in reader.partitions(&select.plan.table, start, end.clone())? {
                    let key = key?;
                    let resumed = state.filter(|state| state.key == key);
                    if let Some(next) = self.partition(&key, resumed)? {
                        return Ok(next.state());
                    }
                }
            }
        }
        Ok(None)
    }

    /// One partition; `Some` when the scan ends with it.
    fn partition(
        &mut self,
        key: &PartitionKey,
        resumed: Option<&PagingState>,
    ) -> Result<Option<Next>> {
        if resumed.is_some_and(|state| state.last.is_none()) {
            return Ok(None);
        }
        let mut given = resumed.map_or(0, |state| state.in_partition);
        let last = resumed.and_then(|state| state.last.as_ref());
        Ok(match self.rows(key, last, &mut given)? {
            End::Done => None,
            End::Limit => Some(Next::End),
            End::Page(last) => Some(Next::Page(PagingState {
                remaining: match self.select.limit {
                    u64::MAX => u64::MAX,
                    limit => limit - self.emitted,
                },
                in_partition: given,
                key: key.clone(),
                last,
            })),
        })
    }

    fn rows(
        &mut self,
        key: &PartitionKey,
        last: Option<&ClusteringKey>,
        given: &mut u64,
    ) -> Result<End> {
        let (select, reader) = (self.select, self.reader);
        let table = &*select.plan.table;
        let statics = match select.plan.needs_statics {
            true => reader.statics(table, key)?,
            false => Statics::new(),
        };
        let mut found = last.is_some();
        for slice in &select.slices {
            let resumed = last.map(|last| slices::resume(table, slice, last));
            let slice = match &resumed {
                None => slice,
                Some(Some(rest)) => rest,
                Some(None) => continue,
            };
            for row in reader.rows(table, key, slice)? {
                let row = row?;
                found = true;
                let view = RowView { key, statics: &statics, row: Some(&row) };
                if self.look_at(&view, given)? {
                    return Ok(End::Limit);
                }
                if select.plan.distinct {
                    return Ok(if self.page_is_full() { End::Page(None) } else { End::Done });
                }
                if self.page_is_full() {
                    return Ok(End::Page(Some(row.clustering)));
                }
                // Pages count what is left out, so that their bounds are ScyllaDB's.
                if *given >= select.per_partition && !select.is_paged() {
                    return Ok(End::Done);
                }
            }
        }
        if found || select.plan.restrictions.restricts_clustering || !table.has_static() {
            return Ok(End::Done);
        }
        let statics = match select.plan.needs_statics {
            true => statics,
            false => reader.statics(table, key)?,
        };
        if statics.is_empty() {
            return Ok(End::Done);
        }
        if self.look_at(&RowView { key, statics: &statics, row: None }, given)? {
            return Ok(End::Limit);
        }
        Ok(if self.page_is_full() { End::Page(None) } else { End::Done })
    }

    /// Filters and emits one row; true when LIMIT is reached.
    fn look_at(&mut self, row: &RowView<'_>, given: &mut u64) -> Result<bool> {
        self.raw += 1;
        let select = self.select;
        if *given >= select.per_partition || !select.filters.iter().all(|filter| filter.passes(row))
        {
            return Ok(false);
        }
        *given += 1;
        self.emitted += 1;
        let selection = &select.plan.selection;
        match &mut self.output {
            Output::Aggregate(aggregation) => {
                aggregation.add(row, self.clock)?;
                return Ok(false);
            }
            Output::Rows(rows) => {
                let row = selection.project(row, self.clock)?;
                self.bytes += size(&row);
                rows.push(row);
            }
            Output::Sorted(rows) => {
                let clustering = row.row.map(|row| row.clustering.clone()).unwrap_or_default();
                let row = selection.project(row, self.clock)?;
                self.bytes += size(&row) + clustering.iter().map(Bytes::len).sum::<usize>();
                rows.push((clustering, row));
                self.check_unpaged()?;
                return Ok(false);
            }
        }
        self.check_unpaged()?;
        Ok(self.emitted == select.limit)
    }

    fn check_unpaged(&self) -> Result<()> {
        let limit = self.select.limits.unpaged_bytes;
        if self.select.page_size.is_none() && self.bytes > limit {
            return Err(CqlError::invalid(format!(
                "The result of an unpaged query exceeds {limit} bytes; use paging"
            )));
        }
        Ok(())
    }

    fn page_is_full(&self) -> bool {
        self.select.is_paged()
            && (self.select.page_size.is_some_and(|size| self.raw >= size)
                || self.bytes >= self.select.limits.page_bytes)
    }

    fn finish(self) -> Result<Vec<ResultRow>> {
        match self.output {
            Output::Rows(rows) => Ok(rows),
            Output::Aggregate(aggregation) => Ok(vec![aggregation.finish(self.clock)?]),
            Output::Sorted(mut rows) => {
                let plan = &self.select.plan;
                rows.sort_by(|(a, _), (b, _)| {
                    let order = compare_clustering(plan.table.clustering(), a, b);
                    if plan.reversed { order.reverse() } else { order }
                });
                let limit = usize::try_from(self.select.limit).unwrap_or(usize::MAX);
                rows.truncate(limit);
                Ok(rows.into_iter().map(|(_, row)| row).collect())
            }
        }
    }
}

/// What follows the last partition of a page.
enum Next {
    End,
    Page(PagingState),
}

impl Next {
    fn state(self) -> Option<PagingState> {
        match self {
            Self::End => None,
            Self::Page(state) => Some(state),
        }
    }
}

fn size(row: &ResultRow) -> usize {
    row.iter().map(|value| 4 + value.as_ref().map_or(0, Bytes::len)).sum()
}
