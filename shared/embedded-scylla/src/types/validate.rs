//! Whether bytes are a value of a type, and their one normal form.
//!
//! An empty value is legal for most types besides text and blob, as it is in ScyllaDB; not for
//! collections, durations and tuples' enclosing lists.

use super::collection::{self, decode_list, decode_map, decode_tuple};
use super::datetime::NANOS_PER_DAY;
use super::duration;
use super::number::VARINT_BYTES_MAX;
use crate::error::{CqlError, Result};
use crate::schema::CqlType;
use bytes::Bytes;
use std::borrow::Cow;
use std::cmp::Ordering;

impl CqlType {
    /// Checks that `value` is a value of this type: its size, its characters, its elements.
    pub fn validate(&self, value: &[u8]) -> Result<()> {
        match self {
            Self::Blob => Ok(()),
            Self::Text => utf8(value),
            Self::Ascii if value.is_ascii() => Ok(()),
            Self::Ascii => Err(marshaling(
                "Validation failed - non-ASCII character in an ASCII string".to_owned(),
            )),
            Self::Duration => match duration::decode(value) {
                Some(_) => Ok(()),
                None => Err(self.wrong_size(value)),
            },
            Self::List(item, _) => {
                decode_list(value)?.into_iter().try_for_each(|element| item.validate(element))
            }
            Self::Set(item, _) => {
                decode_list(value)?.into_iter().try_for_each(|element| item.validate(element))
            }
            Self::Map(key, item, _) => decode_map(value)?.into_iter().try_for_each(|(k, v)| {
                key.validate(k)?;
                item.validate(v)
            }),
            Self::Tuple(items) => validate_tuple(items, value),
            _ if value.is_empty() => Ok(()),
            _ => self.validate_fixed(value),
        }
    }

    /// Checks `value` and gives its one normal form: sets and map keys sorted, without duplicates.
    pub fn normalize(&self, value: Bytes) -> Result<Bytes> {
        self.validate(&value)?;
        Ok(match self.normal(&value)? {
            Cow::Borrowed(_) => value,
            Cow::Owned(normal) => normal.into(),
        })
    }

    fn validate_fixed(&self, value: &[u8]) -> Result<()> {
        let fits = match self {
            Self::Boolean | Self::Tinyint => value.len() == 1,
            Self::Smallint => value.len() == 2,
            Self::Int | Self::Float | Self::Date => value.len() == 4,
            Self::Bigint | Self::Counter | Self::Double | Self::Timestamp => value.len() == 8,
            Self::Time => return self.validate_time(value),
            Self::Inet => value.len() == 4 || value.len() == 16,
            Self::Uuid => value.len() == 16,
            Self::Timeuuid => {
                let Some(high) = value.get(6).filter(|_| value.len() == 16) else {
                    return Err(self.wrong_size(value));
                };
                return match high >> 4 {
                    1 => Ok(()),
                    version => Err(marshaling(format!("Unsupported UUID version ({version})"))),
                };
            }
            Self::Decimal => value.len() > 4 && value.len() <= 4 + VARINT_BYTES_MAX,
            Self::Varint => value.len() <= VARINT_BYTES_MAX,
            _ => true,
        };
        if fits { Ok(()) } else { Err(self.wrong_size(value)) }
    }

    fn validate_time(&self, value: &[u8]) -> Result<()> {
        let nanos = <[u8; 8]>::try_from(value).map_err(|_| self.wrong_size(value))?;
        if (0..NANOS_PER_DAY).contains(&i64::from_be_bytes(nanos)) {
            Ok(())
        } else {
            Err(marshaling("Time value out of range".to_owned()))
        }
    }

    fn wrong_size(&self, value: &[u8]) -> CqlError {
        marshaling(format!(
            "Validation failed for type {}: got {} bytes",
            self.class_name(),
            value.len()
        ))
    }

    /// Borrowed when the value is in its normal form already, which is the rule.
    fn normal<'a>(&self, value: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        if !self.has_order_inside() {
            return Ok(Cow::Borrowed(value));
        }
        let normal = match self {
            Self::List(item, _) => {
                collection::encode_list(&normal_items(item, decode_list(value)?)?)
            }
            Self::Set(item, _) => {
                let mut items = normal_items(item, decode_list(value)?)?;
                items.sort_by(|a, b| item.compare(a, b));
                items.dedup_by(|a, b| item.compare(a, b) == Ordering::Equal);
                collection::encode_list(&items)
            }
            Self::Map(key, item, _) => {
                let mut entries = Vec::new();
                for (k, v) in decode_map(value)? {
                    entries.push((key.normal(k)?, item.normal(v)?));
                }
                // The sort is stable and the first of equal keys stays.
                entries.sort_by(|a, b| key.compare(&a.0, &b.0));
                entries.dedup_by(|a, b| key.compare(&a.0, &b.0) == Ordering::Equal);
                collection::encode_map(&entries)
            }
            Self::Tuple(types) => {
                let mut items = Vec::new();
                for (ty, item) in types.iter().zip(decode_tuple(value)?) {
                    items.push(item.map(|item| ty.normal(item)).transpose()?);
                }
                collection::encode_tuple(&items)
            }
            _ => return Ok(Cow::Borrowed(value)),
        };
        Ok(if normal == value { Cow::Borrowed(value) } else { Cow::Owned(normal.into()) })
    }

    fn has_order_inside(&self) -> bool {
        match self {
            Self::Set(..) | Self::Map(..) => true,
            Self::List(item, _) => item.has_order_inside(),
            Self::Tuple(items) => items.iter().any(Self::has_order_inside),
            _ => false,
        }
    }
}

fn normal_items<'a>(item: &CqlType, values: Vec<&'a [u8]>) -> Result<Vec<Cow<'a, [u8]>>> {
    values.into_iter().map(|value| item.normal(value)).collect()
}

fn validate_tuple(types: &[CqlType], value: &[u8]) -> Result<()> {
    let items = decode_tuple(value)?;
    if items.len() > types.len() {
        return Err(CqlError::invalid(format!(
            "Expected {} elements in tuple, but got {}",
            types.len(),
            items.len()
        )));
    }
    types.iter().zip(items).try_for_each(|(ty, item)| item.map_or(Ok(()), |item| ty.validate(item)))
}

fn utf8(value: &[u8]) -> Result<()> {
    std::str::from_utf8(value).map(|_| ()).map_err(|error| {
        marshaling(format!(
            "Validation failed - non-UTF8 character in a UTF8 string, at byte offset {}",
            error.valid_up_to()
        ))
    })
}

pub(super) fn marshaling(message: String) -> CqlError {
    CqlError::invalid(format!("marshaling error: {message}"))
}
