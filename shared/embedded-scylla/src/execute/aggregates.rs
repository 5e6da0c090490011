//! COUNT, MIN, MAX, SUM and AVG.

use crate::error::{CqlError, Result};
use crate::execute::functions::{Number, number};
use crate::plan::selection::Aggregate;
use crate::schema::CqlType;
use bytes::Bytes;
use std::cmp::Ordering;

/// The state of one aggregate; null values are left out before they get here.
#[derive(Debug)]
pub(crate) enum Accumulator {
    /// How many.
    Count(i64),
    /// The least (or greatest) value so far, its type, and which order replaces it.
    Extreme(Option<Bytes>, CqlType, Ordering),
    /// Sum, count, type, and whether the average is wanted.
    Sum {
        /// Of integer types; 128 bits hold any sum of 64-bit numbers that can be stored.
        integers: i128,
        /// Of floating-point types.
        floats: f64,
        /// How many values.
        count: i64,
        /// Of the values and of the result.
        ty: CqlType,
        /// `AVG`
        average: bool,
    },
}

impl Accumulator {
    /// Nothing seen yet.
    pub(crate) fn new(aggregate: &Aggregate) -> Self {
        let sum = |ty: &CqlType, average| Self::Sum {
            integers: 0,
            floats: 0.0,
            count: 0,
            ty: ty.clone(),
            average,
        };
        match aggregate {
            Aggregate::Count => Self::Count(0),
            Aggregate::Min(ty) => Self::Extreme(None, ty.clone(), Ordering::Less),
            Aggregate::Max(ty) => Self::Extreme(None, ty.clone(), Ordering::Greater),
            Aggregate::Sum(ty) => sum(ty, false),
            Aggregate::Avg(ty) => sum(ty, true),
        }
    }

    /// One more row, whatever its values.
    pub(crate) fn count(&mut self) {
        if let Self::Count(count) = self {
            *count += 1;
        }
    }

    /// One more value.
    pub(crate) fn add(&mut self, value: Bytes) -> Result<()> {
        match self {
            Self::Count(count) => *count += 1,
            Self::Extreme(extreme, ty, wanted) => {
                let replaces =
                    extreme.as_ref().is_none_or(|found| ty.compare(&value, found) == *wanted);
                if replaces {
                    *extreme = Some(value);
                }
            }
            Self::Sum { integers, floats, count, ty, .. } => {
                match number(ty, &value) {
                    Some(Number::Integer(value)) => *integers += i128::from(value),
                    Some(Number::Float(value)) => *floats += value,
                    None => return Ok(()),
                }
                *count += 1;
            }
        }
        Ok(())
    }

    /// The result; without values COUNT, SUM and AVG are 0, the others null.
    pub(crate) fn finish(self) -> Result<Option<Bytes>> {
        Ok(match self {
            Self::Count(count) => Some(Bytes::copy_from_slice(&count.to_be_bytes())),
            Self::Extreme(extreme, ..) => extreme,
            Self::Sum { integers, floats, count, ty, average } => {
                let divisor = if average { count.max(1) } else { 1 };
                let result = match ty {
                    CqlType::Float | CqlType::Double => Number::Float(floats / divisor as f64),
                    _ => Number::Integer(fitting(integers / i128::from(divisor), &ty)?),
                };
                Some(result.store(&ty))
            }
        })
    }
}

/// A sum that is a value of its type.
fn fitting(sum: i128, ty: &CqlType) -> Result<i64> {
    let bits = match ty {
        CqlType::Tinyint => 8,
        CqlType::Smallint => 16,
        CqlType::Int => 32,
        _ => 64,
    };
    let limit = 1i128 << (bits - 1);
    if !(-limit..limit).contains(&sum) {
        return Err(CqlError::invalid("Sum overflow. Values should be casted to a wider type."));
    }
    Ok(sum as i64)
}
