//! Tells an outage from a few aggregates that their target keeps refusing.
//!
//! In an outage as many aggregates fail as open the target's circuit breaker, or none is handled at all;
//! then everybody waits and no letter is made. An aggregate is *lonely* when fewer than those fail,
//! while others of the same consumer are handled between its attempts.

use std::collections::HashMap;
use uuid::Uuid;

/// What one consumer's aggregates have met lately.
#[derive(Debug)]
pub(crate) struct Lonely {
    /// So many that fail are an outage.
    several: usize,
    /// Events handled so far.
    handled: u64,
    failing: HashMap<Uuid, Streak>,
}

/// Failures of one aggregate in a row.
#[derive(Debug)]
struct Streak {
    /// Those before which others were handled while only a few were failing.
    alone: u32,
    /// [`Lonely::handled`] at the last of them.
    handled: u64,
}

impl Lonely {
    /// As many failing aggregates as `several` are an outage; a single one never is.
    pub(crate) fn new(several: u32) -> Self {
        Self { several: several.max(2) as usize, handled: 0, failing: HashMap::new() }
    }

    /// An event was handled.
    pub(crate) fn handled(&mut self, aggregate_id: Uuid) {
        self.handled += 1;
        self.failing.remove(&aggregate_id);
    }

    /// The aggregate fails no longer, without having been handled.
    pub(crate) fn forget(&mut self, aggregate_id: Uuid) {
        self.failing.remove(&aggregate_id);
    }

    /// An attempt failed. Gives how many of the aggregate's attempts in a row were lonely.
    pub(crate) fn failed(&mut self, aggregate_id: Uuid) -> u32 {
        let handled = self.handled;
        let streak =
            self.failing.entry(aggregate_id).or_insert(Streak { alone: 0, handled: self.handled });
        if streak.handled < handled {
            streak.alone += 1;
            streak.handled = handled;
        }
        let alone = streak.alone;
        if self.failing.len() < self.several {
            return alone;
        }
        // What was counted says nothing about one of them.
        for streak in self.failing.values_mut() {
            streak.alone = 0;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Uuid = Uuid::from_u128(1);
    const WORSE: Uuid = Uuid::from_u128(2);
    const WORST: Uuid = Uuid::from_u128(3);
    const GOOD: Uuid = Uuid::from_u128(4);

    #[test]
    fn who_fails_alone_while_others_pass_is_counted() {
        let mut lonely = Lonely::new(3);
        assert_eq!(lonely.failed(BAD), 0);
        for expected in 1..5 {
            lonely.handled(GOOD);
            assert_eq!(lonely.failed(BAD), expected);
        }
    }

    #[test]
    fn while_nobody_passes_nothing_is_counted() {
        let mut lonely = Lonely::new(3);
        lonely.handled(GOOD);
        for _ in 0..10 {
            assert_eq!(lonely.failed(BAD), 0);
        }
    }

    #[test]
    fn a_few_that_fail_are_counted_each_and_one_more_clears_the_count() {
        let mut lonely = Lonely::new(3);
        lonely.failed(BAD);
        lonely.failed(WORSE);
        for expected in 1..5 {
            lonely.handled(GOOD);
            assert_eq!(lonely.failed(BAD), expected);
            assert_eq!(lonely.failed(WORSE), expected);
        }
        assert_eq!(lonely.failed(WORST), 0);
        lonely.handled(GOOD);
        assert_eq!(lonely.failed(BAD), 0);
        lonely.forget(WORST);
        lonely.handled(GOOD);
        assert_eq!(lonely.failed(BAD), 1);
    }

    #[test]
    fn success_begins_anew() {
        let mut lonely = Lonely::new(3);
        lonely.failed(BAD);
        lonely.handled(GOOD);
        assert_eq!(lonely.failed(BAD), 1);
        lonely.handled(BAD);
        assert_eq!(lonely.failed(BAD), 0);
    }
}
