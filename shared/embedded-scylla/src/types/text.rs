//! Values as text (`CAST … AS text`) and as JSON (`SELECT JSON`).

use super::collection::{decode_list, decode_map, decode_tuple};
use super::{datetime, duration, number};
use crate::schema::CqlType;
use std::fmt::Write;
use std::net::IpAddr;

impl CqlType {
    /// The value as text: strings as they are, collections as JSON.
    pub fn to_text(&self, value: &[u8]) -> String {
        match self {
            Self::Text | Self::Ascii => String::from_utf8_lossy(value).into_owned(),
            Self::Blob => hex(value),
            Self::Inet => match (<[u8; 4]>::try_from(value), <[u8; 16]>::try_from(value)) {
                (Ok(octets), _) => IpAddr::from(octets).to_string(),
                (_, Ok(octets)) => IpAddr::from(octets).to_string(),
                _ => String::new(),
            },
            Self::List(..) | Self::Set(..) | Self::Map(..) | Self::Tuple(_) => self.to_json(value),
            Self::Varint => number::varint_to_text(value),
            Self::Decimal => number::decimal_to_text(value),
            Self::Duration => {
                duration::decode(value).map(|duration| duration.to_string()).unwrap_or_default()
            }
            _ => self.fixed_to_text(value).unwrap_or_default(),
        }
    }

    /// `None`: the value is empty, which has no text.
    fn fixed_to_text(&self, value: &[u8]) -> Option<String> {
        Some(match self {
            Self::Boolean => (value.first()? != &0).to_string(),
            Self::Tinyint => i8::from_be_bytes(value.try_into().ok()?).to_string(),
            Self::Smallint => i16::from_be_bytes(value.try_into().ok()?).to_string(),
            Self::Int => i32::from_be_bytes(value.try_into().ok()?).to_string(),
            Self::Bigint | Self::Counter => i64::from_be_bytes(value.try_into().ok()?).to_string(),
            Self::Float => f32::from_be_bytes(value.try_into().ok()?).to_string(),
            Self::Double => f64::from_be_bytes(value.try_into().ok()?).to_string(),
            Self::Timestamp => {
                datetime::timestamp_to_text(i64::from_be_bytes(value.try_into().ok()?))
            }
            Self::Date => datetime::date_to_text(u32::from_be_bytes(value.try_into().ok()?)),
            Self::Time => datetime::time_to_text(i64::from_be_bytes(value.try_into().ok()?)),
            Self::Uuid | Self::Timeuuid => uuid::Uuid::from_slice(value).ok()?.to_string(),
            _ => return None,
        })
    }

    /// The value as JSON: numbers and booleans bare, all else quoted; map keys are strings.
    pub fn to_json(&self, value: &[u8]) -> String {
        match self {
            Self::Float | Self::Double => {
                let text = self.to_text(value);
                // JSON has no NaN and no infinity.
                let finite = text.parse::<f64>().is_ok_and(f64::is_finite);
                if finite { text } else { "null".to_owned() }
            }
            Self::Tinyint
            | Self::Smallint
            | Self::Int
            | Self::Bigint
            | Self::Counter
            | Self::Varint
            | Self::Decimal
            | Self::Boolean
                if !value.is_empty() =>
            {
                self.to_text(value)
            }
            Self::List(item, _) | Self::Set(item, _) => {
                let items = decode_list(value).unwrap_or_default();
                bracketed('[', ']', items.into_iter().map(|element| item.to_json(element)))
            }
            Self::Tuple(types) => {
                let items = decode_tuple(value).unwrap_or_default();
                let components = types.iter().enumerate().map(|(index, ty)| {
                    let component = items.get(index).copied().flatten();
                    component.map_or_else(|| "null".to_owned(), |component| ty.to_json(component))
                });
                bracketed('[', ']', components)
            }
            Self::Map(key, item, _) => {
                let entries = decode_map(value).unwrap_or_default().into_iter().map(|(k, v)| {
                    let k = key.to_json(k);
                    let k = if k.starts_with('"') { k } else { quoted(&k) };
                    format!("{k}: {}", item.to_json(v))
                });
                bracketed('{', '}', entries)
            }
            _ => quoted(&self.to_text(value)),
        }
    }
}

fn bracketed(open: char, close: char, items: impl Iterator<Item = String>) -> String {
    format!("{open}{}{close}", items.collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn hex(value: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * value.len());
    text.push_str("0x");
    for byte in value {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
