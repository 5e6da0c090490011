//! Asks until it is answered: what is refused for the moment says nothing, and a slow machine refuses more.

use local_stack::http::Answer;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long an answer is waited for; more is for the judge to see.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// The first answer that is no refusal for the moment (429, 503), or the last one.
pub(super) async fn patiently<F>(ask: impl Fn() -> F) -> anyhow::Result<Answer>
where
    F: Future<Output = anyhow::Result<Answer>>,
{
    let begun = Instant::now();
    loop {
        let answer = ask().await?;
        if !matches!(answer.status.as_u16(), 429 | 503) || begun.elapsed() > PATIENCE {
            return Ok(answer);
        }
        sleep(PAUSE).await;
    }
}
