//! Time buckets that keep the partitions of the lists bounded.
//!
//! A bucket follows from the time of creation alone, and a spread from the order's id alone, so
//! that every event of an order finds the same row.

use kernel::Timestamp;
use uuid::Uuid;

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Days per bucket of `orders_by_customer`.
pub(crate) const CUSTOMER_BUCKET_DAYS: i32 = 90;

/// How many partitions a day of one status is spread over: at 200 orders a second, all day, about
/// a million rows each.
pub(crate) const STATUS_SPREAD: i32 = 16;

/// Days since 1970, in UTC: the bucket of `orders_by_status`.
pub(crate) fn day(at: Timestamp) -> i32 {
    i32::try_from(at.0.div_euclid(DAY_MS)).unwrap_or(if at.0 < 0 { i32::MIN } else { i32::MAX })
}

/// The bucket of `orders_by_customer`.
pub(crate) fn customer_bucket(at: Timestamp) -> i32 {
    day(at).div_euclid(CUSTOMER_BUCKET_DAYS)
}

/// Which of a day's partitions an order is in.
pub(crate) fn spread(order_id: Uuid) -> i32 {
    let last = order_id.as_bytes()[15];
    i32::from(last) % STATUS_SPREAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_utc() {
        assert_eq!(day(Timestamp(0)), 0);
        assert_eq!(day(Timestamp(DAY_MS - 1)), 0);
        assert_eq!(day(Timestamp(DAY_MS)), 1);
        assert_eq!(day(Timestamp(-1)), -1);
        assert_eq!(customer_bucket(Timestamp(90 * DAY_MS)), 1);
    }

    #[test]
    fn every_order_has_a_place_in_its_day() {
        for low in 0..=255_u128 {
            assert!((0..STATUS_SPREAD).contains(&spread(Uuid::from_u128(low))));
        }
    }
}
