//! Types and values as the recordings show them, which is how the Python driver shows them.

use super::client::Body;
use anyhow::{Context as _, bail, ensure};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

/// A column type from the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Type {
    /// All that need no parameters, by the name the recordings give them.
    Simple(&'static str),
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Tuple(Vec<Type>),
}

impl Type {
    /// Reads a type option.
    pub(crate) fn read(body: &mut Body<'_>) -> anyhow::Result<Self> {
        Ok(Self::Simple(match body.short()? {
            0x01 => "ascii",
            0x02 => "bigint",
            0x03 => "blob",
            0x04 => "boolean",
            0x05 => "counter",
            0x06 => "decimal",
            0x07 => "double",
            0x08 => "float",
            0x09 => "int",
            0x0b => "timestamp",
            0x0c => "uuid",
            0x0d => "varchar",
            0x0e => "varint",
            0x0f => "timeuuid",
            0x10 => "inet",
            0x11 => "date",
            0x12 => "time",
            0x13 => "smallint",
            0x14 => "tinyint",
            0x15 => "duration",
            0x20 => return Ok(Self::List(Box::new(Self::read(body)?))),
            0x21 => return Ok(Self::Map(Box::new(Self::read(body)?), Box::new(Self::read(body)?))),
            0x22 => return Ok(Self::Set(Box::new(Self::read(body)?))),
            0x31 => {
                let count = body.short()?;
                let items = (0..count).map(|_| Self::read(body));
                return Ok(Self::Tuple(items.collect::<anyhow::Result<_>>()?));
            }
            code => bail!("type code {code:#06x}"),
        }))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(name) => f.write_str(name),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Set(item) => write!(f, "set<{item}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Tuple(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                write!(f, "frozen<tuple<{}>>", items.join(", "))
            }
        }
    }
}

/// Shows values; gives what differs from run to run a number by first appearance.
pub(crate) struct Shower<'a> {
    script: &'a str,
    seen: HashMap<&'static str, Vec<Vec<u8>>>,
}

impl<'a> Shower<'a> {
    /// For the answers to `script`, whose own uuids are shown as they are.
    pub(crate) fn new(script: &'a str) -> Self {
        Self { script, seen: HashMap::new() }
    }

    /// The cell of a column.
    pub(crate) fn show(
        &mut self,
        column: &str,
        ty: &Type,
        cell: Option<&[u8]>,
    ) -> anyhow::Result<String> {
        let Some(value) = cell else { return Ok("null".to_owned()) };
        if column == "cdc$stream_id" {
            return Ok(self.mask("stream", value));
        }
        self.value(ty, value).with_context(|| format!("column {column} of type {ty}: {value:02x?}"))
    }

    fn mask(&mut self, kind: &'static str, value: &[u8]) -> String {
        let seen = self.seen.entry(kind).or_default();
        let at = seen.iter().position(|other| other == value).unwrap_or_else(|| {
            seen.push(value.to_vec());
            seen.len() - 1
        });
        format!("<{kind} {}>", at + 1)
    }

    fn value(&mut self, ty: &Type, value: &[u8]) -> anyhow::Result<String> {
        match ty {
            Type::Simple(name) => self.simple(name, value),
            Type::List(item) => Ok(format!("[{}]", self.items(item, value)?.join(", "))),
            Type::Set(item) => Ok(format!("{{{}}}", self.items(item, value)?.join(", "))),
            Type::Map(key, item) => {
                let mut body = Body(value);
                let mut shown = Vec::new();
                for _ in 0..body.int()? {
                    let k = body.bytes()?.context("a null key")?;
                    let v = body.bytes()?.context("a null value")?;
                    shown.push(format!("{}: {}", self.value(key, k)?, self.value(item, v)?));
                }
                ensure!(body.0.is_empty(), "bytes after the map");
                Ok(format!("{{{}}}", shown.join(", ")))
            }
            Type::Tuple(items) => {
                let mut body = Body(value);
                let mut shown = Vec::new();
                for item in items {
                    let cell = if body.0.is_empty() { None } else { body.bytes()? };
                    shown.push(self.show("", item, cell)?);
                }
                ensure!(body.0.is_empty(), "bytes after the tuple");
                Ok(format!("[{}]", shown.join(", ")))
            }
        }
    }

    fn items(&mut self, item: &Type, value: &[u8]) -> anyhow::Result<Vec<String>> {
        let mut body = Body(value);
        let mut shown = Vec::new();
        for _ in 0..body.int()? {
            let element = body.bytes()?.context("a null element")?;
            shown.push(self.value(item, element)?);
        }
        ensure!(body.0.is_empty(), "bytes after the collection");
        Ok(shown)
    }

    fn simple(&mut self, name: &str, value: &[u8]) -> anyhow::Result<String> {
        if value.is_empty() && !matches!(name, "ascii" | "varchar" | "blob") {
            return Ok("null".to_owned());
        }
        Ok(match name {
            "ascii" | "varchar" => format!("'{}'", std::str::from_utf8(value)?.replace('\'', "''")),
            "blob" => format!("0x{}", hex(value)),
            "boolean" => (i8::from_be_bytes(value.try_into()?) != 0).to_string(),
            "tinyint" => i8::from_be_bytes(value.try_into()?).to_string(),
            "smallint" => i16::from_be_bytes(value.try_into()?).to_string(),
            "int" => i32::from_be_bytes(value.try_into()?).to_string(),
            "bigint" | "counter" => i64::from_be_bytes(value.try_into()?).to_string(),
            "float" => python_float(f32::from_be_bytes(value.try_into()?).into()),
            "double" => python_float(f64::from_be_bytes(value.try_into()?)),
            "timestamp" => iso_time(i64::from_be_bytes(value.try_into()?)),
            "uuid" | "timeuuid" => self.uuid(value)?,
            "inet" => match <[u8; 4]>::try_from(value) {
                Ok(octets) => format!("'{}'", IpAddr::from(octets)),
                Err(_) => format!("'{}'", IpAddr::from(<[u8; 16]>::try_from(value)?)),
            },
            // The recordings have no values of these types; their bytes say enough.
            _ => format!("{name} 0x{}", hex(value)),
        })
    }

    fn uuid(&mut self, value: &[u8]) -> anyhow::Result<String> {
        let uuid = uuid::Uuid::from_slice(value)?;
        let text = uuid.to_string();
        if self.script.contains(&text) {
            return Ok(text);
        }
        Ok(self.mask(if uuid.get_version_num() == 1 { "time" } else { "uuid" }, value))
    }
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As Python's `str`: shortest digits, scientific from 1e16 on and below 1e-4.
fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let magnitude = value.abs();
    if value == 0.0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// As Python's `isoformat`: microseconds only if there are any.
fn iso_time(ms: i64) -> String {
    let Ok(time) = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
    else {
        // Random values may be beyond the years that have four digits.
        return format!("{ms} ms");
    };
    let (date, clock) = (time.date(), time.time());
    let (hour, minute, second, micros) = clock.as_hms_micro();
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    format!(
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}{fraction}",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}
