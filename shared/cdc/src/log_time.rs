//! Time as the CDC log counts it, and windows of it.
//!
//! `cdc$time` is a version 1 UUID whose 60-bit time is exactly the write timestamp of the change:
//!
//! ```text
//! ticks of 100 ns since 1582-10-15 = microseconds since 1970 × 10 + 0x01B21DD213814000
//! ```
//!
//! Its lower 8 bytes are arbitrary and compared as *signed* bytes.

use scylla::value::CqlTimeuuid;
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// 1970-01-01 in ticks of 100 ns since 1582-10-15.
const UNIX_EPOCH_TICKS: i64 = 0x01B2_1DD2_1381_4000;
/// The lower bytes that come before and after all others.
const LEAST: [u8; 8] = [0x80; 8];
const GREATEST: [u8; 8] = [0x7f; 8];

/// A point of the database's time: microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogTime(i64);

impl LogTime {
    /// The beginning of time: before every row of every log.
    pub(crate) const ZERO: Self = Self(0);
    /// After every row of every log.
    pub(crate) const MAX: Self = Self(i64::MAX / 16);

    pub(crate) fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(Self::ZERO.0, Self::MAX.0))
    }

    pub(crate) fn from_millis(millis: i64) -> Self {
        Self::from_micros(millis.saturating_mul(1000))
    }

    pub(crate) fn micros(self) -> i64 {
        self.0
    }

    pub(crate) fn millis(self) -> i64 {
        self.0 / 1000
    }

    /// This much later.
    pub(crate) fn plus(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(micros(by)))
    }

    /// This much earlier.
    pub(crate) fn minus(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(micros(by)))
    }

    /// How long after `earlier` this is; zero when it is before.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The write timestamp inside a `cdc$time`.
    pub(crate) fn of(time: Uuid) -> Self {
        let (low, mid, high, _) = time.as_fields();
        let ticks = (i64::from(high & 0x0fff) << 48) | (i64::from(mid) << 32) | i64::from(low);
        Self::from_micros((ticks - UNIX_EPOCH_TICKS).div_euclid(10))
    }
}

#[cfg(test)]
impl LogTime {
    /// A `cdc$time` of this timestamp.
    pub(crate) fn uuid(self, lower: [u8; 8]) -> Uuid {
        Uuid::from_bytes(*timeuuid(ticks(self), lower).as_bytes())
    }
}

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kernel::Timestamp(self.millis()).fmt(f)
    }
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A part of the log: `from` belongs to it, `to` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: LogTime,
    pub(crate) to: LogTime,
}

impl Window {
    pub(crate) fn new(from: LogTime, to: LogTime) -> Self {
        Self { from, to }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.from >= self.to
    }

    pub(crate) fn length(self) -> Duration {
        self.to.since(self.from)
    }

    /// The bounds for `"cdc$time" > ? AND "cdc$time" < ?`: both lie between the timestamps that a
    /// row can have, so no row is counted twice or left out between two adjacent windows.
    pub(crate) fn bounds(self) -> (CqlTimeuuid, CqlTimeuuid) {
        let after = timeuuid(ticks(self.from) - 1, GREATEST);
        let before = timeuuid(ticks(self.to), LEAST);
        (after, before)
    }
}

fn ticks(time: LogTime) -> i64 {
    time.0 * 10 + UNIX_EPOCH_TICKS
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut into fields")]
fn timeuuid(ticks: i64, lower: [u8; 8]) -> CqlTimeuuid {
    let high = ((ticks >> 48) as u16 & 0x0fff) | 0x1000;
    CqlTimeuuid::from_fields(ticks as u32, (ticks >> 32) as u16, high, &lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(text: &str) -> Uuid {
        text.parse().expect("a UUID")
    }

    #[test]
    fn the_timestamp_inside_a_cdc_time_is_exact() {
        let time = LogTime::of(uuid("04c29680-833b-11ee-8123-456789abcdef"));
        assert_eq!(time.micros(), 1_700_000_000_123_456);
    }

    #[test]
    fn bounds_are_where_the_database_puts_its_own() {
        let at = LogTime::from_millis(1_700_000_000_123);
        let (after, before) = Window::new(at, at).bounds();
        assert_eq!(before.to_string(), "04c284b0-833b-11ee-8080-808080808080");
        assert_eq!(after.to_string(), "04c284af-833b-11ee-7f7f-7f7f7f7f7f7f");
    }

    #[test]
    fn every_row_is_in_exactly_one_of_two_adjacent_windows() {
        let border = LogTime::from_micros(1_700_000_000_123_456);
        let first = Window::new(border.minus(Duration::from_secs(1)), border);
        let second = Window::new(border, border.plus(Duration::from_secs(1)));
        for (micros, lower) in [
            (-1, [0x7f; 8]),
            (-1, [0xff; 8]),
            (0, [0x80; 8]),
            (0, [0xbf, 0, 0, 0, 0, 0, 0, 0]),
            (0, [0x7f; 8]),
            (1, [0x80; 8]),
        ] {
            let row = timeuuid(ticks(LogTime::from_micros(border.micros() + micros)), lower);
            let inside = [first, second].map(|window| {
                let (after, before) = window.bounds();
                row > after && row < before
            });
            assert_eq!(inside, [micros < 0, micros >= 0], "row at {micros} µs with {lower:x?}");
        }
    }
}
