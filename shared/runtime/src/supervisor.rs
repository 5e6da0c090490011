//! Runs the named workers of a process and ends them together.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::anyhow;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::telemetry::{chain, panic_text};

/// The workers, each with its name.
#[derive(Default)]
pub(crate) struct Supervisor {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

impl Supervisor {
    /// Starts a worker.
    pub(crate) fn start(
        &mut self,
        name: &'static str,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(work);
        self.names.insert(handle.id(), name);
    }

    /// Waits for `shutdown` or the first worker that ends, cancels `shutdown`, and gives the rest
    /// `grace` to finish. Errs with the first failure; a worker that ends unasked is one.
    pub(crate) async fn run(
        mut self,
        shutdown: &CancellationToken,
        grace: Duration,
    ) -> anyhow::Result<()> {
        let unasked = tokio::select! {
            // A worker may notice the shutdown and end before this does: it was asked then.
            biased;
            () = shutdown.cancelled() => None,
            ended = self.next() => match ended {
                Some((_, Ok(()))) if shutdown.is_cancelled() => None,
                Some((name, Ok(()))) => {
                    Some(anyhow!("worker {name} ended without being asked to"))
                }
                Some((_, Err(failure))) => Some(failure),
                None => {
                    // No workers: the process does all its work elsewhere.
                    shutdown.cancelled().await;
                    return Ok(());
                }
            },
        };
        if let Some(failure) = &unasked {
            error!(error = %chain(failure.as_ref()), "worker failed, draining the others");
        }
        shutdown.cancel();
        let drained = self.drain(grace).await;
        unasked.map_or(drained, Err)
    }

    async fn drain(mut self, grace: Duration) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + grace;
        let mut first_failure = None;
        loop {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(None) => return first_failure.map_or(Ok(()), Err),
                Ok(Some((name, Ok(())))) => debug!(worker = name, "worker finished"),
                Ok(Some((_, Err(failure)))) => {
                    error!(error = %chain(failure.as_ref()), "worker failed while draining");
                    first_failure.get_or_insert(failure);
                }
                Err(_) => {
                    let mut names: Vec<_> = self.names.values().copied().collect();
                    names.sort_unstable();
                    let names = names.join(", ");
                    warn!(workers = names, "workers outlived the grace period");
                    self.tasks.abort_all();
                    return Err(anyhow!("workers outlived the grace period: {names}"));
                }
            }
        }
    }

    /// The next worker that ended; `None` when there are none left.
    async fn next(&mut self) -> Option<(&'static str, anyhow::Result<()>)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(fallen(error))),
        };
        let name = self.names.remove(&id).unwrap_or("unknown");
        Some((name, result.map_err(|error| error.context(format!("worker {name}")))))
    }
}

fn fallen(error: JoinError) -> anyhow::Error {
    match error.try_into_panic() {
        Ok(payload) => anyhow!("panicked: {}", panic_text(&*payload)),
        Err(error) => anyhow!(error),
    }
}

#[cfg(test)]
mod tests;
