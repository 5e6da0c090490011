//! What is tried again for as long as it takes, and said less and less often.

use crate::consumer::ErrorClass;
use crate::error::StoreError;
use crate::metrics;
use futures::future::BoxFuture;
use runtime::{Backoff, BackoffConfig, chain};
use std::time::Duration;
use tracing::warn;

/// Attempts at one thing.
pub(crate) struct Retries {
    /// The label under which they are counted.
    label: Option<&'static str>,
    /// What is tried, for the log.
    doing: &'static str,
    backoff: Backoff,
}

impl Retries {
    pub(crate) fn new(
        label: Option<&'static str>,
        doing: &'static str,
        pauses: BackoffConfig,
    ) -> Self {
        Self { label, doing, backoff: Backoff::new(pauses) }
    }

    /// An attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.backoff.reset();
    }

    /// An attempt failed; gives the pause before the next one.
    pub(crate) fn failed(&mut self, error: &StoreError) -> Duration {
        if let Some(label) = self.label {
            metrics::RETRIES.with_label_values(&[label]).inc();
        }
        let pause = self.backoff.next_pause();
        let (doing, attempts) = (self.doing, self.backoff.attempts());
        if attempts.is_power_of_two() {
            let error = chain(error).to_string();
            warn!(doing, attempts, error, "trying again until it succeeds");
        }
        pause
    }

    /// Tries until it succeeds, or until trying again is pointless.
    pub(crate) async fn until_done<'a, T>(
        &mut self,
        mut work: impl FnMut() -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        loop {
            match work().await {
                Err(error) if error.class == ErrorClass::Transport => {
                    tokio::time::sleep(self.failed(&error)).await;
                }
                done => return done,
            }
        }
    }
}
