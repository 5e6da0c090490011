//! Which writers stand still, as one observer sees it by its own monotonic clock.
//!
//! A writer stands still when a read that was sent at least one term after the first sight shows its
//! row unchanged. What the observer saw counts only while it could have seen the opposite: whenever its
//! own lightweight transactions fail, or it slept itself, it begins again with all of them. So
//! nobody is declared dead because the database was away, or because the observer was.

use crate::ids::{AttemptId, Counter, WriterId};
use crate::ledger::{StoredWriter, WriterState};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// When a read of the writers' rows was sent, and when its answer was there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) sent: Instant,
    pub(crate) received: Instant,
}

/// The writers that are watched.
#[derive(Debug)]
pub(crate) struct Standstill {
    term: Duration,
    retry_max: Duration,
    watched_max: usize,
    sights: HashMap<WriterId, Sight>,
    last_sent: Option<Instant>,
}

/// One writer's row since it was first seen as it is.
#[derive(Debug)]
struct Sight {
    state: WriterState,
    counter: Counter,
    attempt: AttemptId,
    since: Instant,
    /// How often it could not be settled, and until when it is let alone therefore.
    failures: u32,
    not_before: Option<Instant>,
}

impl Sight {
    fn first(row: &StoredWriter, at: Instant) -> Self {
        let StoredWriter { state, counter, attempt, .. } = *row;
        Self { state, counter, attempt, since: at, failures: 0, not_before: None }
    }

    fn shows(&self, row: &StoredWriter) -> bool {
        (self.state, self.counter, self.attempt) == (row.state, row.counter, row.attempt)
    }
}

impl Standstill {
    pub(crate) fn new(term: Duration, retry_max: Duration, watched_max: usize) -> Self {
        let (sights, last_sent) = (HashMap::new(), None);
        Self { term, retry_max, watched_max, sights, last_sent }
    }

    /// How many writers are watched.
    pub(crate) fn watched(&self) -> usize {
        self.sights.len()
    }

    /// Takes note of all rows but the observer's own, and gives those that stand still.
    /// `sound_since`: since when the observer's own transactions succeed; `None` when they do not.
    pub(crate) fn look(
        &mut self,
        look: Look,
        sound_since: Option<Instant>,
        rows: &[StoredWriter],
    ) -> Vec<StoredWriter> {
        // Half a term without a look: this process slept, and the others may have slept with it.
        let overslept = self.last_sent.is_some_and(|last| look.sent > last + self.term / 2);
        self.last_sent = Some(look.sent);
        let sound_since = sound_since.filter(|_| !overslept).unwrap_or(look.received);
        self.sights.retain(|writer, _| rows.iter().any(|row| row.writer == *writer));
        let mut still = Vec::new();
        for row in rows {
            let Some(sight) = self.sights.get_mut(&row.writer) else {
                if self.sights.len() < self.watched_max {
                    self.sights.insert(row.writer, Sight::first(row, look.received));
                }
                continue;
            };
            if !sight.shows(row) {
                *sight = Sight::first(row, look.received);
                continue;
            }
            sight.since = sight.since.max(sound_since);
            let waits = sight.not_before.is_some_and(|until| look.sent < until);
            if look.sent >= sight.since + self.term && !waits {
                still.push(*row);
            }
        }
        still
    }

    /// A writer could not be settled: it is let alone for a while, longer each time.
    pub(crate) fn failed(&mut self, writer: WriterId, now: Instant) {
        if let Some(sight) = self.sights.get_mut(&writer) {
            let wait = self.term.saturating_mul(1 << sight.failures.min(16));
            sight.failures += 1;
            sight.not_before = Some(now + wait.min(self.retry_max));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Bucket;
    use uuid::Uuid;

    const TERM: Duration = Duration::from_secs(10);

    /// A writer's row that changed so many times.
    fn row(writer: u128, counter: i64, state: WriterState) -> StoredWriter {
        StoredWriter {
            writer: WriterId(Uuid::from_u128(writer)),
            state,
            counter: Counter(counter),
            attempt: AttemptId(Uuid::from_u128(counter.unsigned_abs().into())),
            oldest_bucket: Bucket(0),
            newest_bucket: Bucket(16),
            intent_spread: 16,
        }
    }

    struct Observer {
        standstill: Standstill,
        start: Instant,
    }

    impl Observer {
        fn new() -> Self {
            let standstill = Standstill::new(TERM, 3 * TERM, 2);
            Self { standstill, start: Instant::now() }
        }

        /// A look at this second, answered a tenth of a second later.
        fn look(&mut self, second: u64, sound_since: Option<u64>, rows: &[StoredWriter]) -> usize {
            let at = |second| self.start + Duration::from_secs(second);
            let received = at(second) + Duration::from_millis(100);
            let look = Look { sent: at(second), received };
            self.standstill.look(look, sound_since.map(at), rows).len()
        }
    }

    #[tokio::test]
    async fn unchanged_in_a_read_sent_a_term_after_the_first_sight() {
        let mut observer = Observer::new();
        let still = [row(1, 7, WriterState::Alive)];
        for second in 0..=10 {
            assert_eq!(observer.look(second, Some(0), &still), 0, "after {second} seconds");
        }
        assert_eq!(observer.look(11, Some(0), &still), 1, "the first sight was answered at 0.1");
    }

    #[tokio::test]
    async fn any_change_begins_a_new_term() {
        for changed in [row(1, 8, WriterState::Alive), row(1, 8, WriterState::Dead)] {
            let mut observer = Observer::new();
            for second in 0..=9 {
                observer.look(second, Some(0), &[row(1, 7, WriterState::Alive)]);
            }
            for second in 10..=20 {
                assert_eq!(observer.look(second, Some(0), &[changed]), 0, "{changed:?}");
            }
            assert_eq!(observer.look(21, Some(0), &[changed]), 1, "{changed:?}");
        }
    }

    #[tokio::test]
    async fn an_observer_in_doubt_about_itself_begins_again() {
        let still = [row(1, 7, WriterState::Alive)];
        let mut observer = Observer::new();
        for second in 0..=16 {
            assert_eq!(observer.look(second, Some(7), &still), 0, "its own failed until 7");
        }
        assert_eq!(observer.look(17, Some(7), &still), 1);

        let mut observer = Observer::new();
        for second in 0..=10 {
            observer.look(second, Some(0), &still);
        }
        assert_eq!(observer.look(11, None, &still), 0, "its own heartbeat is old");
        assert_eq!(observer.look(12, Some(0), &still), 0);
    }

    #[tokio::test]
    async fn an_observer_that_slept_begins_again() {
        let still = [row(1, 7, WriterState::Alive)];
        let mut observer = Observer::new();
        observer.look(0, Some(0), &still);
        assert_eq!(observer.look(100, Some(0), &still), 0, "who knows who else slept");
        for second in 101..=110 {
            assert_eq!(observer.look(second, Some(0), &still), 0);
        }
        assert_eq!(observer.look(111, Some(0), &still), 1);
    }

    #[tokio::test]
    async fn the_number_is_bounded_and_makes_room() {
        let mut observer = Observer::new();
        let rows = [1, 2, 3].map(|writer| row(writer, 1, WriterState::Alive));
        for second in 0..=10 {
            observer.look(second, Some(0), &rows);
        }
        assert_eq!(observer.look(11, Some(0), &rows), 2);
        for second in 12..=22 {
            observer.look(second, Some(0), &rows[2..]);
        }
        assert_eq!(observer.look(23, Some(0), &rows[2..]), 1, "those that are gone make room");
    }

    #[tokio::test]
    async fn what_could_not_be_settled_waits_longer_each_time() {
        let still = [row(1, 7, WriterState::Dead)];
        let mut observer = Observer::new();
        let (mut tried, mut failed_at) = (Vec::new(), 0);
        for second in 0..=110 {
            if observer.look(second, Some(0), &still) == 1 {
                tried.push(second - failed_at);
                failed_at = second;
                let now = observer.start + Duration::from_secs(second);
                observer.standstill.failed(still[0].writer, now);
            }
        }
        assert_eq!(tried, [11, 10, 20, 30, 30], "a term, then twice as long, up to the bound");
    }
}
