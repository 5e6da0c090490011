//! Version-1 uuids as times.

use uuid::Uuid;

/// 1582-10-15, where uuid time starts, in 100 ns ticks before 1970.
const EPOCH_TICKS: u64 = 0x01B2_1DD2_1381_4000;
const TICKS_MAX: u64 = (1 << 60) - 1;

/// The uuid whose time is exactly `micros` since 1970 and whose lower eight bytes are `low`, taken
/// as they are. Times before 1582 and after 5236 are clamped.
pub fn from_micros(micros: i64, low: u64) -> Uuid {
    from_ticks(i128::from(micros) * 10, low)
}

/// The time of a version-1 uuid in µs since 1970.
pub fn micros(uuid: &Uuid) -> i64 {
    (ticks(uuid.as_bytes()) as i64 - EPOCH_TICKS as i64).div_euclid(10)
}

/// The smallest timeuuid of a millisecond.
pub fn min_timeuuid(ms: i64) -> Uuid {
    from_ticks(i128::from(ms) * 10_000, 0x8080_8080_8080_8080)
}

/// The largest timeuuid of a millisecond.
pub fn max_timeuuid(ms: i64) -> Uuid {
    from_ticks(i128::from(ms) * 10_000 + 9_999, 0x7f7f_7f7f_7f7f_7f7f)
}

fn from_ticks(since_1970: i128, low: u64) -> Uuid {
    let ticks = since_1970 + i128::from(EPOCH_TICKS);
    let ticks = u64::try_from(ticks.clamp(0, i128::from(TICKS_MAX))).unwrap_or(TICKS_MAX);
    let high = (ticks & 0xffff_ffff) << 32 | (ticks >> 32 & 0xffff) << 16 | 0x1000 | ticks >> 48;
    Uuid::from_u64_pair(high, low)
}

/// The 60-bit time of a version-1 uuid.
pub(crate) fn ticks(uuid: &[u8; 16]) -> u64 {
    let high = uuid[..8].iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    (high & 0x0fff) << 48 | (high >> 16 & 0xffff) << 32 | high >> 32
}
