//! Keeps `/readyz` true while the process runs: again and again one small read of the migrations that
//! were applied, which shows both that the database answers and that the schema is the one that this
//! process needs. While the circuit breaker of the process's requests is open, the look is a probe.
//!
//! A look that gets no answer is no outage yet: the node that it asked may be gone, and the next look asks
//! another. If each process called itself unready then, one lost node would take all of them out of service.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use runtime::config::Health;
use runtime::{Breaker, Readiness, chain};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::schema::{MigrationId, PendingReader};

/// What is looked at.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) migrations: PendingReader,
    pub(crate) readiness: Readiness,
    pub(crate) config: Health,
    /// That of the process's requests: without any, this alone finds out that the database is back.
    pub(crate) breaker: Arc<OnceLock<Breaker>>,
}

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Well,
    Lacks(String),
    NoAnswer(String),
}

/// Looks until `shutdown`.
pub(crate) async fn watch(watched: Watched, shutdown: CancellationToken) -> anyhow::Result<()> {
    let interval = Duration::from_millis(watched.config.interval_ms.get());
    let outage = Duration::from_millis(watched.config.outage_ms.get());
    let (mut before, mut answered) = (Seen::Well, Instant::now());
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = sleep(interval) => {}
        }
        let open = watched.breaker.get().filter(|breaker| !breaker.is_closed());
        let probe = open.and_then(|breaker| breaker.try_pass().ok());
        let seen = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            seen = look(&watched) => seen,
        };
        match (probe, &seen) {
            (Some(probe), Seen::NoAnswer(_)) => probe.failed(Uuid::nil()),
            (Some(probe), Seen::Well | Seen::Lacks(_)) => probe.succeeded(),
            (None, _) => {}
        }
        let is_answer = !matches!(seen, Seen::NoAnswer(_));
        if is_answer {
            answered = Instant::now();
        }
        if is_answer || answered.elapsed() >= outage {
            note(&seen, &watched.readiness);
        }
        if seen != before {
            match &seen {
                Seen::Well => info!("database and schema are well again"),
                Seen::Lacks(missing) => warn!(missing, "the schema is not what it was"),
                Seen::NoAnswer(error) => warn!(error, "the database does not answer"),
            }
        }
        before = seen;
    }
}

async fn look(watched: &Watched) -> Seen {
    let limit = Duration::from_millis(watched.config.timeout_ms.get());
    match timeout(limit, watched.migrations.pending()).await {
        Ok(Ok(missing)) if missing.is_empty() => Seen::Well,
        Ok(Ok(missing)) => {
            let names: Vec<String> = missing.iter().map(MigrationId::to_string).collect();
            Seen::Lacks(names.join(", "))
        }
        Ok(Err(error)) => Seen::NoAnswer(chain(error.as_ref()).to_string()),
        Err(_) => Seen::NoAnswer(format!("no answer within {} ms", watched.config.timeout_ms)),
    }
}

fn note(seen: &Seen, readiness: &Readiness) {
    match seen {
        Seen::Well => {
            readiness.set("database", true, "connected");
            readiness.set("schema", true, "complete");
        }
        Seen::Lacks(missing) => {
            readiness.set("database", true, "connected");
            readiness.set("schema", false, format!("lacks {missing}"));
        }
        // What the schema is now, nobody knows.
        Seen::NoAnswer(error) => readiness.set("database", false, error.clone()),
    }
}

#[cfg(test)]
mod tests;
