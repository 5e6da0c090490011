//! What functions give.

use crate::error::{CqlError, Result};
use crate::plan::functions::Function;
use crate::plan::using::bigint;
use crate::schema::CqlType;
use crate::types::timeuuid;
use bytes::Bytes;
use uuid::Uuid;

const MS_PER_DAY: i64 = 86_400_000;

/// 1970-01-01 as a date.
const DATE_EPOCH: i64 = 1 << 31;

/// Calls a function. A null argument gives null, as does an empty one where it has no meaning.
pub(crate) fn call(
    function: &Function,
    arguments: &[Option<Bytes>],
    now_micros: i64,
) -> Result<Option<Bytes>> {
    let nullary = match function {
        Function::Now => Some(Bytes::copy_from_slice(now_timeuuid(now_micros).as_bytes())),
        Function::Uuid => Some(Bytes::copy_from_slice(Uuid::new_v4().as_bytes())),
        Function::CurrentTimestamp => Some(bytes8(now_micros.div_euclid(1000))),
        Function::CurrentDate => Some(date(now_micros.div_euclid(1000))),
        Function::CurrentTime => Some(bytes8(now_micros.rem_euclid(MS_PER_DAY * 1000) * 1000)),
        _ => None,
    };
    if nullary.is_some() {
        return Ok(nullary);
    }
    let Some(arguments) = arguments.iter().cloned().collect::<Option<Vec<Bytes>>>() else {
        return Ok(None);
    };
    if let Function::Token(partitioner) = function {
        return Ok(Some(bytes8(crate::plan::terms::token(*partitioner, &arguments))));
    }
    let [value] = arguments.as_slice() else {
        return Err(CqlError::invalid("Invalid number of arguments in a function call"));
    };
    Ok(match function {
        Function::MinTimeuuid => bigint(value).map(|ms| uuid_bytes(timeuuid::min_timeuuid(ms))),
        Function::MaxTimeuuid => bigint(value).map(|ms| uuid_bytes(timeuuid::max_timeuuid(ms))),
        Function::ToTimestamp(from) | Function::ToUnixTimestamp(from) => {
            millis(from, value).map(bytes8)
        }
        Function::ToDate(from) => millis(from, value).map(date),
        Function::AsBlob => Some(value.clone()),
        Function::BlobAs(ty) => {
            ty.validate(value).map_err(|_| {
                CqlError::invalid(format!("In call to function system.blobas{ty}, value 0x{} is not a valid binary representation for type {ty}", hex(value)))
            })?;
            Some(value.clone())
        }
        Function::Cast(from, to) => cast(from, to, value)?,
        _ => None,
    })
}

/// A timeuuid of this moment, different from all others.
fn now_timeuuid(micros: i64) -> Uuid {
    let random = rand::random::<u64>();
    timeuuid::from_micros(micros, random & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000)
}

fn uuid_bytes(uuid: Uuid) -> Bytes {
    Bytes::copy_from_slice(uuid.as_bytes())
}

fn bytes8(value: i64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

fn date(ms: i64) -> Bytes {
    let days = ms.div_euclid(MS_PER_DAY).saturating_add(DATE_EPOCH);
    Bytes::copy_from_slice(&u32::try_from(days.max(0)).unwrap_or(u32::MAX).to_be_bytes())
}

/// The ms since 1970 of a timeuuid, timestamp or date.
fn millis(from: &CqlType, value: &[u8]) -> Option<i64> {
    match from {
        CqlType::Timeuuid => {
            Some(timeuuid::micros(&Uuid::from_slice(value).ok()?).div_euclid(1000))
        }
        CqlType::Date => {
            let days = u32::from_be_bytes(value.try_into().ok()?);
            Some((i64::from(days) - DATE_EPOCH) * MS_PER_DAY)
        }
        _ => bigint(value),
    }
}

fn is_number(ty: &CqlType) -> bool {
    matches!(
        ty,
        CqlType::Tinyint
            | CqlType::Smallint
            | CqlType::Int
            | CqlType::Bigint
            | CqlType::Float
            | CqlType::Double
    )
}

/// Whether `CAST` knows the way from one type to the other.
pub(crate) fn is_castable(from: &CqlType, to: &CqlType) -> bool {
    use CqlType::{Ascii, Date, Text, Timestamp, Timeuuid};
    from == to
        || (is_number(from) && is_number(to))
        || (matches!(to, Text | Ascii) && !from.is_collection_or_tuple() && *from != CqlType::Blob)
        || matches!(
            (from, to),
            (Timeuuid, Timestamp | Date) | (Timestamp, Date) | (Date, Timestamp)
        )
}

fn cast(from: &CqlType, to: &CqlType, value: &Bytes) -> Result<Option<Bytes>> {
    if from == to {
        return Ok(Some(value.clone()));
    }
    match to {
        CqlType::Text | CqlType::Ascii => Ok(Some(from.to_text(value).into())),
        CqlType::Timestamp => Ok(millis(from, value).map(bytes8)),
        CqlType::Date => Ok(millis(from, value).map(date)),
        _ => Ok(number(from, value).map(|number| number.store(to))),
    }
}

/// A number of one of the fixed-size types.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    /// Of an integer type.
    Integer(i64),
    /// Of a floating-point type.
    Float(f64),
}

/// The number that bytes stand for; `None` for empty bytes and other types.
pub(crate) fn number(ty: &CqlType, value: &[u8]) -> Option<Number> {
    Some(match ty {
        CqlType::Tinyint => Number::Integer(i8::from_be_bytes(value.try_into().ok()?).into()),
        CqlType::Smallint => Number::Integer(i16::from_be_bytes(value.try_into().ok()?).into()),
        CqlType::Int => Number::Integer(i32::from_be_bytes(value.try_into().ok()?).into()),
        CqlType::Bigint => Number::Integer(bigint(value)?),
        CqlType::Float => Number::Float(f32::from_be_bytes(value.try_into().ok()?).into()),
        CqlType::Double => Number::Float(f64::from_be_bytes(value.try_into().ok()?)),
        _ => return None,
    })
}

impl Number {
    /// The bytes of the number in a numeric type; integers keep their low bits, as ScyllaDB's do.
    pub(crate) fn store(self, ty: &CqlType) -> Bytes {
        let (integer, float) = match self {
            Self::Integer(value) => (value, value as f64),
            Self::Float(value) => (value as i64, value),
        };
        match ty {
            CqlType::Tinyint => Bytes::copy_from_slice(&(integer as i8).to_be_bytes()),
            CqlType::Smallint => Bytes::copy_from_slice(&(integer as i16).to_be_bytes()),
            CqlType::Int => Bytes::copy_from_slice(&(integer as i32).to_be_bytes()),
            CqlType::Float => Bytes::copy_from_slice(&(float as f32).to_be_bytes()),
            CqlType::Double => Bytes::copy_from_slice(&float.to_be_bytes()),
            _ => bytes8(integer),
        }
    }
}

/// Bytes as messages show them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
