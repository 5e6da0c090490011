//! A bound on how often a process tries again, over everything that it tries.
//!
//! Each series of attempts has pauses of its own ([`crate::backoff`]); the budget is for when many
//! series fail at once, so that trying again never becomes a load of its own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So many attempts per second, of which one second's may come at once. Who asks for more waits for
/// its turn, in the order of asking.
#[derive(Debug)]
pub struct RetryBudget {
    interval: Duration,
    burst: Duration,
    /// When the next attempt would come if all came evenly.
    next: Mutex<Instant>,
}

impl RetryBudget {
    /// A budget that nobody has used yet; zero per second counts as one.
    pub fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let burst = Duration::from_secs(1).saturating_sub(interval);
        Self { interval, burst, next: Mutex::new(Instant::now()) }
    }

    /// Waits for an attempt's turn. One that is not made after all is lost.
    pub async fn take(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = (*next).max(now);
            *next = turn + self.interval;
            turn.checked_sub(self.burst).unwrap_or(now)
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn a_second_of_attempts_may_come_at_once_and_the_rest_comes_evenly() {
        let budget = Arc::new(RetryBudget::new(50));
        let begun = Instant::now();
        for _ in 0..50 {
            budget.take().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            budget.take().await;
        }
        let took = begun.elapsed();
        assert!((1_990..=2_010).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_used_is_not_saved_up() {
        let budget = RetryBudget::new(10);
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let begun = Instant::now();
        for _ in 0..30 {
            budget.take().await;
        }
        let took = begun.elapsed();
        assert!((1_990..=2_010).contains(&took.as_millis()), "{took:?}");
    }
}
