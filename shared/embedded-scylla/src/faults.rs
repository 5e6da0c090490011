//! Faults of lightweight transactions, told over a test-only port.
//!
//! A *rule* says what happens to the next so many LWTs of a table. Each LWT (single statement or
//! conditional batch) that the engine is about to run asks [`Faults::take_lwt`] exactly once; an
//! answer of `Some` means that one count of one rule is used up and the engine **must** do what the
//! fault says:
//!
//! | fault | the LWT itself | the answer |
//! | --- | --- | --- |
//! | [`LwtFault::AppliedTimeout`] | runs now, as always (it may still be refused by its condition) | `answer`, after `delay` |
//! | [`LwtFault::AppliedLate`] | runs now, as always | its true result, after `delay` |
//! | [`LwtFault::NotAppliedTimeout`] | never runs | `answer`, after `delay` |
//! | [`LwtFault::AppliedLater`] | runs later, see there | `answer`, at once |
//!
//! Statements that are refused before they run (syntax, unknown names, wrong values) meet no fault.
//!
//! The port speaks JSON: `POST /faults` with a [`FaultRule`] adds a rule, `GET /faults` shows a
//! [`FaultReport`], `DELETE /faults` drops all rules (what was already taken still happens) and
//! shows the report.

#[cfg(test)]
mod tests;

use crate::error::{CqlError, ErrorKind};
use crate::protocol::consistency;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router, routing};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many rules may wait at a time.
const RULES_MAX: usize = 64;

/// The longest delay of a rule.
const DELAY_MS_MAX: u64 = 600_000;

/// What the engine does with one LWT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LwtFault {
    /// Run it now, be durable, then answer with a timeout.
    AppliedTimeout {
        /// What the client sees.
        answer: Answer,
        /// How long after the commit it sees it.
        delay: Duration,
    },
    /// Run it now, be durable, then answer truthfully but late.
    AppliedLate {
        /// How long after the commit the client sees the result.
        delay: Duration,
    },
    /// Do not run it, now or ever.
    NotAppliedTimeout {
        /// What the client sees.
        answer: Answer,
        /// How long it waits for it.
        delay: Duration,
    },
    /// Answer at once, run it later. When it runs it is a fresh LWT: its conditions are evaluated
    /// against the state of that moment, its timestamp is given at that moment (so its CDC rows are
    /// in order), and nobody hears of the result, which the engine reports to
    /// [`Faults::later_done`].
    ///
    /// It runs once, at whichever comes first of `delay` and `on_touch`. What still waits when the
    /// engine stops is lost, as with a coordinator that dies.
    AppliedLater {
        /// What the client sees.
        answer: Answer,
        /// Run it when this time has passed. Without `on_touch` it is as if the request had been
        /// stuck on its way: other LWTs and SERIAL reads of the partition neither see it nor
        /// finish it.
        delay: Option<Duration>,
        /// Run it immediately before the next LWT or SERIAL read of the same partition of the same
        /// table (in the same commit order, so that this one sees its effect), as Paxos finishes an
        /// accepted proposal. Plain reads and writes do not touch it. Several that wait for one
        /// partition run in the order in which they were taken.
        on_touch: bool,
    },
}

/// What a client sees instead of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// 0x1100 with write type `CAS`.
    #[default]
    WriteTimeout,
    /// 0x1700.
    CasUnknown,
    /// Nothing, ever; the stream stays open until the connection closes.
    Silence,
}

impl Answer {
    /// The answer of a request at this serial consistency (absent: SERIAL): an error, or for
    /// [`Answer::Silence`] a future that never ends, which the server drops with the connection.
    pub async fn give(self, serial_consistency: Option<u16>) -> CqlError {
        let consistency = serial_consistency.unwrap_or(consistency::SERIAL);
        let name = match consistency {
            consistency::LOCAL_SERIAL => "LOCAL_SERIAL",
            _ => "SERIAL",
        };
        match self {
            Self::WriteTimeout => CqlError::new(
                ErrorKind::WriteTimeout {
                    consistency,
                    received: 0,
                    block_for: 1,
                    write_type: "CAS",
                },
                format!(
                    "Operation timed out - received only 0 responses from 1 CL={name}. (injected)"
                ),
            ),
            Self::CasUnknown => CqlError::new(
                ErrorKind::CasUnknown { consistency, received: 0, block_for: 1 },
                format!(
                    "CAS operation result is unknown - proposal was not accepted by a quorum. CL={name} (injected)"
                ),
            ),
            Self::Silence => std::future::pending().await,
        }
    }
}

/// A rule as the port takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Which fault.
    pub kind: FaultKind,
    /// `table` or `keyspace.table`; absent: every table.
    #[serde(default)]
    pub table: Option<String>,
    /// How many LWTs it befalls.
    #[serde(default = "one")]
    pub count: u64,
    /// With which probability it befalls an LWT that matches; the draws come from the seed.
    #[serde(default = "always")]
    pub probability: f64,
    /// See [`LwtFault`]; 0 is at once, for `lwt_applied_later` no timer.
    #[serde(default)]
    pub delay_ms: u64,
    /// Only for `lwt_applied_later`; by default true exactly if there is no delay.
    #[serde(default)]
    pub on_touch: Option<bool>,
    /// What the client sees; not for `lwt_applied_late`, which answers truthfully.
    #[serde(default)]
    pub answer: Answer,
}

fn one() -> u64 {
    1
}

fn always() -> f64 {
    1.0
}

/// The four faults by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// [`LwtFault::AppliedTimeout`]
    LwtAppliedTimeout,
    /// [`LwtFault::AppliedLate`]
    LwtAppliedLate,
    /// [`LwtFault::NotAppliedTimeout`]
    LwtNotAppliedTimeout,
    /// [`LwtFault::AppliedLater`]
    LwtAppliedLater,
}

impl FaultRule {
    fn check(&self) -> Result<(), String> {
        if self.count == 0 {
            return Err("count must be at least 1".into());
        }
        if !(self.probability > 0.0 && self.probability <= 1.0) {
            return Err("probability must be in (0, 1]".into());
        }
        if self.delay_ms > DELAY_MS_MAX {
            return Err(format!("delay_ms must be at most {DELAY_MS_MAX}"));
        }
        let later = self.kind == FaultKind::LwtAppliedLater;
        if !later && self.on_touch.is_some() {
            return Err("on_touch belongs to lwt_applied_later only".into());
        }
        if later && self.delay_ms == 0 && self.on_touch == Some(false) {
            return Err("lwt_applied_later needs delay_ms, on_touch or both".into());
        }
        Ok(())
    }

    fn matches(&self, keyspace: &str, table: &str) -> bool {
        match self.table.as_deref().map(|name| name.split_once('.').ok_or(name)) {
            None => true,
            Some(Ok((wanted_keyspace, wanted))) => wanted_keyspace == keyspace && wanted == table,
            Some(Err(wanted)) => wanted == table,
        }
    }

    fn fault(&self) -> LwtFault {
        let (answer, delay) = (self.answer, Duration::from_millis(self.delay_ms));
        match self.kind {
            FaultKind::LwtAppliedTimeout => LwtFault::AppliedTimeout { answer, delay },
            FaultKind::LwtAppliedLate => LwtFault::AppliedLate { delay },
            FaultKind::LwtNotAppliedTimeout => LwtFault::NotAppliedTimeout { answer, delay },
            FaultKind::LwtAppliedLater => LwtFault::AppliedLater {
                answer,
                delay: (self.delay_ms > 0).then_some(delay),
                on_touch: self.on_touch.unwrap_or(self.delay_ms == 0),
            },
        }
    }
}

/// What `GET /faults` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultReport {
    /// Where the draws come from.
    pub seed: u64,
    /// Rules with what is left of them (`count`); used-up rules are gone.
    pub pending: Vec<FaultRule>,
    /// Faults so far, by kind.
    pub fired: Fired,
    /// What became of the LWTs that were to run later.
    pub later: Later,
}

/// Faults so far, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the kinds")]
pub struct Fired {
    pub lwt_applied_timeout: u64,
    pub lwt_applied_late: u64,
    pub lwt_not_applied_timeout: u64,
    pub lwt_applied_later: u64,
}

/// What became of the LWTs that were to run later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    /// Still to run.
    pub waiting: u64,
    /// Ran, and their condition held.
    pub applied: u64,
    /// Ran, and their condition no longer held (or they failed).
    pub refused: u64,
}

/// The rules in force. Share it behind an [`Arc`].
#[derive(Debug)]
pub struct Faults {
    /// Whether there is any rule: the only thing that a healthy LWT looks at.
    active: AtomicBool,
    state: Mutex<FaultState>,
}

#[derive(Debug)]
struct FaultState {
    report: FaultReport,
    random: StdRng,
}

impl Faults {
    /// No rules; draws of later rules come from this seed.
    pub fn new(seed: u64) -> Arc<Self> {
        let report = FaultReport {
            seed,
            pending: Vec::new(),
            fired: Fired::default(),
            later: Later::default(),
        };
        let state = FaultState { report, random: StdRng::seed_from_u64(seed) };
        Arc::new(Self { active: AtomicBool::new(false), state: Mutex::new(state) })
    }

    /// Decides over one LWT; see the head of this file. Rules are asked in the order in which they
    /// were added, and the first that matches and wins its draw is used.
    pub fn take_lwt(&self, keyspace: &str, table: &str) -> Option<LwtFault> {
        if !self.active.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.state();
        let FaultState { report, random } = &mut *state;
        let index = report.pending.iter().position(|rule| {
            rule.matches(keyspace, table) && random.random_bool(rule.probability)
        })?;
        let rule = &mut report.pending[index];
        let (kind, fault) = (rule.kind, rule.fault());
        rule.count -= 1;
        if rule.count == 0 {
            report.pending.remove(index);
            self.active.store(!report.pending.is_empty(), Ordering::Release);
        }
        match kind {
            FaultKind::LwtAppliedTimeout => report.fired.lwt_applied_timeout += 1,
            FaultKind::LwtAppliedLate => report.fired.lwt_applied_late += 1,
            FaultKind::LwtNotAppliedTimeout => report.fired.lwt_not_applied_timeout += 1,
            FaultKind::LwtAppliedLater => {
                report.fired.lwt_applied_later += 1;
                report.later.waiting += 1;
            }
        }
        tracing::debug!(keyspace, table, ?fault, "fault taken");
        Some(fault)
    }

    /// Says that an LWT of [`LwtFault::AppliedLater`] has run, and whether it was applied.
    pub fn later_done(&self, applied: bool) {
        let later = &mut self.state().report.later;
        later.waiting = later.waiting.saturating_sub(1);
        if applied {
            later.applied += 1;
        } else {
            later.refused += 1;
        }
    }

    /// Adds a rule; says what is wrong with it otherwise.
    pub fn add(&self, rule: FaultRule) -> Result<(), String> {
        rule.check()?;
        let mut state = self.state();
        if state.report.pending.len() >= RULES_MAX {
            return Err(format!("at most {RULES_MAX} rules may wait at a time"));
        }
        state.report.pending.push(rule);
        self.active.store(true, Ordering::Release);
        Ok(())
    }

    /// Drops all rules. Faults already taken still happen.
    pub fn clear(&self) {
        let mut state = self.state();
        state.report.pending.clear();
        self.active.store(false, Ordering::Release);
    }

    /// Rules and counts.
    pub fn report(&self) -> FaultReport {
        self.state().report.clone()
    }

    fn state(&self) -> MutexGuard<'_, FaultState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `POST`, `GET` and `DELETE /faults`
    pub(crate) fn router(self: Arc<Self>) -> Router {
        Router::new().route("/faults", routing::get(show).post(add).delete(clear)).with_state(self)
    }
}

async fn show(State(faults): State<Arc<Faults>>) -> Json<FaultReport> {
    Json(faults.report())
}

async fn add(
    State(faults): State<Arc<Faults>>,
    Json(rule): Json<FaultRule>,
) -> Result<Json<FaultReport>, (StatusCode, String)> {
    faults.add(rule).map_err(|reason| (StatusCode::UNPROCESSABLE_ENTITY, reason))?;
    Ok(Json(faults.report()))
}

async fn clear(State(faults): State<Arc<Faults>>) -> Json<FaultReport> {
    faults.clear();
    Json(faults.report())
}
