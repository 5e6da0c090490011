//! Type names: the CQL form, which clients see in the schema tables, and the class names that
//! appear in messages.

use crate::error::{CqlError, ErrorKind, Result};
use crate::schema::CqlType;
use std::fmt;

/// How deep types may nest.
const DEPTH_MAX: usize = 16;

impl CqlType {
    /// Parses `text`, `frozen<map<text, int>>` and so on; `keyspace` is where an unknown name would
    /// be a user-defined type, and is only there for the message.
    pub fn parse(text: &str, keyspace: &str) -> Result<CqlType> {
        let mut parser = NameParser { rest: text.trim_start(), text, keyspace };
        let ty = parser.ty(0, false)?;
        if parser.rest.is_empty() { Ok(ty) } else { Err(parser.malformed()) }
    }

    /// Whether the type is a list, set, map or tuple.
    pub fn is_collection_or_tuple(&self) -> bool {
        matches!(self, Self::List(..) | Self::Set(..) | Self::Map(..) | Self::Tuple(_))
    }

    /// Whether the type is a list, set or map without `frozen`.
    pub fn is_multi_cell(&self) -> bool {
        matches!(self, Self::List(_, false) | Self::Set(_, false) | Self::Map(_, _, false))
    }

    /// Whether `duration` occurs in the type, which then has no order and may not be in a key.
    pub fn references_duration(&self) -> bool {
        match self {
            Self::Duration => true,
            Self::List(item, _) | Self::Set(item, _) => item.references_duration(),
            Self::Map(key, value, _) => key.references_duration() || value.references_duration(),
            Self::Tuple(items) => items.iter().any(Self::references_duration),
            _ => false,
        }
    }

    /// The class name as messages have it, for example
    /// `org.apache.cassandra.db.marshal.Int32Type`.
    pub fn class_name(&self) -> String {
        format!("org.apache.cassandra.db.marshal.{}", self.short_class_name())
    }

    fn short_class_name(&self) -> String {
        let name = match self {
            Self::Ascii => "AsciiType",
            Self::Bigint => "LongType",
            Self::Blob => "BytesType",
            Self::Boolean => "BooleanType",
            Self::Counter => "CounterColumnType",
            Self::Date => "SimpleDateType",
            Self::Decimal => "DecimalType",
            Self::Double => "DoubleType",
            Self::Duration => "DurationType",
            Self::Float => "FloatType",
            Self::Inet => "InetAddressType",
            Self::Int => "Int32Type",
            Self::Smallint => "ShortType",
            Self::Text => "UTF8Type",
            Self::Time => "TimeType",
            Self::Timestamp => "TimestampType",
            Self::Timeuuid => "TimeUUIDType",
            Self::Tinyint => "ByteType",
            Self::Uuid => "UUIDType",
            Self::Varint => "IntegerType",
            Self::List(item, frozen) => return class("ListType", [&**item], *frozen),
            Self::Set(item, frozen) => return class("SetType", [&**item], *frozen),
            Self::Map(key, value, frozen) => return class("MapType", [&**key, &**value], *frozen),
            Self::Tuple(items) => return class("TupleType", items, false),
        };
        name.to_owned()
    }
}

fn class<'a>(name: &str, items: impl IntoIterator<Item = &'a CqlType>, frozen: bool) -> String {
    let items: Vec<String> = items.into_iter().map(CqlType::class_name).collect();
    let class = format!("{name}({})", items.join(","));
    if frozen { format!("FrozenType(org.apache.cassandra.db.marshal.{class})") } else { class }
}

impl fmt::Display for CqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Ascii => "ascii",
            Self::Bigint => "bigint",
            Self::Blob => "blob",
            Self::Boolean => "boolean",
            Self::Counter => "counter",
            Self::Date => "date",
            Self::Decimal => "decimal",
            Self::Double => "double",
            Self::Duration => "duration",
            Self::Float => "float",
            Self::Inet => "inet",
            Self::Int => "int",
            Self::Smallint => "smallint",
            Self::Text => "text",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timeuuid => "timeuuid",
            Self::Tinyint => "tinyint",
            Self::Uuid => "uuid",
            Self::Varint => "varint",
            Self::List(item, false) => return write!(f, "list<{item}>"),
            Self::List(item, true) => return write!(f, "frozen<list<{item}>>"),
            Self::Set(item, false) => return write!(f, "set<{item}>"),
            Self::Set(item, true) => return write!(f, "frozen<set<{item}>>"),
            Self::Map(key, value, false) => return write!(f, "map<{key}, {value}>"),
            Self::Map(key, value, true) => return write!(f, "frozen<map<{key}, {value}>>"),
            Self::Tuple(items) => {
                f.write_str("frozen<tuple<")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                return f.write_str(">>");
            }
        };
        f.write_str(name)
    }
}

struct NameParser<'a> {
    rest: &'a str,
    text: &'a str,
    keyspace: &'a str,
}

impl NameParser<'_> {
    fn malformed(&self) -> CqlError {
        CqlError::new(ErrorKind::Syntax, format!("line 1:0 malformed type '{}'", self.text))
    }

    fn word(&mut self) -> String {
        let quoted = self.rest.starts_with('"');
        let start = usize::from(quoted);
        let end = self.rest[start..]
            .find(|c: char| if quoted { c == '"' } else { !(c.is_alphanumeric() || c == '_') })
            .map_or(self.rest.len(), |at| start + at);
        let word = &self.rest[start..end];
        let word = if quoted { word.to_owned() } else { word.to_ascii_lowercase() };
        let after = if quoted && end < self.rest.len() { end + 1 } else { end };
        self.rest = self.rest[after..].trim_start();
        word
    }

    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.eat(c) { Ok(()) } else { Err(self.malformed()) }
    }

    fn ty(&mut self, depth: usize, frozen: bool) -> Result<CqlType> {
        if depth > DEPTH_MAX {
            return Err(CqlError::invalid("Type is nested too deeply"));
        }
        let name = self.word();
        let simple = match name.as_str() {
            "ascii" => CqlType::Ascii,
            "bigint" => CqlType::Bigint,
            "blob" => CqlType::Blob,
            "boolean" => CqlType::Boolean,
            "counter" => CqlType::Counter,
            "date" => CqlType::Date,
            "decimal" => CqlType::Decimal,
            "double" => CqlType::Double,
            "duration" => CqlType::Duration,
            "float" => CqlType::Float,
            "inet" => CqlType::Inet,
            "int" => CqlType::Int,
            "smallint" => CqlType::Smallint,
            "text" | "varchar" => CqlType::Text,
            "time" => CqlType::Time,
            "timestamp" => CqlType::Timestamp,
            "timeuuid" => CqlType::Timeuuid,
            "tinyint" => CqlType::Tinyint,
            "uuid" => CqlType::Uuid,
            "varint" => CqlType::Varint,
            "frozen" | "list" | "set" | "map" | "tuple" => {
                return self.parameterised(&name, depth, frozen);
            }
            "" => return Err(self.malformed()),
            _ => return Err(self.unknown(name)),
        };
        Ok(simple)
    }

    fn unknown(&mut self, name: String) -> CqlError {
        let (keyspace, name) =
            if self.eat('.') { (name, self.word()) } else { (self.keyspace.to_owned(), name) };
        CqlError::invalid(format!("Unknown type {keyspace}.{name}"))
    }

    fn parameterised(&mut self, name: &str, depth: usize, frozen: bool) -> Result<CqlType> {
        self.expect('<')?;
        let ty = match name {
            "frozen" => {
                let ty = self.ty(depth + 1, true)?;
                if !ty.is_collection_or_tuple() {
                    return Err(CqlError::invalid(format!(
                        "frozen<> is only allowed on collections, tuples, and user-defined types (got {ty})"
                    )));
                }
                ty
            }
            "list" => CqlType::List(Box::new(self.item(depth, frozen, "list")?), frozen),
            "set" => {
                let item = self.item(depth, frozen, "set")?;
                if item.references_duration() {
                    return Err(CqlError::invalid(format!(
                        "Durations are not allowed inside sets: set<{item}>"
                    )));
                }
                CqlType::Set(Box::new(item), frozen)
            }
            "map" => {
                let key = self.item(depth, frozen, "map")?;
                if key.references_duration() {
                    return Err(CqlError::invalid(format!(
                        "Durations are not allowed as map keys: map<{key}, ...>"
                    )));
                }
                self.expect(',')?;
                let value = self.item(depth, frozen, "map")?;
                CqlType::Map(Box::new(key), Box::new(value), frozen)
            }
            _ => {
                // A tuple is frozen with all that is in it.
                let mut items = vec![self.ty(depth + 1, true)?];
                while self.eat(',') {
                    items.push(self.ty(depth + 1, true)?);
                }
                CqlType::Tuple(items)
            }
        };
        self.expect('>')?;
        Ok(ty)
    }

    fn item(&mut self, depth: usize, frozen: bool, of: &str) -> Result<CqlType> {
        let item = self.ty(depth + 1, frozen)?;
        if item == CqlType::Counter {
            return Err(CqlError::invalid("Counters are not allowed inside collections"));
        }
        if item.is_multi_cell() {
            return Err(CqlError::invalid(format!(
                "Non-frozen collections are not allowed inside collections: {of}<{item}>"
            )));
        }
        Ok(item)
    }
}
