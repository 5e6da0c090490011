//! `column operator operand`, as `WHERE` and `IF` have it.

use crate::ast::{self, Operator, Term};
use crate::error::{CqlError, Result};
use crate::execute::keys::check_list;
use crate::plan::terms::{Expr, Scope};
use crate::schema::{Column, ColumnId, ColumnKind, CqlType};

/// Where a column's value is found in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ColumnRef {
    /// A component of the partition key.
    Partition(usize),
    /// A component of the clustering key.
    Clustering(usize),
    /// A static cell.
    Static(ColumnId),
    /// A cell of the row.
    Regular(ColumnId),
}

impl From<&Column> for ColumnRef {
    fn from(column: &Column) -> Self {
        match column.kind {
            ColumnKind::PartitionKey => Self::Partition(column.position),
            ColumnKind::Clustering => Self::Clustering(column.position),
            ColumnKind::Static => Self::Static(column.id),
            ColumnKind::Regular => Self::Regular(column.id),
        }
    }
}

impl ColumnRef {
    /// Whether the column is part of the primary key.
    pub(crate) fn is_key(self) -> bool {
        matches!(self, Self::Partition(_) | Self::Clustering(_))
    }
}

/// The right-hand side, its type known.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    /// One value.
    One(Expr),
    /// `IN (a, b, …)`
    List(Vec<Expr>),
    /// `IN ?`: a value of type list.
    Listed(Expr),
}

/// A comparison of a column with something.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    /// Where the column is.
    pub(crate) column: ColumnRef,
    /// Its name, for messages.
    pub(crate) name: String,
    /// Its type.
    pub(crate) ty: CqlType,
    /// How it is compared.
    pub(crate) operator: Operator,
    /// With what.
    pub(crate) operand: Operand,
}

impl Comparison {
    /// Prepares the operand for the column and the operator.
    pub(crate) fn prepare(
        scope: &mut Scope<'_>,
        column: &Column,
        operator: Operator,
        operand: &ast::Operand,
    ) -> Result<Self> {
        let (name, ty) = (&column.name, operand_type(column, operator)?);
        let operand = match (operator, operand) {
            (Operator::In | Operator::NotIn, operand) => prepare_list(scope, name, &ty, operand)?,
            (_, ast::Operand::Term(term)) => {
                let receiver = match operator {
                    Operator::Contains => format!("value({name})"),
                    Operator::ContainsKey => format!("key({name})"),
                    _ => name.clone(),
                };
                Operand::One(Expr::prepare(scope, term, &receiver, &ty)?)
            }
            (_, ast::Operand::List(_)) => {
                return Err(CqlError::invalid(format!("Invalid list operand for {name}")));
            }
        };
        Ok(Self {
            column: column.into(),
            name: name.clone(),
            ty: column.ty.clone(),
            operator,
            operand,
        })
    }

    /// The one marker that this column is set equal to, if that is what the comparison is.
    pub(crate) fn marker_index(&self) -> Option<usize> {
        match (&self.operator, &self.operand) {
            (Operator::Eq, Operand::One(expr)) => expr.marker_index(),
            _ => None,
        }
    }
}

fn prepare_list(
    scope: &mut Scope<'_>,
    name: &str,
    ty: &CqlType,
    operand: &ast::Operand,
) -> Result<Operand> {
    let list = CqlType::List(Box::new(ty.clone()), false);
    match operand {
        ast::Operand::List(terms) => {
            check_list(terms.len())?;
            let items: Result<_> = terms
                .iter()
                .map(|term| Expr::prepare(scope, term, &format!("in({name})"), ty))
                .collect();
            Ok(Operand::List(items?))
        }
        ast::Operand::Term(Term::Marker { index, .. }) => {
            Expr::marker(scope, *index, &format!("in({name})"), &list).map(Operand::Listed)
        }
        ast::Operand::Term(term) => Expr::prepare(scope, term, name, &list).map(Operand::Listed),
    }
}

/// What the operator wants on its right-hand side.
fn operand_type(column: &Column, operator: Operator) -> Result<CqlType> {
    let (name, ty) = (&column.name, &column.ty);
    match operator {
        Operator::Contains => match ty {
            CqlType::List(item, _) | CqlType::Set(item, _) | CqlType::Map(_, item, _) => {
                Ok((**item).clone())
            }
            _ => Err(CqlError::invalid(format!(
                "Cannot use CONTAINS on non-collection column {name}"
            ))),
        },
        Operator::ContainsKey => match ty {
            CqlType::Map(key, ..) => Ok((**key).clone()),
            _ => {
                Err(CqlError::invalid(format!("Cannot use CONTAINS KEY on non-map column {name}")))
            }
        },
        Operator::Like if !matches!(ty, CqlType::Text | CqlType::Ascii) => Err(CqlError::invalid(
            format!("LIKE is allowed only on string types, which {name} is not"),
        )),
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
            if ty.references_duration() =>
        {
            Err(CqlError::invalid(format!(
                "Slice restrictions are not supported on duration columns: {name}"
            )))
        }
        _ => Ok(ty.clone()),
    }
}

/// An operator as messages show it.
pub(crate) fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::Eq => "=",
        Operator::NotEq => "!=",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        Operator::In => "IN",
        Operator::NotIn => "NOT IN",
        Operator::Contains => "CONTAINS",
        Operator::ContainsKey => "CONTAINS KEY",
        Operator::Like => "LIKE",
    }
}
