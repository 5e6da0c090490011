//! How far back a look at the log has to go.

use std::time::Duration;
use tokio::time::Instant;

/// How late rows became visible lately, behind the end of a look that should have found them.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    most: Duration,
    noted: Option<Instant>,
}

impl Lateness {
    /// Takes a row into account that came so late.
    pub(super) fn note(&mut self, late: Duration) {
        if late >= self.now() {
            self.most = late;
            self.noted = Some(Instant::now());
        }
    }

    /// How far back the next look goes: twice as far as was necessary, within bounds.
    pub(super) fn overlap(&self, least: Duration, most: Duration) -> Duration {
        self.now().saturating_mul(2).clamp(least, most.max(least))
    }

    /// Halves every second.
    fn now(&self) -> Duration {
        let age = self.noted.map_or(Duration::ZERO, |noted| noted.elapsed());
        self.most / 2_u32.saturating_pow(u32::try_from(age.as_secs()).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_overlap_follows_what_comes_late_and_forgets_it() {
        let [least, most] = [30, 1_000].map(Duration::from_millis);
        let mut lateness = Lateness::default();
        let mut check = |late_ms, expected_ms| {
            lateness.note(Duration::from_millis(late_ms));
            let overlap = lateness.overlap(least, most);
            assert_eq!(overlap, Duration::from_millis(expected_ms), "after {late_ms} ms");
        };
        check(0, 30);
        check(60, 120);
        check(40, 120);
        check(3_000, 1_000);
        tokio::time::advance(Duration::from_secs(4)).await;
        check(1, 375);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        check(0, 30);
    }
}
