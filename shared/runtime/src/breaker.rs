//! A circuit breaker per target: while the database or the broker does not answer anybody, one request
//! at a time finds out whether it does again, and everybody else waits.
//!
//! ```text
//!            several keys failed, nothing succeeded between
//!  closed ────────────────────────────────────────────────► open ◄─┐
//!    ▲                                                       │ pause │ the probe failed:
//!    │                the probe succeeded                    ▼       │ a longer pause
//!    └─────────────────────────────────────────────────── half-open ─┘
//! ```
//!
//! A *key* is whom a request is for, mostly an aggregate: one that fails alone, however often, opens
//! nothing. Any success clears the count. Who wants to send asks for a [`Pass`] first and says what
//! came of it; a pass that is dropped says nothing. What comes of a pass from before the breaker
//! changed is not counted either.

use crate::backoff::{Backoff, BackoffConfig};
use crate::readiness::Readiness;
use prometheus::{GaugeVec, IntCounterVec, register_gauge_vec, register_int_counter_vec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

/// By target and state; 1 for the state that it is in.
static STATE: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!(
        "circuit_breaker_state",
        "1 for the state that a target's circuit breaker is in.",
        &["target", "state"]
    )
    .expect("registered once")
});

/// How often a breaker opened, by target; failed probes are not counted.
static OPENED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "circuit_breaker_opened_total",
        "How often a target's circuit breaker opened.",
        &["target"]
    )
    .expect("registered once")
});

/// When a breaker opens and how long it stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// So many aggregates, or other things that requests are for, must fail, none succeeding between, until
    /// the circuit breaker opens.
    #[schemars(range(min = 1))]
    pub failing_keys_min: u32,
    /// Pauses before a single request finds out whether the target answers again.
    pub pause: BackoffConfig,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failing_keys_min: 5, pause: BackoffConfig { initial_ms: 200, max_ms: 5_000 } }
    }
}

/// What requests are sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target(&'static str);

impl Target {
    /// By its name in logs and metrics. `/readyz?verbose` shows its breaker as `breaker-<name>`.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// The states, by their names in metrics.
const STATES: [&str; 3] = ["closed", "open", "half_open"];

#[derive(Debug)]
enum State {
    Closed {
        /// Keys that failed since the last success.
        failing: HashSet<Uuid>,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        is_probing: bool,
    },
}

impl State {
    fn closed() -> Self {
        Self::Closed { failing: HashSet::new() }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Closed { .. } => STATES[0],
            Self::Open { .. } => STATES[1],
            Self::HalfOpen { .. } => STATES[2],
        }
    }
}

#[derive(Debug)]
struct Machine {
    state: State,
    pauses: Backoff,
}

#[derive(Debug)]
struct Inner {
    target: Target,
    config: BreakerConfig,
    readiness: Option<Readiness>,
    machine: Mutex<Machine>,
    /// Counts the changes of state, and of who is the probe.
    changes: watch::Sender<u64>,
}

/// The breaker of a target. Cheap to clone; all clones are one breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    inner: Arc<Inner>,
}

/// A request may be sent. To be told what came of it.
#[derive(Debug)]
#[must_use = "a pass that is dropped says nothing about its target"]
pub struct Pass {
    breaker: Breaker,
    /// [`Inner::changes`] when it was given.
    change: u64,
    is_probe: bool,
    is_told: bool,
}

/// The target is not to be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker of the {} is open", .target.name())]
pub struct BreakerOpen {
    /// Which target.
    pub target: Target,
    /// When it may be asked again; zero while somebody is finding out.
    pub retry_after: Duration,
}

impl Breaker {
    /// A closed breaker. Its state is shown in `readiness`, without an influence on it.
    pub fn new(target: Target, config: BreakerConfig, readiness: Option<Readiness>) -> Self {
        let machine = Machine { state: State::closed(), pauses: Backoff::new(config.pause) };
        OPENED.with_label_values(&[target.name()]);
        let machine = Mutex::new(machine);
        let changes = watch::Sender::new(0);
        let breaker =
            Self { inner: Arc::new(Inner { target, config, readiness, machine, changes }) };
        breaker.show(&breaker.machine());
        breaker
    }

    /// What it is for.
    pub fn target(&self) -> Target {
        self.inner.target
    }

    /// Whether requests are sent without asking.
    pub fn is_closed(&self) -> bool {
        matches!(self.machine().state, State::Closed { .. })
    }

    /// Waits until a request may be sent; the one that does while the breaker is half-open is the
    /// probe.
    pub async fn pass(&self) -> Pass {
        let mut changes = self.inner.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let wait = match self.try_pass() {
                Ok(pass) => return pass,
                Err(open) => open.retry_after,
            };
            // Whoever makes the pass possible changes the state; a pause ends by itself.
            let ends = async {
                if wait.is_zero() {
                    std::future::pending().await
                } else {
                    tokio::time::sleep(wait).await;
                }
            };
            tokio::select! {
                // Errs when the sender is gone, which this breaker holds.
                _ = changes.changed() => {}
                () = ends => {}
            }
        }
    }

    /// A pass, if there is one now.
    pub fn try_pass(&self) -> Result<Pass, BreakerOpen> {
        let mut machine = self.machine();
        let is_probe = match &mut machine.state {
            State::Closed { .. } => false,
            State::Open { until } => {
                let wait = until.saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    return Err(self.refusal(wait));
                }
                machine.state = State::HalfOpen { is_probing: true };
                self.changed(&machine);
                true
            }
            State::HalfOpen { is_probing: true } => return Err(self.refusal(Duration::ZERO)),
            State::HalfOpen { is_probing } => {
                *is_probing = true;
                true
            }
        };
        let change = *self.inner.changes.borrow();
        Ok(Pass { breaker: self.clone(), change, is_probe, is_told: false })
    }

    fn refusal(&self, retry_after: Duration) -> BreakerOpen {
        BreakerOpen { target: self.inner.target, retry_after }
    }

    fn succeeded(&self, pass: &Pass) {
        let mut machine = self.machine();
        match &mut machine.state {
            State::Closed { failing } => failing.clear(),
            State::HalfOpen { .. } if pass.is_probe && self.is_current(pass) => {
                info!(target_name = self.inner.target.name(), "circuit breaker closed");
                machine.state = State::closed();
                machine.pauses.reset();
                self.changed(&machine);
            }
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    fn failed(&self, pass: &Pass, key: Uuid) {
        let mut machine = self.machine();
        let opens = match &mut machine.state {
            State::Closed { failing } => {
                failing.insert(key);
                let min = usize::try_from(self.inner.config.failing_keys_min);
                failing.len() >= min.unwrap_or(usize::MAX)
            }
            State::HalfOpen { .. } => pass.is_probe,
            State::Open { .. } => false,
        };
        if !opens || !self.is_current(pass) {
            return;
        }
        if !pass.is_probe {
            OPENED.with_label_values(&[self.inner.target.name()]).inc();
            warn!(target_name = self.inner.target.name(), "circuit breaker opened");
        }
        machine.state = State::Open { until: Instant::now() + machine.pauses.next_pause() };
        self.changed(&machine);
    }

    /// The probe came back without saying anything: another one may try.
    fn undecided(&self, pass: &Pass) {
        let mut machine = self.machine();
        if let State::HalfOpen { is_probing } = &mut machine.state
            && pass.is_probe
            && self.is_current(pass)
        {
            *is_probing = false;
            self.changed(&machine);
        }
    }

    /// Whether nothing changed since the pass was given.
    fn is_current(&self, pass: &Pass) -> bool {
        *self.inner.changes.borrow() == pass.change
    }

    /// Tells everybody of another state.
    fn changed(&self, machine: &Machine) {
        self.show(machine);
        self.inner.changes.send_modify(|changes| *changes += 1);
    }

    fn show(&self, machine: &Machine) {
        let (target, name) = (self.inner.target, machine.state.name());
        for state in STATES {
            let value = f64::from(u8::from(state == name));
            STATE.with_label_values(&[target.name(), state]).set(value);
        }
        if let Some(readiness) = &self.inner.readiness {
            // Good in every state: what is wrong with the target is another check's to say.
            readiness.set(format!("breaker-{}", target.name()), true, name);
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.inner.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Whether everybody else waits for what comes of this one.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// The target answered, be it with a refusal of this very request.
    pub fn succeeded(mut self) {
        self.is_told = true;
        self.breaker.succeeded(&self);
    }

    /// The target did not answer `key`, or was overloaded.
    pub fn failed(mut self, key: Uuid) {
        self.is_told = true;
        self.breaker.failed(&self, key);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.is_told {
            self.breaker.undecided(self);
        }
    }
}

#[cfg(test)]
mod tests;
