//! The order of values. Empty values come before any other.

use super::collection::{decode_list, decode_map, decode_tuple};
use super::number::{decimal_parts, varint_minimal};
use super::timeuuid::ticks;
use crate::schema::CqlType;
use std::cmp::Ordering;

impl CqlType {
    /// Compares two values that have passed [`CqlType::validate`]. Bytes that have not still have
    /// one consistent place, after all valid values.
    pub fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Self::Text | Self::Ascii | Self::Blob | Self::Inet | Self::Duration => a.cmp(b),
            Self::Boolean => fixed::<1, _>(a, b, |value| value[0] != 0),
            Self::Date => fixed::<4, _>(a, b, u32::from_be_bytes),
            Self::Tinyint => fixed::<1, _>(a, b, i8::from_be_bytes),
            Self::Smallint => fixed::<2, _>(a, b, i16::from_be_bytes),
            Self::Int => fixed::<4, _>(a, b, i32::from_be_bytes),
            Self::Bigint | Self::Counter | Self::Timestamp | Self::Time => {
                fixed::<8, _>(a, b, i64::from_be_bytes)
            }
            Self::Float => fixed::<4, _>(a, b, float_order),
            Self::Double => fixed::<8, _>(a, b, double_order),
            Self::Timeuuid => fixed::<16, _>(a, b, |value| (ticks(&value), signed_low(&value))),
            Self::Uuid => fixed::<16, _>(a, b, uuid_order),
            Self::Varint => {
                ranked(a, b, |value| Some(varint_minimal(value)), |a, b| compare_varints(a, b))
            }
            Self::Decimal => ranked(a, b, decimal_parts, |(sign, a), (other, b)| {
                sign.cmp(other).then_with(|| if *sign < 0 { b.cmp(a) } else { a.cmp(b) })
            }),
            Self::List(item, _) | Self::Set(item, _) => ranked(
                a,
                b,
                |value| decode_list(value).ok(),
                |a, b| elementwise(a, b, |a, b| item.compare(a, b)),
            ),
            Self::Map(key, item, _) => ranked(
                a,
                b,
                |value| decode_map(value).ok(),
                |a, b| {
                    elementwise(a, b, |a, b| {
                        key.compare(a.0, b.0).then_with(|| item.compare(a.1, b.1))
                    })
                },
            ),
            Self::Tuple(types) => {
                ranked(a, b, |value| decode_tuple(value).ok(), |a, b| compare_tuples(types, a, b))
            }
        }
    }
}

/// Empty values, then those that decode, then the rest by its bytes.
fn ranked<'a, T>(
    a: &'a [u8],
    b: &'a [u8],
    decode: impl Fn(&'a [u8]) -> Option<T>,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Ordering {
    if a.is_empty() || b.is_empty() {
        return (!a.is_empty()).cmp(&!b.is_empty());
    }
    match (decode(a), decode(b)) {
        (Some(a), Some(b)) => compare(&a, &b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

fn fixed<const N: usize, T: Ord>(a: &[u8], b: &[u8], order: impl Fn([u8; N]) -> T) -> Ordering {
    ranked(a, b, |value| value.try_into().ok().map(&order), T::cmp)
}

fn elementwise<T>(a: &[T], b: &[T], compare: impl Fn(&T, &T) -> Ordering) -> Ordering {
    let unequal = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
    unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// A missing component comes before a null one, and that before any value.
fn compare_tuples(types: &[CqlType], a: &[Option<&[u8]>], b: &[Option<&[u8]>]) -> Ordering {
    let pairs = a.iter().zip(b).enumerate();
    let unequal = pairs
        .map(|(index, pair)| match pair {
            (Some(a), Some(b)) => types.get(index).unwrap_or(&CqlType::Blob).compare(a, b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        })
        .find(|order| order.is_ne());
    unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn compare_varints(a: &[u8], b: &[u8]) -> Ordering {
    let negative = |value: &[u8]| value.first().is_some_and(|byte| byte & 0x80 != 0);
    match (negative(a), negative(b)) {
        (false, false) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        (true, true) => b.len().cmp(&a.len()).then_with(|| a.cmp(b)),
        (a_negative, b_negative) => b_negative.cmp(&a_negative),
    }
}

/// All NaNs are one, and the largest; -0 comes before 0.
pub(super) fn float_order(value: [u8; 4]) -> i32 {
    let value = f32::from_be_bytes(value);
    let bits = if value.is_nan() { i32::MAX } else { value.to_bits() as i32 };
    if bits < 0 { bits ^ i32::MAX } else { bits }
}

/// As [`float_order`].
pub(super) fn double_order(value: [u8; 8]) -> i64 {
    let value = f64::from_be_bytes(value);
    let bits = if value.is_nan() { i64::MAX } else { value.to_bits() as i64 };
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// The lower eight bytes of a timeuuid, so that unsigned order is the order of signed bytes.
pub(super) fn signed_low(value: &[u8; 16]) -> u64 {
    low(value) ^ 0x8080_8080_8080_8080
}

/// Version, then for version 1 its time, then the bytes.
pub(super) fn uuid_order(value: [u8; 16]) -> (u8, u64, u128) {
    let version = value[6] >> 4;
    let time = if version == 1 { ticks(&value) } else { 0 };
    (version, time, u128::from_be_bytes(value))
}

fn low(value: &[u8; 16]) -> u64 {
    value[8..].iter().fold(0, |low, byte| low << 8 | u64::from(*byte))
}
