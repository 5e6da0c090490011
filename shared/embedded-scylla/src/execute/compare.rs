//! Comparisons with their values: filters of `WHERE` and conditions of `IF`.

use crate::ast::Operator;
use crate::error::{CqlError, Result};
use crate::execute::keys::check_list;
use crate::execute::row::RowView;
use crate::plan::comparison::{ColumnRef, Comparison, Operand, symbol};
use crate::plan::terms::{Bindings, Expr};
use crate::protocol::Value;
use crate::schema::CqlType;
use crate::types::collection::{decode_list, decode_map};
use bytes::Bytes;
use std::cmp::Ordering;

/// The longest pattern of LIKE: matching takes time in proportion to it and to the value.
const LIKE_BYTES_MAX: usize = 1024;

/// A comparison whose right-hand side is known.
#[derive(Debug)]
pub(crate) struct BoundComparison {
    column: ColumnRef,
    ty: CqlType,
    operator: Operator,
    operands: Operands,
}

#[derive(Debug)]
enum Operands {
    One(Option<Bytes>),
    /// `None`: a null list.
    Many(Option<Vec<Option<Bytes>>>),
}

impl BoundComparison {
    /// Evaluates the operand.
    pub(crate) fn bind(comparison: &Comparison, bindings: &Bindings<'_>) -> Result<Self> {
        let operands = match &comparison.operand {
            Operand::One(expr) => Operands::One(given(expr, bindings, &comparison.name)?),
            Operand::List(exprs) => Operands::Many(Some(
                exprs
                    .iter()
                    .map(|expr| given(expr, bindings, &comparison.name))
                    .collect::<Result<_>>()?,
            )),
            Operand::Listed(expr) => {
                let list = given(expr, bindings, &comparison.name)?;
                let items = list.map(|list| items(&list)).transpose()?;
                Operands::Many(items.map(|items| items.into_iter().map(Some).collect()))
            }
        };
        if comparison.operator == Operator::Like
            && matches!(&operands, Operands::One(Some(pattern)) if pattern.len() > LIKE_BYTES_MAX)
        {
            return Err(CqlError::invalid(format!(
                "A LIKE pattern may have at most {LIKE_BYTES_MAX} bytes"
            )));
        }
        if let Operands::Many(Some(list)) = &operands {
            check_list(list.len())?;
        }
        Ok(Self {
            column: comparison.column,
            ty: comparison.ty.clone(),
            operator: comparison.operator,
            operands,
        })
    }

    /// As [`BoundComparison::bind`], for `IF`, where comparing with null is refused for slices.
    pub(crate) fn bind_condition(comparison: &Comparison, bindings: &Bindings<'_>) -> Result<Self> {
        let bound = Self::bind(comparison, bindings)?;
        let slice = matches!(
            bound.operator,
            Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::Like
                | Operator::Contains
                | Operator::ContainsKey
        );
        if slice && matches!(bound.operands, Operands::One(None)) {
            return Err(CqlError::invalid(format!(
                "Invalid comparison with null for operator \"{}\"",
                symbol(bound.operator)
            )));
        }
        Ok(bound)
    }

    /// Whether a row passes a filter: nothing compares with null. A partition without rows passes
    /// filters of regular columns, as in ScyllaDB.
    pub(crate) fn passes(&self, row: &RowView<'_>) -> bool {
        if row.row.is_none() {
            match self.column {
                ColumnRef::Regular(_) => return true,
                ColumnRef::Clustering(_) => return false,
                ColumnRef::Partition(_) | ColumnRef::Static(_) => {}
            }
        }
        let Some(value) = row.value(self.column) else { return false };
        match &self.operands {
            Operands::One(Some(operand)) => self.compares(value, operand),
            Operands::One(None) | Operands::Many(None) => false,
            Operands::Many(Some(operands)) => {
                operands.iter().flatten().any(|operand| self.is_equal(value, operand))
            }
        }
    }

    /// Whether a condition holds of the old row, with the null logic of LWT.
    pub(crate) fn holds(&self, old: Option<&RowView<'_>>) -> bool {
        let value = old.and_then(|old| old.value(self.column));
        match (&self.operands, self.operator) {
            (Operands::One(operand), Operator::Eq | Operator::NotEq) => {
                let equal = match (value, operand) {
                    (None, None) => true,
                    (Some(value), Some(operand)) => self.is_equal(value, operand),
                    _ => false,
                };
                equal == (self.operator == Operator::Eq)
            }
            (Operands::One(operand), _) => match (value, operand) {
                (Some(value), Some(operand)) => self.compares(value, operand),
                _ => false,
            },
            (Operands::Many(None), operator) => operator == Operator::NotIn,
            (Operands::Many(Some(operands)), operator) => {
                let found = operands.iter().any(|operand| match (value, operand) {
                    (None, None) => true,
                    (Some(value), Some(operand)) => self.is_equal(value, operand),
                    _ => false,
                });
                found == (operator == Operator::In)
            }
        }
    }

    fn is_equal(&self, value: &[u8], operand: &[u8]) -> bool {
        self.ty.compare(value, operand) == Ordering::Equal
    }

    fn compares(&self, value: &[u8], operand: &[u8]) -> bool {
        match self.operator {
            Operator::Contains => self.contains(value, operand, false),
            Operator::ContainsKey => self.contains(value, operand, true),
            Operator::Like => is_like(value, operand),
            operator => order_fits(operator, self.ty.compare(value, operand)),
        }
    }

    fn contains(&self, value: &[u8], operand: &[u8], key: bool) -> bool {
        match &self.ty {
            CqlType::List(item, _) | CqlType::Set(item, _) => {
                decode_list(value).is_ok_and(|items| {
                    items.iter().any(|found| item.compare(found, operand) == Ordering::Equal)
                })
            }
            CqlType::Map(keys, values, _) => decode_map(value).is_ok_and(|entries| {
                entries.iter().any(|(k, v)| {
                    let (ty, found) = if key { (keys, k) } else { (values, v) };
                    ty.compare(found, operand) == Ordering::Equal
                })
            }),
            _ => false,
        }
    }
}

/// Whether an order of value and operand is what the operator asks for.
fn order_fits(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Eq => order == Ordering::Equal,
        Operator::NotEq => order != Ordering::Equal,
        Operator::Lt => order == Ordering::Less,
        Operator::LtEq => order != Ordering::Greater,
        Operator::Gt => order == Ordering::Greater,
        Operator::GtEq => order != Ordering::Less,
        _ => false,
    }
}

/// `%` stands for any run of characters, `_` for one.
fn is_like(value: &[u8], pattern: &[u8]) -> bool {
    let (Ok(value), Ok(pattern)) = (std::str::from_utf8(value), std::str::from_utf8(pattern))
    else {
        return false;
    };
    let value: Vec<char> = value.chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    // Greedy with one place to come back to: linear in time for each `%`.
    let (mut at, mut in_pattern) = (0, 0);
    let mut resume: Option<(usize, usize)> = None;
    while at < value.len() {
        match pattern.get(in_pattern) {
            Some('%') => {
                resume = Some((at, in_pattern + 1));
                in_pattern += 1;
            }
            Some(wanted) if *wanted == '_' || *wanted == value[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => match &mut resume {
                Some((from, after)) => {
                    *from += 1;
                    at = *from;
                    in_pattern = *after;
                }
                None => return false,
            },
        }
    }
    pattern[in_pattern..].iter().all(|rest| *rest == '%')
}

/// A value where unset is not possible.
pub(crate) fn given(expr: &Expr, bindings: &Bindings<'_>, name: &str) -> Result<Option<Bytes>> {
    match expr.evaluate(bindings)? {
        Value::Bytes(bytes) => Ok(Some(bytes)),
        Value::Null => Ok(None),
        Value::Unset => Err(CqlError::invalid(match expr.marker_index() {
            Some(index) => format!("Unexpected unset value for bind variable {index}"),
            None => format!("Invalid unset value for column {name}"),
        })),
    }
}

/// The elements of a list value, sharing its memory.
pub(crate) fn items(list: &Bytes) -> Result<Vec<Bytes>> {
    Ok(decode_list(list)?.into_iter().map(|item| list.slice_ref(item)).collect())
}
