//! Terms and relations as CQL text, for messages.

use super::{Literal, Operand, Operator, Relation, TableName, Term};
use std::fmt;

impl Literal {
    /// The kind of constant, as messages name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "STRING",
            Self::Integer(_) => "INTEGER",
            Self::Float(_) => "FLOAT",
            Self::Boolean(_) => "BOOLEAN",
            Self::Hex(_) => "HEX",
            Self::Uuid(_) => "UUID",
            Self::Duration(_) => "DURATION",
        }
    }

    /// The constant without quotes.
    pub fn text(&self) -> String {
        match self {
            Self::String(text) | Self::Integer(text) | Self::Float(text) | Self::Duration(text) => {
                text.clone()
            }
            Self::Boolean(value) => value.to_string(),
            Self::Hex(digits) => format!("0x{digits}"),
            Self::Uuid(uuid) => uuid.to_string(),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => write!(f, "'{}'", text.replace('\'', "''")),
            other => f.write_str(&other.text()),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Literal(literal) => literal.fmt(f),
            Self::Marker { name: None, .. } => f.write_str("?"),
            Self::Marker { name: Some(name), .. } => write!(f, ":{name}"),
            Self::List(items) => write!(f, "[{}]", Joined(items)),
            Self::Set(items) => write!(f, "{{{}}}", Joined(items)),
            Self::Map(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{key}: {value}")?;
                }
                f.write_str("}")
            }
            Self::Tuple(items) => write!(f, "({})", Joined(items)),
            Self::Function { name, arguments } => write!(f, "{name}({})", Joined(arguments)),
            Self::Cast(ty, term) => write!(f, "({ty}){term}"),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::NotEq => "!=",
            Self::Lt => "<",
            Self::LtEq => "<=",
            Self::Gt => ">",
            Self::GtEq => ">=",
            Self::In => "IN",
            Self::NotIn => "NOT IN",
            Self::Contains => "CONTAINS",
            Self::ContainsKey => "CONTAINS KEY",
            Self::Like => "LIKE",
        })
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term(term) => term.fmt(f),
            Self::List(terms) => write!(f, "({})", Joined(terms)),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column { column, operator, operand } => {
                write!(f, "{column} {operator} {operand}")
            }
            Self::Tuple { columns, operator, operand } => {
                write!(f, "({}) {operator} {operand}", Joined(columns))
            }
            Self::Token { columns, operator, operand } => {
                write!(f, "token({}) {operator} {operand}", Joined(columns))
            }
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.keyspace {
            Some(keyspace) => write!(f, "{keyspace}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

struct Joined<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
