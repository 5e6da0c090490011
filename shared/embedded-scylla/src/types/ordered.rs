//! An encoding of values whose byte order is the order of the values.
//!
//! Encodings say where they end, and no encoding is a prefix of another one of its type: the
//! encodings of a key's components, one after the other, order as the key does, and those of its
//! first components are a prefix of the whole. Values that compare equal have equal encodings, so
//! the value itself cannot be read back; who needs it stores it beside.
//!
//! | type | bytes |
//! | --- | --- |
//! | text, ascii, blob, inet, duration | bytes with `00` as `00 ff`, then `00 00` |
//! | all others | `00` if empty; `01` and the form below; `02` and escaped bytes if malformed |
//! | integers, timestamp, time | big endian, sign bit flipped |
//! | float, double | bits, all flipped when negative, else the sign bit |
//! | uuid | version, time for version 1, bytes |
//! | timeuuid | time, low bytes each with its sign bit flipped |
//! | varint | sign, length (complemented when negative), bytes |
//! | decimal | sign, exponent, digits, `00` (the last three complemented when negative) |
//! | list, set, map | per element `01` and its encoding; `00` |
//! | tuple | per component `01` if null, else `02` and its encoding; `00` |

use super::collection::{decode_list, decode_map, decode_tuple};
use super::compare::{double_order, float_order, signed_low, uuid_order};
use super::number::{decimal_parts, varint_minimal};
use super::timeuuid::ticks;
use crate::schema::CqlType;

/// Appends the encoding of one value; with `descending` its complement, which orders the other way.
pub fn encode_ordered(ty: &CqlType, value: &[u8], descending: bool, out: &mut Vec<u8>) {
    let start = out.len();
    encode(ty, value, out);
    if descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

fn encode(ty: &CqlType, value: &[u8], out: &mut Vec<u8>) {
    match ty {
        CqlType::Text | CqlType::Ascii | CqlType::Blob | CqlType::Inet | CqlType::Duration => {
            escaped(value, out)
        }
        _ if value.is_empty() => out.push(0),
        _ => {
            let start = out.len();
            out.push(1);
            if encode_form(ty, value, out).is_none() {
                out.truncate(start);
                out.push(2);
                escaped(value, out);
            }
        }
    }
}

/// `None`: the value is malformed, and what was appended is to be dropped.
fn encode_form(ty: &CqlType, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match ty {
        CqlType::Boolean => {
            let [byte] = value else { return None };
            out.push(u8::from(*byte != 0));
        }
        CqlType::Date => out.extend(<[u8; 4]>::try_from(value).ok()?),
        CqlType::Tinyint => flipped::<1>(value, out)?,
        CqlType::Smallint => flipped::<2>(value, out)?,
        CqlType::Int => flipped::<4>(value, out)?,
        CqlType::Bigint | CqlType::Counter | CqlType::Timestamp | CqlType::Time => {
            flipped::<8>(value, out)?;
        }
        CqlType::Float => {
            flipped::<4>(&float_order(value.try_into().ok()?).to_be_bytes(), out)?;
        }
        CqlType::Double => {
            flipped::<8>(&double_order(value.try_into().ok()?).to_be_bytes(), out)?;
        }
        CqlType::Uuid => {
            let (version, time, bytes) = uuid_order(value.try_into().ok()?);
            out.push(version);
            out.extend(time.to_be_bytes());
            out.extend(bytes.to_be_bytes());
        }
        CqlType::Timeuuid => {
            let value = value.try_into().ok()?;
            out.extend(ticks(&value).to_be_bytes());
            out.extend(signed_low(&value).to_be_bytes());
        }
        CqlType::Varint => encode_varint(varint_minimal(value), out),
        CqlType::Decimal => encode_decimal(value, out)?,
        CqlType::List(item, _) | CqlType::Set(item, _) => {
            for element in decode_list(value).ok()? {
                out.push(1);
                encode(item, element, out);
            }
            out.push(0);
        }
        CqlType::Map(key, item, _) => {
            for (k, v) in decode_map(value).ok()? {
                out.push(1);
                encode(key, k, out);
                encode(item, v, out);
            }
            out.push(0);
        }
        CqlType::Tuple(types) => {
            for (index, component) in decode_tuple(value).ok()?.into_iter().enumerate() {
                out.push(1 + u8::from(component.is_some()));
                if let Some(component) = component {
                    encode(types.get(index).unwrap_or(&CqlType::Blob), component, out);
                }
            }
            out.push(0);
        }
        CqlType::Text | CqlType::Ascii | CqlType::Blob | CqlType::Inet | CqlType::Duration => {
            escaped(value, out)
        }
    }
    Some(())
}

fn escaped(value: &[u8], out: &mut Vec<u8>) {
    for part in value.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(part);
        if part.last() == Some(&0) {
            out.push(0xff);
        }
    }
    out.extend([0, 0]);
}

/// A signed big-endian number of `N` bytes.
fn flipped<const N: usize>(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = <[u8; N]>::try_from(value).ok()?;
    bytes[0] ^= 0x80;
    out.extend(bytes);
    Some(())
}

fn encode_varint(value: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    if value.first().is_some_and(|byte| byte & 0x80 != 0) {
        out.push(0);
        out.extend((!length).to_be_bytes());
    } else {
        out.push(1);
        out.extend(length.to_be_bytes());
    }
    out.extend_from_slice(value);
}

fn encode_decimal(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (sign, magnitude) = decimal_parts(value)?;
    out.push(match sign {
        -1 => 0,
        0 => 1,
        _ => 2,
    });
    if sign == 0 {
        return Some(());
    }
    let start = out.len();
    flipped::<8>(&magnitude.exponent.to_be_bytes(), out)?;
    out.extend_from_slice(magnitude.digits.as_bytes());
    out.push(0);
    if sign < 0 {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    Some(())
}
