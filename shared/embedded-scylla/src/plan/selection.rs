//! What a SELECT gives for each row, and the names and types of its columns.

use crate::ast;
use crate::error::{CqlError, Result};
use crate::plan::comparison::ColumnRef;
use crate::plan::functions::{Argument, Function, choose, plain_name};
use crate::plan::restrictions::{check_count, find};
use crate::protocol::ColumnSpec;
use crate::schema::{ColumnKind, CqlType, Table};
use std::sync::Arc;

/// The selected expressions.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// In result order.
    pub(crate) selectors: Vec<Selector>,
    /// Their names and types; for JSON those of the fields.
    pub(crate) fields: Arc<[ColumnSpec]>,
    /// Whether any selector is an aggregate: one result row for all.
    pub(crate) is_aggregate: bool,
    /// `SELECT JSON`: one text per row.
    pub(crate) json: bool,
}

/// One selected expression.
#[derive(Debug, Clone)]
pub(crate) enum Selector {
    /// A column's value.
    Column(ColumnRef),
    /// The write timestamp of a cell.
    Writetime(ColumnRef),
    /// The remaining TTL of a cell.
    Ttl(ColumnRef),
    /// The partition's token.
    Token,
    /// A function of other selectors.
    Call(Function, Vec<Selector>),
    /// An aggregate over all rows.
    Aggregate(Aggregate, Option<Box<Selector>>),
}

/// The aggregate functions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Aggregate {
    /// `COUNT(*)` without, `COUNT(c)` with an argument.
    Count,
    /// By the type's order.
    Min(CqlType),
    /// By the type's order.
    Max(CqlType),
    /// Of a numeric type.
    Sum(CqlType),
    /// Of a numeric type.
    Avg(CqlType),
}

/// A prepared selector with what the metadata says of it.
struct Named {
    selector: Selector,
    name: String,
    ty: CqlType,
}

impl Selection {
    /// Prepares the selectors of a statement; `None` is `*`.
    pub(crate) fn prepare(
        table: &Table,
        selectors: Option<&[(ast::Selector, Option<String>)]>,
        json: bool,
    ) -> Result<Self> {
        check_count("selectors", selectors.map_or(0, <[_]>::len))?;
        let named: Vec<Named> = match selectors {
            None => table
                .columns
                .iter()
                .map(|column| Named {
                    selector: Selector::Column(column.into()),
                    name: column.name.clone(),
                    ty: column.ty.clone(),
                })
                .collect(),
            Some(selectors) => selectors
                .iter()
                .map(|(selector, alias)| {
                    let mut named = prepare(table, selector)?;
                    if let Some(alias) = alias {
                        named.name.clone_from(alias);
                    }
                    Ok(named)
                })
                .collect::<Result<_>>()?,
        };
        let is_aggregate = named.iter().any(|named| named.selector.is_aggregate());
        let fields = named.iter().map(|named| spec(table, &named.name, named.ty.clone())).collect();
        let selectors = named.into_iter().map(|named| named.selector).collect();
        Ok(Self { selectors, fields, is_aggregate, json })
    }

    /// The columns of the result.
    pub(crate) fn columns(&self, table: &Table) -> Arc<[ColumnSpec]> {
        if self.json {
            Arc::new([spec(table, "[json]", CqlType::Text)])
        } else {
            self.fields.clone()
        }
    }

    /// Visits every column that the selection needs.
    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(ColumnRef)) {
        for selector in &self.selectors {
            selector.visit(visitor);
        }
    }
}

impl Selector {
    fn is_aggregate(&self) -> bool {
        match self {
            Self::Aggregate(..) => true,
            Self::Call(_, arguments) => arguments.iter().any(Self::is_aggregate),
            Self::Column(_) | Self::Writetime(_) | Self::Ttl(_) | Self::Token => false,
        }
    }

    fn visit(&self, visitor: &mut dyn FnMut(ColumnRef)) {
        match self {
            Self::Column(column) | Self::Writetime(column) | Self::Ttl(column) => visitor(*column),
            Self::Call(_, arguments) => {
                arguments.iter().for_each(|argument| argument.visit(visitor));
            }
            Self::Aggregate(_, Some(argument)) => argument.visit(visitor),
            Self::Token | Self::Aggregate(_, None) => {}
        }
    }
}

/// A result column of a table.
pub(crate) fn spec(table: &Table, name: &str, ty: CqlType) -> ColumnSpec {
    ColumnSpec {
        keyspace: table.keyspace.clone(),
        table: table.name.clone(),
        name: name.to_owned(),
        ty,
    }
}

fn prepare(table: &Table, selector: &ast::Selector) -> Result<Named> {
    match selector {
        ast::Selector::Column(name) => {
            let column = find(table, name)?;
            Ok(Named {
                selector: Selector::Column(column.into()),
                name: name.clone(),
                ty: column.ty.clone(),
            })
        }
        ast::Selector::CountStar => Ok(Named {
            selector: Selector::Aggregate(Aggregate::Count, None),
            name: "count".to_owned(),
            ty: CqlType::Bigint,
        }),
        ast::Selector::Writetime(name) => Ok(Named {
            selector: Selector::Writetime(cell_of(table, "WRITETIME", name)?),
            name: format!("writetime({name})"),
            ty: CqlType::Bigint,
        }),
        ast::Selector::Ttl(name) => Ok(Named {
            selector: Selector::Ttl(cell_of(table, "TTL", name)?),
            name: format!("ttl({name})"),
            ty: CqlType::Int,
        }),
        ast::Selector::Function { name, arguments } => {
            let arguments: Vec<Named> =
                arguments.iter().map(|argument| prepare(table, argument)).collect::<Result<_>>()?;
            call(table, &plain_name(name), arguments)
        }
        ast::Selector::Cast(inner, to) => {
            let inner = prepare(table, inner)?;
            let to = CqlType::parse(to, &table.keyspace)?;
            if !crate::execute::functions::is_castable(&inner.ty, &to) {
                return Err(CqlError::invalid(format!("{} cannot be cast to {to}", inner.ty)));
            }
            Ok(Named {
                selector: Selector::Call(
                    Function::Cast(inner.ty, to.clone()),
                    vec![inner.selector],
                ),
                name: format!("cast({} as {to})", inner.name),
                ty: to,
            })
        }
        ast::Selector::Term(_) => Err(CqlError::invalid("Constants cannot be selected")),
    }
}

fn cell_of(table: &Table, function: &str, name: &str) -> Result<ColumnRef> {
    let column = find(table, name)?;
    if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
        return Err(CqlError::invalid(format!(
            "{function} is not legal on partition key component {name}"
        )));
    }
    if column.ty.is_multi_cell() {
        return Err(CqlError::invalid(format!(
            "Cannot use selection function {function} on collections"
        )));
    }
    Ok(column.into())
}

fn call(table: &Table, function: &str, arguments: Vec<Named>) -> Result<Named> {
    let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
    let name = format!("system.{function}({})", names.join(", "));
    if function == "token" {
        let key = table.partition_key().iter().map(ColumnRef::from);
        let given = arguments.iter().map(|argument| match argument.selector {
            Selector::Column(column) => Some(column),
            _ => None,
        });
        if !given.eq(key.map(Some)) {
            return Err(CqlError::invalid(
                "Invalid call to function system.token: its arguments must be the partition key, in order",
            ));
        }
        return Ok(Named { selector: Selector::Token, name, ty: CqlType::Bigint });
    }
    if let Some((aggregate, ty)) = aggregate(function, &arguments)? {
        let argument = arguments.into_iter().next().map(|argument| Box::new(argument.selector));
        return Ok(Named { selector: Selector::Aggregate(aggregate, argument), name, ty });
    }
    let types: Vec<Argument> =
        arguments.iter().map(|argument| Argument::Typed(argument.ty.clone())).collect();
    let signature = choose(function, &types)?;
    let arguments = arguments.into_iter().map(|argument| argument.selector).collect();
    Ok(Named {
        selector: Selector::Call(signature.function, arguments),
        name,
        ty: signature.returns,
    })
}

fn aggregate(function: &str, arguments: &[Named]) -> Result<Option<(Aggregate, CqlType)>> {
    if !matches!(function, "count" | "min" | "max" | "sum" | "avg") {
        return Ok(None);
    }
    let [argument] = arguments else {
        return Err(CqlError::invalid(format!(
            "Invalid number of arguments in call to function system.{function}: 1 required but {} provided",
            arguments.len()
        )));
    };
    if argument.selector.is_aggregate() {
        return Err(CqlError::invalid(
            "aggregate functions cannot be used as arguments of aggregate functions",
        ));
    }
    let ty = argument.ty.clone();
    let numeric = matches!(
        ty,
        CqlType::Tinyint
            | CqlType::Smallint
            | CqlType::Int
            | CqlType::Bigint
            | CqlType::Float
            | CqlType::Double
    );
    Ok(Some(match function {
        "count" => (Aggregate::Count, CqlType::Bigint),
        "min" => (Aggregate::Min(ty.clone()), ty),
        "max" => (Aggregate::Max(ty.clone()), ty),
        "sum" if numeric => (Aggregate::Sum(ty.clone()), ty),
        "avg" if numeric => (Aggregate::Avg(ty.clone()), ty),
        _ => {
            return Err(CqlError::invalid(format!(
                "Invalid call to function system.{function}, none of its type signatures match ({ty})"
            )));
        }
    }))
}
