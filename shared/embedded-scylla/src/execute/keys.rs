//! Which partitions a `WHERE` clause means, once its values are known.

use crate::ast::Operator;
use crate::error::{CqlError, Result};
use crate::execute::compare::{given, items};
use crate::mutation::PartitionKey;
use crate::plan::comparison::{Comparison, Operand};
use crate::plan::restrictions::Partitions;
use crate::plan::terms::{Bindings, Expr, token};
use crate::plan::using::bigint;
use crate::schema::{Column, CqlType, Table};
use crate::storage::PartitionPosition;
use bytes::Bytes;
use std::cmp::Ordering;
use std::ops::Bound;

/// How many keys the IN lists of one statement may make.
const CARTESIAN_MAX: usize = 100;

/// The longest IN list of any kind.
const LIST_MAX: usize = 65_535;

/// The longest partition key, and the longest component of a clustering key.
const KEY_BYTES_MAX: usize = 65_535;

/// What a null in a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// Nothing is equal to it: no rows.
    Nothing,
    /// It cannot be written.
    Refused,
}

/// The partitions of one execution.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Keys in the order in which they are read, each once.
    Keys(Vec<PartitionKey>),
    /// A part of the ring.
    Ring(Bound<PartitionPosition>, Bound<PartitionPosition>),
}

/// Evaluates the restrictions of the partition key.
pub(crate) fn source(
    table: &Table,
    partitions: &Partitions,
    bindings: &Bindings<'_>,
    nulls: Nulls,
) -> Result<Source> {
    match partitions {
        Partitions::Keys(columns) => {
            partition_keys(table, columns, bindings, nulls).map(Source::Keys)
        }
        Partitions::Ring(bounds) => ring(bounds, bindings),
    }
}

fn partition_keys(
    table: &Table,
    columns: &[Vec<Comparison>],
    bindings: &Bindings<'_>,
    nulls: Nulls,
) -> Result<Vec<PartitionKey>> {
    let mut lists = Vec::with_capacity(columns.len());
    for (column, comparisons) in table.partition_key().iter().zip(columns) {
        match values(column, comparisons, bindings, nulls)? {
            Values::List(list) => lists.push(list),
            // The planner saw an `=` or `IN` for every column.
            Values::Range(..) => return Err(CqlError::server("a partition key is not restricted")),
        }
    }
    check_product("partition", &lists)?;
    let mut keys = Vec::new();
    for components in product(&lists) {
        check_partition_key(&components, nulls)?;
        keys.push(PartitionKey { token: token(table.partitioner, &components), components });
    }
    // Ring order, but for system tables, which ScyllaDB answers in the order of values.
    if !table.is_virtual {
        keys.sort_by(order);
    }
    Ok(keys)
}

/// Ring order: the token, then the bytes of the key.
pub(crate) fn order(a: &PartitionKey, b: &PartitionKey) -> Ordering {
    a.token.cmp(&b.token).then_with(|| a.components.cmp(&b.components))
}

fn check_partition_key(components: &[Bytes], nulls: Nulls) -> Result<()> {
    if let [single] = components
        && single.is_empty()
        && nulls == Nulls::Refused
    {
        return Err(CqlError::invalid("Key may not be empty"));
    }
    let length: usize = match components {
        [single] => single.len(),
        _ => components.iter().map(|component| component.len() + 3).sum(),
    };
    check_length(length)
}

/// Refuses what no key can hold.
pub(crate) fn check_length(length: usize) -> Result<()> {
    if length > KEY_BYTES_MAX {
        return Err(CqlError::invalid(format!(
            "Key length of {length} is longer than maximum of {KEY_BYTES_MAX}"
        )));
    }
    Ok(())
}

/// Refuses lists that it would take long to look through.
pub(crate) fn check_list(length: usize) -> Result<()> {
    if length > LIST_MAX {
        return Err(CqlError::invalid(format!(
            "An IN list may have at most {LIST_MAX} elements (got {length})"
        )));
    }
    Ok(())
}

/// Refuses too many combinations of IN lists.
pub(crate) fn check_product(what: &str, lists: &[Vec<Bytes>]) -> Result<()> {
    let size = lists.iter().fold(1usize, |size, list| size.saturating_mul(list.len()));
    if size > CARTESIAN_MAX {
        return Err(CqlError::invalid(format!(
            "{what} key cartesian product size {size} is greater than maximum {CARTESIAN_MAX}"
        )));
    }
    Ok(())
}

/// All combinations, the first list varying slowest. The caller has checked their number.
pub(crate) fn product(lists: &[Vec<Bytes>]) -> Vec<Vec<Bytes>> {
    lists.iter().fold(vec![Vec::new()], |prefixes, list| {
        prefixes
            .iter()
            .flat_map(|prefix| {
                list.iter().map(|value| {
                    let mut longer = prefix.clone();
                    longer.push(value.clone());
                    longer
                })
            })
            .collect()
    })
}

/// What the restrictions of one column leave of its values.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    /// These, ascending.
    List(Vec<Bytes>),
    /// An interval.
    Range(Bound<Bytes>, Bound<Bytes>),
}

/// Evaluates all comparisons of one column and intersects them.
pub(crate) fn values(
    column: &Column,
    comparisons: &[Comparison],
    bindings: &Bindings<'_>,
    nulls: Nulls,
) -> Result<Values> {
    let ty = &column.ty;
    let mut result = Values::Range(Bound::Unbounded, Bound::Unbounded);
    for comparison in comparisons {
        let found = evaluate(comparison, bindings)?;
        if nulls == Nulls::Refused && found.iter().any(Option::is_none) {
            return Err(CqlError::invalid(format!(
                "Invalid null value in condition for column {}",
                column.name
            )));
        }
        check_list(found.len())?;
        let mut found: Vec<Bytes> = found.into_iter().flatten().collect();
        found.sort_by(|a, b| ty.compare(a, b));
        found.dedup_by(|a, b| ty.compare(a, b) == Ordering::Equal);
        let next = match (comparison.operator, found.first()) {
            (Operator::Lt, Some(value)) => {
                Values::Range(Bound::Unbounded, Bound::Excluded(value.clone()))
            }
            (Operator::LtEq, Some(value)) => {
                Values::Range(Bound::Unbounded, Bound::Included(value.clone()))
            }
            (Operator::Gt, Some(value)) => {
                Values::Range(Bound::Excluded(value.clone()), Bound::Unbounded)
            }
            (Operator::GtEq, Some(value)) => {
                Values::Range(Bound::Included(value.clone()), Bound::Unbounded)
            }
            _ => Values::List(found),
        };
        result = intersect(ty, result, next);
    }
    Ok(result)
}

fn evaluate(comparison: &Comparison, bindings: &Bindings<'_>) -> Result<Vec<Option<Bytes>>> {
    let name = &comparison.name;
    match &comparison.operand {
        Operand::One(expr) => Ok(vec![given(expr, bindings, name)?]),
        Operand::List(exprs) => exprs.iter().map(|expr| given(expr, bindings, name)).collect(),
        Operand::Listed(expr) => match given(expr, bindings, name)? {
            Some(list) => Ok(items(&list)?.into_iter().map(Some).collect()),
            None => {
                Err(CqlError::invalid(format!("Invalid null value in condition for column {name}")))
            }
        },
    }
}

fn intersect(ty: &CqlType, a: Values, b: Values) -> Values {
    match (a, b) {
        (Values::Range(from, to), Values::Range(other_from, other_to)) => Values::Range(
            tighter(ty, from, other_from, Ordering::Greater),
            tighter(ty, to, other_to, Ordering::Less),
        ),
        (Values::List(list), Values::Range(from, to))
        | (Values::Range(from, to), Values::List(list)) => Values::List(
            list.into_iter().filter(|value| is_within(ty, value, &from, &to)).collect(),
        ),
        (Values::List(list), Values::List(other)) => Values::List(
            list.into_iter()
                .filter(|value| other.iter().any(|b| ty.compare(value, b) == Ordering::Equal))
                .collect(),
        ),
    }
}

/// The bound that leaves less: the greater of two lower, the lesser of two upper ones.
fn tighter(ty: &CqlType, a: Bound<Bytes>, b: Bound<Bytes>, wins: Ordering) -> Bound<Bytes> {
    let order = match (&a, &b) {
        (Bound::Unbounded, _) => return b,
        (_, Bound::Unbounded) => return a,
        (
            Bound::Included(value) | Bound::Excluded(value),
            Bound::Included(other) | Bound::Excluded(other),
        ) => ty.compare(value, other),
    };
    match order {
        Ordering::Equal if matches!(a, Bound::Excluded(_)) => a,
        Ordering::Equal => b,
        order if order == wins => a,
        _ => b,
    }
}

fn is_within(ty: &CqlType, value: &[u8], from: &Bound<Bytes>, to: &Bound<Bytes>) -> bool {
    let above = match from {
        Bound::Unbounded => true,
        Bound::Included(bound) => ty.compare(value, bound) != Ordering::Less,
        Bound::Excluded(bound) => ty.compare(value, bound) == Ordering::Greater,
    };
    let below = match to {
        Bound::Unbounded => true,
        Bound::Included(bound) => ty.compare(value, bound) != Ordering::Greater,
        Bound::Excluded(bound) => ty.compare(value, bound) == Ordering::Less,
    };
    above && below
}

/// The part of the ring between all token comparisons; what is empty comes out as no keys.
fn ring(bounds: &[(Operator, Expr)], bindings: &Bindings<'_>) -> Result<Source> {
    // Inclusive at both ends, one step wider than tokens are so that `>` and `<` fit in.
    let (mut from, mut to) = (i128::from(i64::MIN), i128::from(i64::MAX));
    for (operator, expr) in bounds {
        let Some(value) = given(expr, bindings, "partition key token")? else {
            return Err(CqlError::invalid("Invalid null token value"));
        };
        let Some(token) = bigint(&value).map(i128::from) else {
            return Err(CqlError::invalid("Invalid empty token value"));
        };
        match operator {
            Operator::Gt => from = from.max(token + 1),
            Operator::GtEq => from = from.max(token),
            Operator::Lt => to = to.min(token - 1),
            Operator::LtEq => to = to.min(token),
            _ => {
                from = from.max(token);
                to = to.min(token);
            }
        }
    }
    let (Ok(start), Ok(end)) = (i64::try_from(from), i64::try_from(to)) else {
        return Ok(Source::Keys(Vec::new()));
    };
    if start > end {
        return Ok(Source::Keys(Vec::new()));
    }
    let bound = |token, open| match token == open {
        true => Bound::Unbounded,
        false => Bound::Included(PartitionPosition::Token(token)),
    };
    Ok(Source::Ring(bound(start, i64::MIN), bound(end, i64::MAX)))
}
