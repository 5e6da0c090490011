//! Varints and decimals: text to bytes, bytes to text, and the parts that order a decimal.

use num_bigint::{BigInt, Sign};

/// The longest varint, and unscaled value of a decimal, in bytes. ScyllaDB has no limit of its own;
/// this one keeps the conversion to decimal digits cheap.
pub(super) const VARINT_BYTES_MAX: usize = 4096;
/// The longest decimal text, which stays within `VARINT_BYTES_MAX`.
const DIGITS_MAX: usize = 9_000;

/// `-123` to minimal two's complement.
pub(super) fn varint_from_text(text: &str) -> Option<Vec<u8>> {
    if text.len() > DIGITS_MAX || text.contains('_') {
        return None;
    }
    let number = BigInt::parse_bytes(text.as_bytes(), 10)?;
    Some(number.to_signed_bytes_be())
}

/// `-12.5e3` to i32 scale and varint.
pub(super) fn decimal_from_text(text: &str) -> Option<Vec<u8>> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unscaled = varint_from_text(&format!("{whole}{fraction}"))?;
    let scale = i32::try_from(i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?).ok()?;
    let mut out = scale.to_be_bytes().to_vec();
    out.extend_from_slice(&unscaled);
    Some(out)
}

/// A varint as text.
pub(super) fn varint_to_text(value: &[u8]) -> String {
    BigInt::from_signed_bytes_be(value).to_string()
}

/// A decimal as text; scientific when the scale would only add zeros.
pub(super) fn decimal_to_text(value: &[u8]) -> String {
    let Some((scale, unscaled)) = split(value) else { return String::new() };
    let number = BigInt::from_signed_bytes_be(unscaled);
    let sign = if number.sign() == Sign::Minus { "-" } else { "" };
    let digits = number.magnitude().to_string();
    match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) if scale <= DIGITS_MAX => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = padded.split_at(padded.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        _ => format!("{sign}{digits}E{}", -i64::from(scale)),
    }
}

fn split(value: &[u8]) -> Option<(i32, &[u8])> {
    let (scale, unscaled) = value.split_first_chunk::<4>()?;
    (!unscaled.is_empty()).then(|| (i32::from_be_bytes(*scale), unscaled))
}

/// What orders decimals: equal numbers have equal parts, whatever their scale. The number is
/// sign × 0.digits × 10^exponent. The derived order is that of magnitudes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Magnitude {
    pub(super) exponent: i64,
    /// Without trailing zeros, empty for zero.
    pub(super) digits: String,
}

/// Sign (-1, 0, 1) and magnitude of a decimal; `None` when it is no decimal.
pub(super) fn decimal_parts(value: &[u8]) -> Option<(i8, Magnitude)> {
    let (scale, unscaled) = split(value)?;
    let number = BigInt::from_signed_bytes_be(unscaled);
    let sign = match number.sign() {
        Sign::Minus => -1,
        Sign::NoSign => return Some((0, Magnitude { exponent: 0, digits: String::new() })),
        Sign::Plus => 1,
    };
    let mut digits = number.magnitude().to_string();
    let exponent = digits.len() as i64 - i64::from(scale);
    digits.truncate(digits.trim_end_matches('0').len());
    Some((sign, Magnitude { exponent, digits }))
}

/// A varint without superfluous leading bytes, so that equal numbers are equal bytes.
pub(super) fn varint_minimal(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value {
        let superfluous = rest.first().is_some_and(|second| {
            (*first == 0x00 && second & 0x80 == 0) || (*first == 0xff && second & 0x80 != 0)
        });
        if !superfluous {
            break;
        }
        value = rest;
    }
    value
}
