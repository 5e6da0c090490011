//! Which slices of a partition a `WHERE` clause means, once its values are known.
//!
//! Everything is a set of disjoint intervals between *positions*; a position lies just before or
//! just after all rows whose clustering key begins with a prefix.

use crate::ast::Operator;
use crate::error::{CqlError, Result};
use crate::execute::compare::{given, items};
use crate::execute::keys::{Nulls, Values, check_length, check_product, product, values};
use crate::mutation::{ClusteringKey, Slice};
use crate::plan::restrictions::{Restrictions, TupleComparison, TupleOperand};
use crate::plan::terms::Bindings;
use crate::schema::{Column, Table};
use crate::types::collection::decode_tuple;
use bytes::Bytes;
use std::cmp::Ordering;
use std::ops::Bound;

/// A place between rows.
#[derive(Debug, Clone)]
struct Position {
    prefix: ClusteringKey,
    /// After all rows with the prefix instead of before them.
    after: bool,
}

type Interval = (Position, Position);

/// The slices of one execution, in clustering order (in reversed order if so asked), disjoint.
/// None at all: no row can match.
pub(crate) fn slices(
    table: &Table,
    restrictions: &Restrictions,
    bindings: &Bindings<'_>,
    nulls: Nulls,
    reversed: bool,
) -> Result<Vec<Slice>> {
    let columns = table.clustering();
    let mut intervals = single_columns(columns, restrictions, bindings, nulls)?;
    for tuple in &restrictions.tuples {
        let other = tuples(columns, tuple, bindings, nulls)?;
        intervals = intersect(columns, &intervals, &other);
    }
    let mut slices: Vec<Slice> =
        intervals.into_iter().map(|interval| slice(interval, reversed)).collect();
    if reversed {
        slices.reverse();
    }
    Ok(slices)
}

/// What is left of a slice after (with `reversed`, before) a row that was already given.
pub(crate) fn resume(table: &Table, slice: &Slice, last: &ClusteringKey) -> Option<Slice> {
    let columns = table.clustering();
    let (mut start, mut end) = positions(slice);
    if slice.reversed {
        let before = Position { prefix: last.clone(), after: false };
        end = earlier(columns, end, before);
    } else {
        let after = Position { prefix: last.clone(), after: true };
        start = later(columns, start, after);
    }
    (compare(columns, &start, &end) == Ordering::Less)
        .then(|| self::slice((start, end), slice.reversed))
}

/// Whether a full clustering key lies within a slice.
pub(crate) fn contains(table: &Table, slice: &Slice, key: &ClusteringKey) -> bool {
    let columns = table.clustering();
    let (start, end) = positions(slice);
    let (before, after) = (
        Position { prefix: key.clone(), after: false },
        Position { prefix: key.clone(), after: true },
    );
    compare(columns, &start, &before) != Ordering::Greater
        && compare(columns, &after, &end) != Ordering::Greater
}

fn component_order(column: &Column, a: &[u8], b: &[u8]) -> Ordering {
    let order = column.ty.compare(a, b);
    if column.descending { order.reverse() } else { order }
}

fn compare(columns: &[Column], a: &Position, b: &Position) -> Ordering {
    for (column, (left, right)) in columns.iter().zip(a.prefix.iter().zip(&b.prefix)) {
        let order = component_order(column, left, right);
        if order != Ordering::Equal {
            return order;
        }
    }
    match a.prefix.len().cmp(&b.prefix.len()) {
        Ordering::Equal => a.after.cmp(&b.after),
        // The longer one lies inside of what the shorter one is before or after of.
        Ordering::Less if a.after => Ordering::Greater,
        Ordering::Less => Ordering::Less,
        Ordering::Greater if b.after => Ordering::Less,
        Ordering::Greater => Ordering::Greater,
    }
}

fn later(columns: &[Column], a: Position, b: Position) -> Position {
    if compare(columns, &a, &b) == Ordering::Less { b } else { a }
}

fn earlier(columns: &[Column], a: Position, b: Position) -> Position {
    if compare(columns, &a, &b) == Ordering::Greater { b } else { a }
}

fn intersect(columns: &[Column], a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut found = Vec::new();
    for (start, end) in a {
        for (other_start, other_end) in b {
            let start = later(columns, start.clone(), other_start.clone());
            let end = earlier(columns, end.clone(), other_end.clone());
            if compare(columns, &start, &end) == Ordering::Less {
                found.push((start, end));
            }
        }
    }
    found.sort_by(|a, b| compare(columns, &a.0, &b.0));
    found
}

fn slice((start, end): Interval, reversed: bool) -> Slice {
    let start = match (start.after, start.prefix.is_empty()) {
        (false, true) => Bound::Unbounded,
        (false, false) => Bound::Included(start.prefix),
        (true, _) => Bound::Excluded(start.prefix),
    };
    let end = match (end.after, end.prefix.is_empty()) {
        (true, true) => Bound::Unbounded,
        (true, false) => Bound::Included(end.prefix),
        (false, _) => Bound::Excluded(end.prefix),
    };
    Slice { start, end, reversed }
}

fn positions(slice: &Slice) -> Interval {
    let start = match &slice.start {
        Bound::Unbounded => Position { prefix: Vec::new(), after: false },
        Bound::Included(prefix) => Position { prefix: prefix.clone(), after: false },
        Bound::Excluded(prefix) => Position { prefix: prefix.clone(), after: true },
    };
    let end = match &slice.end {
        Bound::Unbounded => Position { prefix: Vec::new(), after: true },
        Bound::Included(prefix) => Position { prefix: prefix.clone(), after: true },
        Bound::Excluded(prefix) => Position { prefix: prefix.clone(), after: false },
    };
    (start, end)
}

fn within(prefix: ClusteringKey) -> Interval {
    (Position { prefix: prefix.clone(), after: false }, Position { prefix, after: true })
}

/// `c = 1 AND d IN (…) AND e > 5`
fn single_columns(
    columns: &[Column],
    restrictions: &Restrictions,
    bindings: &Bindings<'_>,
    nulls: Nulls,
) -> Result<Vec<Interval>> {
    let mut lists: Vec<Vec<Bytes>> = Vec::new();
    let mut range = None;
    for (column, comparisons) in columns.iter().zip(&restrictions.clustering) {
        match values(column, comparisons, bindings, nulls)? {
            Values::List(mut list) => {
                list.iter().try_for_each(|value| check_length(value.len()))?;
                if column.descending {
                    list.reverse();
                }
                lists.push(list);
            }
            // A range is the last restriction; the planner saw to that.
            Values::Range(from, to) => {
                range = Some(if column.descending { (to, from) } else { (from, to) });
            }
        }
    }
    check_product("clustering", &lists)?;
    let mut intervals = Vec::new();
    for prefix in product(&lists) {
        let Some((from, to)) = &range else {
            intervals.push(within(prefix));
            continue;
        };
        let (start, end) = (bound(&prefix, from, false), bound(&prefix, to, true));
        if compare(columns, &start, &end) == Ordering::Less {
            intervals.push((start, end));
        }
    }
    Ok(intervals)
}

/// The end of a range of the column after `prefix`.
fn bound(prefix: &ClusteringKey, bound: &Bound<Bytes>, upper: bool) -> Position {
    match bound {
        Bound::Unbounded => Position { prefix: prefix.clone(), after: upper },
        Bound::Included(value) | Bound::Excluded(value) => {
            let mut longer = prefix.clone();
            longer.push(value.clone());
            Position { prefix: longer, after: upper == matches!(bound, Bound::Included(_)) }
        }
    }
}

/// `(c, d) > (1, 2)`
fn tuples(
    columns: &[Column],
    comparison: &TupleComparison,
    bindings: &Bindings<'_>,
    nulls: Nulls,
) -> Result<Vec<Interval>> {
    let columns = &columns[..comparison.width];
    let mut values = Vec::new();
    for tuple in evaluate(columns, comparison, bindings)? {
        match tuple.into_iter().collect::<Option<Vec<Bytes>>>() {
            Some(tuple) if tuple.len() == columns.len() => values.push(tuple),
            _ if nulls == Nulls::Nothing => {}
            _ => return Err(CqlError::invalid("Invalid null value in a multi-column condition")),
        }
    }
    let mut intervals: Vec<Interval> = match comparison.operator {
        Operator::Eq | Operator::In => values.into_iter().map(within).collect(),
        operator => match values.first() {
            Some(value) => tuple_slice(columns, operator, value),
            None => Vec::new(),
        },
    };
    intervals.sort_by(|a, b| compare(columns, &a.0, &b.0));
    intervals.dedup_by(|a, b| compare(columns, &a.0, &b.0) == Ordering::Equal);
    if intervals.len() > 100 {
        return Err(CqlError::invalid(format!(
            "clustering key cartesian product size {} is greater than maximum 100",
            intervals.len()
        )));
    }
    Ok(intervals)
}

/// `(a, b) > (x, y)` is `a > x`, or `a = x and b > y`: one interval for each column, because
/// columns may be ordered in different directions.
fn tuple_slice(columns: &[Column], operator: Operator, value: &[Bytes]) -> Vec<Interval> {
    let greater = matches!(operator, Operator::Gt | Operator::GtEq);
    let mut intervals = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        let prefix = value[..at].to_vec();
        let limit = value[..=at].to_vec();
        intervals.push(if greater == column.descending {
            (Position { prefix, after: false }, Position { prefix: limit, after: false })
        } else {
            (Position { prefix: limit, after: true }, Position { prefix, after: true })
        });
    }
    if matches!(operator, Operator::GtEq | Operator::LtEq) {
        intervals.push(within(value.to_vec()));
    }
    intervals
}

fn evaluate(
    columns: &[Column],
    comparison: &TupleComparison,
    bindings: &Bindings<'_>,
) -> Result<Vec<Vec<Option<Bytes>>>> {
    let name = "a multi-column condition";
    match &comparison.operand {
        TupleOperand::Tuples(tuples) => tuples
            .iter()
            .map(|tuple| {
                tuple
                    .iter()
                    .zip(columns)
                    .map(|(expr, column)| given(expr, bindings, &column.name))
                    .collect()
            })
            .collect(),
        TupleOperand::Tuple(expr) => match given(expr, bindings, name)? {
            Some(tuple) => Ok(vec![split(&tuple)?]),
            None => Ok(vec![Vec::new()]),
        },
        TupleOperand::List(expr) => match given(expr, bindings, name)? {
            Some(list) => items(&list)?.iter().map(split).collect(),
            None => Err(CqlError::invalid("Invalid null value in a multi-column condition")),
        },
    }
}

fn split(tuple: &Bytes) -> Result<Vec<Option<Bytes>>> {
    let items = decode_tuple(tuple)?;
    Ok(items.into_iter().map(|item| item.map(|item| tuple.slice_ref(item))).collect())
}
