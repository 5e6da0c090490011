//! Runs the named children of a process, starts those again that fall, and ends all together.
//!
//! Every child is one future, made anew by its factory for each start. How it ends decides:
//!
//! | it | then |
//! | --- | --- |
//! | panics, or returns although nobody asked it to | it is started again after a pause, and with it alone what it holds: the *restart unit* |
//! | does so too often within the window | the process ends with a failure |
//! | returns an error | the process ends with a failure: what may pass is waited for inside the child, so its error is fatal |
//! | falls, and was registered without a factory | the process ends with a failure: it is the restart unit |
//!
//! When the process ends, however, the other children finish first, within the grace period.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::anyhow;
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::backoff::{Backoff, BackoffConfig};
use crate::process_metrics::{CHILD_RESTARTS, CHILD_UP};
use crate::readiness::Readiness;
use crate::telemetry::{chain, in_child, panic_text};
use crate::test_hooks;

/// `[supervision]`
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Supervision {
    /// How often a child of the process that falls is started again within the window; the next time the
    /// process ends with 1.
    pub restarts_max: usize,
    /// The window in which restarts are counted.
    pub window_ms: NonZeroU64,
    /// Bound of the first pause before a restart; doubles, with full jitter.
    pub backoff_initial_ms: NonZeroU64,
    /// Bound of every pause before a restart.
    pub backoff_max_ms: NonZeroU64,
}

type Work = BoxFuture<'static, anyhow::Result<()>>;

/// How a child is started.
enum Start {
    /// Once.
    Once(Work),
    /// As often as it falls.
    Again(Box<dyn FnMut() -> Work + Send>),
}

/// The children, each with its name.
pub(crate) struct Supervisor {
    config: Supervision,
    shutdown: CancellationToken,
    readiness: Readiness,
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

impl Supervisor {
    pub(crate) fn new(
        config: Supervision,
        shutdown: CancellationToken,
        readiness: Readiness,
    ) -> Self {
        Self { config, shutdown, readiness, tasks: JoinSet::new(), names: HashMap::new() }
    }

    /// Starts a child whose restart unit is the process.
    pub(crate) fn start(
        &mut self,
        name: &'static str,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.keep(name, Start::Once(work.boxed()));
    }

    /// Starts a child that is its own restart unit.
    pub(crate) fn start_again<F, Fut>(&mut self, name: &'static str, mut make: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.keep(name, Start::Again(Box::new(move || make().boxed())));
    }

    fn keep(&mut self, name: &'static str, start: Start) {
        let child = Child {
            name,
            config: self.config,
            shutdown: self.shutdown.clone(),
            readiness: self.readiness.clone(),
        };
        // There from the start, so that a missing series never means zero.
        for reason in ["panic", "ended"] {
            CHILD_RESTARTS.with_label_values(&[name, reason]);
        }
        let handle = self.tasks.spawn(child.keep(start));
        self.names.insert(handle.id(), name);
    }

    /// Waits for the shutdown or the first child that is given up, cancels the shutdown, and gives
    /// the rest `grace` to finish. Errs with the first failure.
    pub(crate) async fn run(mut self, grace: Duration) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        let failure = tokio::select! {
            // A child may notice the shutdown and end before this does: it was asked then.
            biased;
            () = shutdown.cancelled() => None,
            ended = self.next() => match ended {
                Some((_, result)) => result.err(),
                None => {
                    // No children: the process does all its work elsewhere.
                    shutdown.cancelled().await;
                    return Ok(());
                }
            },
        };
        if let Some(failure) = &failure {
            error!(error = %chain(failure.as_ref()), "child failed, draining the others");
        }
        shutdown.cancel();
        let drained = self.drain(grace).await;
        failure.map_or(drained, Err)
    }

    async fn drain(mut self, grace: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + grace;
        let mut first_failure = None;
        loop {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(None) => return first_failure.map_or(Ok(()), Err),
                Ok(Some((name, Ok(())))) => debug!(child = name, "child finished"),
                Ok(Some((_, Err(failure)))) => {
                    error!(error = %chain(failure.as_ref()), "child failed while draining");
                    first_failure.get_or_insert(failure);
                }
                Err(_) => {
                    let mut names: Vec<_> = self.names.values().copied().collect();
                    names.sort_unstable();
                    let names = names.join(", ");
                    warn!(children = names, "children outlived the grace period");
                    self.tasks.abort_all();
                    return Err(anyhow!("children outlived the grace period: {names}"));
                }
            }
        }
    }

    /// The next child that ended for good; `None` when there are none left.
    async fn next(&mut self) -> Option<(&'static str, anyhow::Result<()>)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(anyhow!(error))),
        };
        let name = self.names.remove(&id).unwrap_or("unknown");
        Some((name, result.map_err(|error| error.context(format!("child {name}")))))
    }
}

/// How one start of a child ended, other than by doing its work.
enum Fall {
    Panicked(String),
    Ended,
}

/// Keeps one child running.
struct Child {
    name: &'static str,
    config: Supervision,
    shutdown: CancellationToken,
    readiness: Readiness,
}

impl Child {
    /// Starts the child, again and again if need be, until it ends as asked or is given up.
    async fn keep(self, start: Start) -> anyhow::Result<()> {
        let (mut first, mut make) = match start {
            Start::Once(work) => (Some(work), None),
            Start::Again(make) => (None, Some(make)),
        };
        let bounds = BackoffConfig {
            initial_ms: self.config.backoff_initial_ms.get(),
            max_ms: self.config.backoff_max_ms.get(),
        };
        let (mut backoff, mut falls) = (Backoff::new(bounds), VecDeque::new());
        loop {
            let work = first.take().or_else(|| make.as_mut().map(|make| make()));
            let Some(work) = work else { return Ok(()) };
            let Err(fall) = self.watched(work).await? else { return Ok(()) };
            let (reason, why) = match fall {
                Fall::Panicked(text) => ("panic", format!("panicked: {text}")),
                Fall::Ended => ("ended", "ended without being asked to".to_owned()),
            };
            self.is_down(why.clone());
            if make.is_none() || self.shutdown.is_cancelled() {
                return Err(anyhow!(why));
            }
            let (now, window) =
                (Instant::now(), Duration::from_millis(self.config.window_ms.get()));
            falls.push_back(now);
            while falls.front().is_some_and(|at| now.duration_since(*at) > window) {
                falls.pop_front();
            }
            if falls.len() == 1 {
                backoff.reset();
            }
            if falls.len() > self.config.restarts_max {
                let (times, within) = (falls.len(), self.config.window_ms);
                return Err(anyhow!(why).context(format!("fell {times} times in {within} ms")));
            }
            CHILD_RESTARTS.with_label_values(&[self.name, reason]).inc();
            // What it panicked at is in the log already, and in readiness.
            warn!(child = self.name, reason, falls = falls.len(), "child fell, starting it again");
            if !backoff.pause(&self.shutdown).await {
                return Ok(());
            }
        }
    }

    /// One start, from its beginning to its end.
    async fn watched(&self, work: Work) -> anyhow::Result<Result<(), Fall>> {
        CHILD_UP.with_label_values(&[self.name]).set(1);
        self.readiness.set_child(self.name, true, "running");
        let work = async {
            tokio::select! {
                done = work => done,
                () = test_hooks::child_falls(self.name) => panic!("the test asked for it"),
            }
        };
        let ended = AssertUnwindSafe(in_child(self.name, work)).catch_unwind().await;
        match ended {
            Ok(Ok(())) if self.shutdown.is_cancelled() => {
                CHILD_UP.with_label_values(&[self.name]).set(0);
                self.readiness.set_child(self.name, true, "finished");
                Ok(Ok(()))
            }
            Ok(Ok(())) => Ok(Err(Fall::Ended)),
            Ok(Err(error)) => {
                self.is_down(chain(error.as_ref()).to_string());
                Err(error)
            }
            Err(panic) => Ok(Err(Fall::Panicked(panic_text(&*panic).to_owned()))),
        }
    }

    fn is_down(&self, why: String) {
        CHILD_UP.with_label_values(&[self.name]).set(0);
        self.readiness.set_child(self.name, false, why);
    }
}

#[cfg(test)]
mod tests;
