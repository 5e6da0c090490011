//! Terms with their type: prepared once per statement, evaluated once per execution.

use crate::ast::{Literal, Term};
use crate::error::{CqlError, Result};
use crate::execute::functions;
use crate::plan::functions::{Argument, Function, Signature, choose, plain_name};
use crate::plan::markers::Markers;
use crate::protocol::Value;
use crate::schema::{CqlType, Partitioner, Table};
use crate::types::collection;
use bytes::Bytes;

/// Where a term is prepared: its table, for names and `token`, and the statement's markers.
pub(crate) struct Scope<'a> {
    /// The table of the statement.
    pub(crate) table: &'a Table,
    /// Markers, numbered through the whole statement.
    pub(crate) markers: &'a mut Markers,
}

/// A value in the making, its type known.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    /// `null`
    Null,
    /// Bytes of the right type.
    Constant(Bytes),
    /// A bind marker; its value is checked against the type when it is used.
    Marker(Marker),
    /// A list, set, map or tuple with at least one part that is not constant.
    Collection(CqlType, Vec<Expr>),
    /// A function call.
    Call(Function, Vec<Expr>),
}

/// A bind marker and what it takes.
#[derive(Debug, Clone)]
pub(crate) struct Marker {
    /// Its place in the values.
    pub(crate) index: usize,
    /// What it stands for, for messages.
    pub(crate) name: String,
    /// Its type.
    pub(crate) ty: CqlType,
}

/// The values of one execution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bindings<'a> {
    /// One for each marker, in marker order.
    pub(crate) values: &'a [Value],
    /// The server's clock in µs, for `now()` and its kin.
    pub(crate) now_micros: i64,
}

impl Bindings<'_> {
    /// No markers; only for constants.
    pub(crate) const NONE: Bindings<'static> = Bindings { values: &[], now_micros: 0 };
}

impl Expr {
    /// Prepares a term that is to be of type `ty`; `name` is what it is assigned to or compared
    /// with, and names markers and messages.
    pub(crate) fn prepare(
        scope: &mut Scope<'_>,
        term: &Term,
        name: &str,
        ty: &CqlType,
    ) -> Result<Self> {
        let expr = match term {
            Term::Null => Self::Null,
            Term::Literal(literal) => Self::Constant(ty.literal(literal, name)?),
            Term::Marker { index, .. } => return Self::marker(scope, *index, name, ty),
            Term::List(items) => match ty {
                CqlType::List(item, _) => {
                    Self::elements(scope, ty, items, &format!("value({name})"), item)?
                }
                _ => return Err(mismatch("list literal", name, ty)),
            },
            Term::Set(items) => match ty {
                CqlType::Set(item, _) => {
                    Self::elements(scope, ty, items, &format!("value({name})"), item)?
                }
                CqlType::Map(..) if items.is_empty() => Self::Collection(ty.clone(), Vec::new()),
                _ => return Err(mismatch("set literal", name, ty)),
            },
            Term::Map(entries) => Self::entries(scope, entries, name, ty)?,
            Term::Tuple(items) => Self::tuple(scope, items, name, ty)?,
            Term::Function { name: function, arguments } => {
                Self::call(scope, function, arguments, name, ty)?
            }
            Term::Cast(to, inner) => {
                let to = CqlType::parse(to, &scope.table.keyspace)?;
                if !ty.accepts(&to) {
                    return Err(CqlError::invalid(format!(
                        "Cannot assign value of type {to} to {name} of type {ty}"
                    )));
                }
                Self::prepare(scope, inner, name, &to)?
            }
        };
        expr.fold()
    }

    /// A marker of this type and name.
    pub(crate) fn marker(
        scope: &mut Scope<'_>,
        index: usize,
        name: &str,
        ty: &CqlType,
    ) -> Result<Self> {
        scope.markers.declare(index, scope.table, name, ty)?;
        Ok(Self::Marker(Marker { index, name: name.to_owned(), ty: ty.clone() }))
    }

    fn elements(
        scope: &mut Scope<'_>,
        ty: &CqlType,
        items: &[Term],
        name: &str,
        item: &CqlType,
    ) -> Result<Self> {
        let items: Result<_> =
            items.iter().map(|term| Self::prepare(scope, term, name, item)).collect();
        Ok(Self::Collection(ty.clone(), items?))
    }

    fn entries(
        scope: &mut Scope<'_>,
        entries: &[(Term, Term)],
        name: &str,
        ty: &CqlType,
    ) -> Result<Self> {
        let CqlType::Map(key_type, value_type, _) = ty else {
            return Err(mismatch("map literal", name, ty));
        };
        let mut items = Vec::with_capacity(entries.len() * 2);
        for (key, value) in entries {
            items.push(Self::prepare(scope, key, &format!("key({name})"), key_type)?);
            items.push(Self::prepare(scope, value, &format!("value({name})"), value_type)?);
        }
        Ok(Self::Collection(ty.clone(), items))
    }

    fn tuple(scope: &mut Scope<'_>, items: &[Term], name: &str, ty: &CqlType) -> Result<Self> {
        // `(x)` is a tuple of one only where a tuple is wanted.
        let CqlType::Tuple(types) = ty else {
            return Err(mismatch("tuple literal", name, ty));
        };
        if items.len() > types.len() {
            return Err(CqlError::invalid(format!(
                "Invalid tuple literal for {name}: too many elements. Type {ty} expects {} but got {}",
                types.len(),
                items.len()
            )));
        }
        let items: Result<_> = items
            .iter()
            .zip(types)
            .enumerate()
            .map(|(at, (term, ty))| Self::prepare(scope, term, &format!("{name}[{at}]"), ty))
            .collect();
        Ok(Self::Collection(ty.clone(), items?))
    }

    fn call(
        scope: &mut Scope<'_>,
        function: &str,
        arguments: &[Term],
        name: &str,
        ty: &CqlType,
    ) -> Result<Self> {
        let function = plain_name(function);
        let signature = if function == "token" {
            let types = scope.table.partition_key().iter().map(|column| column.ty.clone());
            Signature {
                function: Function::Token(scope.table.partitioner),
                arguments: types.collect(),
                returns: CqlType::Bigint,
            }
        } else {
            let given: Vec<Argument> =
                arguments.iter().map(|term| argument(scope, term)).collect::<Result<_>>()?;
            choose(&function, &given)?
        };
        if signature.arguments.len() != arguments.len() {
            return Err(CqlError::invalid(format!(
                "Invalid number of arguments in call to function system.{function}: {} required but {} provided",
                signature.arguments.len(),
                arguments.len()
            )));
        }
        if !ty.accepts(&signature.returns) {
            return Err(CqlError::invalid(format!(
                "Type error: cannot assign result of function system.{function} (type {}) to {name} (type {ty})",
                signature.returns
            )));
        }
        let arguments: Result<_> = arguments
            .iter()
            .zip(&signature.arguments)
            .enumerate()
            .map(|(at, (term, ty))| {
                Self::prepare(scope, term, &format!("arg{at}(system.{function})"), ty)
            })
            .collect();
        Ok(Self::Call(signature.function, arguments?))
    }

    /// What never changes is evaluated once for all.
    fn fold(self) -> Result<Self> {
        let constant = match &self {
            Self::Null | Self::Constant(_) | Self::Marker(_) => false,
            Self::Collection(_, items) => items.iter().all(Self::is_constant),
            Self::Call(function, arguments) => {
                function.is_deterministic() && arguments.iter().all(Self::is_constant)
            }
        };
        if !constant {
            return Ok(self);
        }
        Ok(match self.evaluate(&Bindings::NONE)? {
            Value::Bytes(bytes) => Self::Constant(bytes),
            Value::Null | Value::Unset => Self::Null,
        })
    }

    fn is_constant(&self) -> bool {
        matches!(self, Self::Null | Self::Constant(_))
    }

    /// The marker's index if the term is nothing but a marker.
    pub(crate) fn marker_index(&self) -> Option<usize> {
        match self {
            Self::Marker(marker) => Some(marker.index),
            _ => None,
        }
    }

    /// The value of this execution, checked against its type.
    pub(crate) fn evaluate(&self, bindings: &Bindings<'_>) -> Result<Value> {
        match self {
            Self::Null => Ok(Value::Null),
            Self::Constant(bytes) => Ok(Value::Bytes(bytes.clone())),
            Self::Marker(marker) => marker.evaluate(bindings),
            Self::Collection(ty, items) => collect(ty, items, bindings).map(Value::Bytes),
            Self::Call(function, arguments) => {
                let arguments: Vec<Option<Bytes>> = arguments
                    .iter()
                    .map(|argument| match argument.evaluate(bindings)? {
                        Value::Bytes(bytes) => Ok(Some(bytes)),
                        Value::Null => Ok(None),
                        Value::Unset => Err(CqlError::invalid(
                            "Invalid unset value for argument in call to function",
                        )),
                    })
                    .collect::<Result<_>>()?;
                let result = functions::call(function, &arguments, bindings.now_micros)?;
                Ok(result.map_or(Value::Null, Value::Bytes))
            }
        }
    }
}

impl Marker {
    fn evaluate(&self, bindings: &Bindings<'_>) -> Result<Value> {
        match bindings.values.get(self.index) {
            Some(Value::Bytes(bytes)) => {
                self.ty.normalize(bytes.clone()).map(Value::Bytes).map_err(|error| {
                    CqlError::invalid(format!(
                        "Exception while binding column {}: {error}",
                        self.name
                    ))
                })
            }
            Some(other) => Ok(other.clone()),
            None => Err(CqlError::server("a bind marker is out of bounds")),
        }
    }
}

/// What is known of a function's argument before the function is.
fn argument(scope: &Scope<'_>, term: &Term) -> Result<Argument> {
    use CqlType::{
        Ascii, Bigint, Blob, Boolean, Counter, Date, Decimal, Double, Duration, Float, Inet, Int,
        Smallint, Text, Time, Timestamp, Timeuuid, Tinyint, Uuid, Varint,
    };
    Ok(match term {
        Term::Null | Term::Marker { .. } => Argument::Any,
        Term::Cast(to, _) => Argument::Typed(CqlType::parse(to, &scope.table.keyspace)?),
        Term::Function { name, arguments } => {
            let given: Vec<Argument> =
                arguments.iter().map(|term| argument(scope, term)).collect::<Result<_>>()?;
            Argument::Typed(choose(&plain_name(name), &given)?.returns)
        }
        Term::Literal(literal) => Argument::Literal(match literal {
            Literal::String(_) => &[Ascii, Text, Date, Inet, Time, Timestamp],
            Literal::Integer(_) => &[
                Bigint, Counter, Date, Decimal, Double, Float, Int, Smallint, Time, Timestamp,
                Tinyint, Varint,
            ],
            Literal::Float(_) => &[Decimal, Double, Float],
            Literal::Boolean(_) => &[Boolean],
            Literal::Hex(_) => &[Blob],
            Literal::Uuid(_) => &[Timeuuid, Uuid],
            Literal::Duration(_) => &[Duration],
        }),
        Term::List(_) | Term::Set(_) | Term::Map(_) | Term::Tuple(_) => Argument::Literal(&[]),
    })
}

fn collect(ty: &CqlType, items: &[Expr], bindings: &Bindings<'_>) -> Result<Bytes> {
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        match item.evaluate(bindings)? {
            Value::Bytes(bytes) => values.push(Some(bytes)),
            Value::Null => values.push(None),
            Value::Unset => {
                return Err(CqlError::invalid("unset value is not supported inside collections"));
            }
        }
    }
    if matches!(ty, CqlType::Tuple(_)) {
        return Ok(collection::encode_tuple(&values));
    }
    let values: Option<Vec<Bytes>> = values.into_iter().collect();
    let bytes = match (ty, values) {
        (CqlType::Map(..), Some(values)) => {
            let entries: Vec<(&Bytes, &Bytes)> =
                values.chunks_exact(2).map(|entry| (&entry[0], &entry[1])).collect();
            collection::encode_map(&entries)
        }
        (_, Some(values)) => collection::encode_list(&values),
        (CqlType::Map(..), None) => return Err(CqlError::invalid("Cannot store NULL in map")),
        (_, None) => return Err(CqlError::invalid("Cannot store NULL in list or set")),
    };
    ty.normalize(bytes)
}

/// The token of a key under a table's partitioner.
pub(crate) fn token(partitioner: Partitioner, components: &[Bytes]) -> i64 {
    match (partitioner, components) {
        (Partitioner::Cdc, [key]) => crate::types::murmur3::cdc_token(key),
        _ => crate::types::murmur3::token(components),
    }
}

fn mismatch(what: &str, name: &str, ty: &CqlType) -> CqlError {
    CqlError::invalid(format!("Invalid {what} for {name} of type {ty}"))
}
