//! Waiting for a condition, bounded.

use std::future::Future;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// The condition did not come about in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {:.1} s for {what}; last seen: {last}", waited.as_secs_f64())]
pub struct WaitError {
    what: String,
    waited: Duration,
    last: String,
}

/// Looks at a condition until it gives a value, at most for `limit`. `Err` is what was seen
/// instead, for the message when time runs out.
pub async fn wait_for<T, F, Fut>(what: &str, limit: Duration, mut look: F) -> Result<T, WaitError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    loop {
        let last = match look().await {
            Ok(value) => return Ok(value),
            Err(last) => last,
        };
        let waited = started.elapsed();
        if waited >= limit {
            return Err(WaitError { what: what.to_owned(), waited, last });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
