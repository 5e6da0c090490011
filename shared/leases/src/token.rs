//! Which slot a token belongs to.

use std::ops::RangeInclusive;

use crate::ids::Slot;

/// Number of tokens on the ring.
const RING: u128 = 1 << 64;

/// The slot of a token, when the ring is cut into `slots` parts of equal size (or one token apart,
/// where the division leaves a rest). `slots` must not be 0.
pub fn slot_of(token: i64, slots: u32) -> Slot {
    let place = u128::from(token.abs_diff(i64::MIN));
    let slot = place * u128::from(slots) / RING;
    let slot = u32::try_from(slot);
    Slot(slot.expect("a place on the ring is below its size, so the slot is below `slots`"))
}

/// The tokens of a slot, both ends included; the inverse of [`slot_of`]. `slot` must be below
/// `slots`.
pub fn slot_range(slot: Slot, slots: u32) -> RangeInclusive<i64> {
    let first = |slot: u32| (u128::from(slot) * RING).div_ceil(u128::from(slots));
    token_at(first(slot.0))..=token_at(first(slot.0 + 1) - 1)
}

fn token_at(place: u128) -> i64 {
    let place = u64::try_from(place).expect("a slot below `slots` ends within the ring");
    i64::MIN.wrapping_add_unsigned(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: [u32; 6] = [1, 2, 3, 7, 16, 4096];

    #[test]
    fn the_slots_of_sixteen_are_sixteenths() {
        let sixteenth = 1_i64 << 60;
        assert_eq!(slot_of(i64::MIN, 16), Slot(0));
        assert_eq!(slot_of(i64::MIN + sixteenth - 1, 16), Slot(0));
        assert_eq!(slot_of(i64::MIN + sixteenth, 16), Slot(1));
        assert_eq!(slot_of(-1, 16), Slot(7));
        assert_eq!(slot_of(0, 16), Slot(8));
        assert_eq!(slot_of(i64::MAX, 16), Slot(15));
        assert_eq!(slot_range(Slot(8), 16), 0..=sixteenth - 1);
    }

    #[test]
    fn ranges_cover_the_ring_without_gap_or_overlap() {
        for slots in COUNTS {
            assert_eq!(*slot_range(Slot(0), slots).start(), i64::MIN, "{slots} slots");
            assert_eq!(*slot_range(Slot(slots - 1), slots).end(), i64::MAX, "{slots} slots");
            for slot in 1..slots {
                let end_before = *slot_range(Slot(slot - 1), slots).end();
                let start = *slot_range(Slot(slot), slots).start();
                assert_eq!(end_before + 1, start, "between {} and {slot} of {slots}", slot - 1);
            }
        }
    }

    #[test]
    fn both_ends_of_a_range_belong_to_its_slot() {
        for slots in COUNTS {
            for slot in Slot::all(slots) {
                let range = slot_range(slot, slots);
                assert_eq!(slot_of(*range.start(), slots), slot, "start of {slot} of {slots}");
                assert_eq!(slot_of(*range.end(), slots), slot, "end of {slot} of {slots}");
            }
        }
    }
}
