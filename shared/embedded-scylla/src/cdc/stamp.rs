//! `cdc$time` of a group, and which write timestamps a log takes.

use super::{Generation, History};
use crate::error::{CqlError, Result};
use crate::storage::WriteContext;
use crate::types::timeuuid;
use time::OffsetDateTime;
use uuid::Uuid;

/// How far from now a write may be.
const LEEWAY_MICROS: i64 = 5_000_000;

/// Bits of the number of a group within its commit.
const GROUP_BITS: u32 = 10;

/// The times of the groups of one request.
///
/// A time is the group's write timestamp exactly; what makes it unique are the lower eight bytes.
/// They count commits and groups upward (in the order in which timeuuids compare, where each byte
/// is signed), so that groups with equal timestamps are logged in the order of their commits.
pub(super) struct Stamps {
    now: i64,
    /// A timestamp that no other commit has, and how many groups have used it.
    commit: Option<(i64, u64)>,
}

impl Stamps {
    pub(super) fn new(context: &WriteContext<'_>) -> Self {
        // Timestamps that the server gave are never too late, even if its clock stepped back.
        Self { now: context.now_micros().max(context.last_timestamp()), commit: None }
    }

    /// The time of the next group.
    pub(super) fn time(&mut self, context: &mut WriteContext<'_>, timestamp: i64) -> Uuid {
        let (commit, group) = match self.commit {
            Some((commit, group)) if group < 1 << GROUP_BITS => (commit, group),
            _ => (context.next_timestamp(), 0),
        };
        self.commit = Some((commit, group + 1));
        let count = (commit as u64) << GROUP_BITS | group;
        timeuuid::from_micros(timestamp, low_bytes(count))
    }

    /// The generation that takes a write of this timestamp. An earlier one than the current takes
    /// what is only a little late.
    pub(super) fn generation<'a>(
        &self,
        history: &'a History,
        timestamp: i64,
    ) -> Result<&'a Generation> {
        if timestamp > self.now.saturating_add(LEEWAY_MICROS) {
            return Err(CqlError::invalid(format!(
                "cdc: attempted to get a stream \"from the future\" ({}; current server time: {}). \
                 With CDC you cannot send writes with timestamps arbitrarily into the future, \
                 because we don't know what streams will be used at that time.\n\
                 We *do* allow sending writes into the near future, but our ability to do that is \
                 limited. If you really must use your own timestamps, then make sure your clocks \
                 are well-synchronized  with the database's clocks.",
                date(timestamp),
                date(self.now)
            )));
        }
        let is_late = timestamp <= self.now.saturating_sub(LEEWAY_MICROS);
        let current = history.at(self.now).ok_or_else(|| self.no_stream())?;
        if is_late && timestamp < current.begins_micros() {
            return Err(CqlError::invalid(format!(
                "cdc: attempted to get a stream \"from the past\" ({}; current server time: {}). \
                 With CDC you cannot send writes with timestamps too far into the past, because \
                 that would break consistency properties.\n\
                 We *do* allow sending writes into the near past, but our ability to do that is \
                 limited. Are you using client-side timestamps? Make sure your clocks are \
                 well-synchronized with the database's clocks.",
                date(timestamp),
                date(self.now)
            )));
        }
        history.at(timestamp).map(|generation| &**generation).ok_or_else(|| self.no_stream())
    }

    fn no_stream(&self) -> CqlError {
        CqlError::server(format!(
            "cdc: could not find any CDC stream (current server time: {}).",
            date(self.now)
        ))
    }
}

/// 62 bits of `count` behind the variant bits, in an order in which every byte is signed.
fn low_bytes(count: u64) -> u64 {
    const VARIANT: u64 = 0b10 << 62;
    const SIGN_BITS: u64 = 0x0080_8080_8080_8080;
    (VARIANT | (count & (u64::MAX >> 2))) ^ SIGN_BITS
}

fn date(micros: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000)) {
        Ok(time) => format!(
            "{:04}/{:02}/{:02} {:02}:{:02}:{:02}",
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute(),
            time.second()
        ),
        // Beyond the years that have four digits.
        Err(_) => format!("{micros} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::CqlType;

    #[test]
    fn low_bytes_rise_in_the_order_of_timeuuids() {
        let counts = [0, 1, 127, 128, 255, 256, 1 << 20, (1 << 61) - 1, 1 << 61, (1 << 62) - 1];
        for pair in counts.windows(2) {
            let [left, right] = [pair[0], pair[1]].map(|count| {
                let uuid = timeuuid::from_micros(5, low_bytes(count));
                assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
                uuid.into_bytes()
            });
            assert!(CqlType::Timeuuid.compare(&left, &right).is_lt(), "{pair:?}");
        }
    }

    #[test]
    fn dates_are_written_as_scylladb_does() {
        assert_eq!(date(100), "1970/01/01 00:00:00");
        assert_eq!(date(1_700_000_000_123_456), "2023/11/14 22:13:20");
        assert_eq!(date(-1), "1969/12/31 23:59:59");
    }
}
