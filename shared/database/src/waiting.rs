//! Waiting for what `esctl migrate` makes, and saying for what.

use runtime::{Backoff, Readiness};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::session::stopped;

/// Looks until `look` finds it. Otherwise `look` gives the reason, which the log and the `check` of `/readyz` say once
/// each time that it changes. Errs when the process is asked to end meanwhile.
pub(crate) async fn until_there<T>(
    what: &str,
    check: &'static str,
    look: impl AsyncFn() -> Result<T, String>,
    mut backoff: Backoff,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<T> {
    let mut said = String::new();
    loop {
        let reason = match look().await {
            Ok(found) => return Ok(found),
            Err(reason) => reason,
        };
        if reason != said {
            info!(reason, "waiting for {what}");
            readiness.set(check, false, reason.clone());
            said = reason;
        }
        if !backoff.pause(shutdown).await {
            return Err(stopped(what));
        }
    }
}
