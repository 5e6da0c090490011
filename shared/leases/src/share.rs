//! How many slots each member of a group gets.

use crate::ids::{MemberId, Slot};

/// The share of `me` when `slots` are shared out among `members` (any order; `me` counts whether it
/// is among them or not): as equal as possible, the rest to the lowest ids. All members that see the
/// same list come to shares that add up to `slots`.
pub(crate) fn fair_share(slots: u32, members: &[MemberId], me: MemberId) -> Share {
    let others = members.iter().filter(|member| **member != me);
    let (lower, higher): (Vec<&MemberId>, Vec<&MemberId>) =
        others.partition(|member| **member < me);
    let count = u32::try_from(lower.len() + higher.len() + 1).unwrap_or(u32::MAX);
    let place = u32::try_from(lower.len()).unwrap_or(u32::MAX);
    let (each, rest) = (slots / count, slots % count);
    Share {
        slots: each + u32::from(place < rest),
        // Where to begin to look, so that members do not all reach for the same slots.
        first: Slot(each.saturating_mul(place) + place.min(rest)),
    }
}

/// What a member is entitled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// How many slots.
    pub(crate) slots: u32,
    /// The slot at which it begins to look for them.
    pub(crate) first: Slot,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn member(number: u128) -> MemberId {
        MemberId(Uuid::from_u128(number))
    }

    #[test]
    fn shares_differ_by_one_at_most_and_add_up() {
        for slots in [1, 3, 4, 16, 17] {
            for count in 1..=20_u128 {
                let members: Vec<MemberId> = (0..count).rev().map(member).collect();
                let shares: Vec<Share> =
                    members.iter().map(|me| fair_share(slots, &members, *me)).collect();
                let sizes = || shares.iter().map(|share| share.slots);
                assert_eq!(sizes().sum::<u32>(), slots, "{count} members");
                let (least, most) = (sizes().min(), sizes().max());
                assert!(most <= least.map(|least| least + 1), "{least:?} to {most:?}");
                let mut firsts: Vec<Slot> =
                    shares.iter().filter(|s| s.slots > 0).map(|s| s.first).collect();
                firsts.sort_unstable();
                firsts.dedup();
                assert_eq!(firsts.len(), sizes().filter(|size| *size > 0).count());
            }
        }
    }

    #[test]
    fn a_member_counts_before_it_sees_itself() {
        let [a, b] = [1, 2].map(member);
        assert_eq!(fair_share(16, &[a], b), Share { slots: 8, first: Slot(8) });
        assert_eq!(fair_share(16, &[], b), Share { slots: 16, first: Slot(0) });
        assert_eq!(fair_share(16, &[b, a], b), Share { slots: 8, first: Slot(8) });
    }
}
