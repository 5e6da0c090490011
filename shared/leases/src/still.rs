//! Who stands still. A row whose mark changes belongs to someone who lives; one that showed the same
//! mark for a whole term belongs to nobody any more.
//!
//! Measured on the observer's monotonic clock alone: the time begins when the *answer* of the first
//! read with a mark arrived, and is over when a read that was *sent* a term later shows it still. An
//! observer whose own changes fail or are late cannot tell the others' standstill from its own, or the
//! database's: it starts again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
struct Sight<M> {
    /// What changes with every sign of life.
    mark: M,
    /// When the first answer with this mark arrived.
    first: Instant,
    /// When the newest read that showed it was sent.
    last_sent: Instant,
}

/// Watches the marks of rows by key.
#[derive(Debug)]
pub(crate) struct Watch<K, M> {
    sights: BTreeMap<K, Sight<M>>,
}

impl<K: Ord + Copy, M: PartialEq> Watch<K, M> {
    pub(crate) fn new() -> Self {
        Self { sights: BTreeMap::new() }
    }

    /// Takes one read of all rows into account; who is not in it is forgotten.
    pub(crate) fn see(
        &mut self,
        rows: impl IntoIterator<Item = (K, M)>,
        sent: Instant,
        received: Instant,
    ) {
        let mut before = std::mem::take(&mut self.sights);
        for (key, mark) in rows {
            let sight = match before.remove(&key) {
                Some(known) if known.mark == mark => Sight { last_sent: sent, ..known },
                _ => Sight { mark, first: received, last_sent: sent },
            };
            self.sights.insert(key, sight);
        }
    }

    /// Whether a row has shown the same mark for `term`.
    pub(crate) fn stands_still(&self, key: K, term: Duration) -> bool {
        self.sights.get(&key).is_some_and(|sight| sight.last_sent >= sight.first + term)
    }

    /// Everything seen so far is worth nothing.
    pub(crate) fn restart(&mut self) {
        self.sights.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(6);

    #[tokio::test(start_paused = true)]
    async fn a_row_stands_still_when_a_read_sent_a_term_after_the_first_answer_shows_no_change() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut watch = Watch::new();
        watch.see([(1, (1, 1)), (2, (1, 1))], at(0), at(100));
        watch.see([(1, (1, 1)), (2, (1, 2))], at(6_000), at(6_900));
        // Sent 5.9 s after the first answer, though it arrived later.
        assert!(!watch.stands_still(1, TERM));
        watch.see([(1, (1, 1)), (2, (1, 2))], at(6_100), at(6_101));
        assert!(watch.stands_still(1, TERM));
        assert!(!watch.stands_still(2, TERM));
        assert!(!watch.stands_still(3, TERM), "never seen");
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_vanishes_or_a_restart_begins_the_time_anew() {
        let begin = Instant::now();
        let at = |s: u64| begin + Duration::from_secs(s);
        let mut watch = Watch::new();
        watch.see([(1, (1, 1))], at(0), at(0));
        watch.see([], at(1), at(1));
        watch.see([(1, (1, 1))], at(2), at(2));
        watch.see([(1, (1, 1))], at(7), at(7));
        assert!(!watch.stands_still(1, TERM));
        watch.restart();
        watch.see([(1, (1, 1))], at(8), at(8));
        watch.see([(1, (1, 1))], at(13), at(13));
        assert!(!watch.stands_still(1, TERM));
        watch.see([(1, (1, 1))], at(14), at(14));
        assert!(watch.stands_still(1, TERM));
    }
}
