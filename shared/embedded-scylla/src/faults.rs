//! Faults, told over a test-only port: the server as unkind as a cluster.
//!
//! A *rule* says what happens to the next so many statements (or groups of CDC log rows) of a table.
//! The port speaks JSON. What it does not understand it refuses with 422 and the reason.
//!
//! | request | body | effect, and answer |
//! | --- | --- | --- |
//! | `POST /faults` | a [`FaultRule`] | adds a rule; a [`FaultReport`] |
//! | `GET /faults` | | a [`FaultReport`]: rules that are left, what has happened so far |
//! | `DELETE /faults` | | drops all rules. What was taken already still happens, and rows that are invisible stay on their schedule |
//! | `POST /later` | | LWTs that wait for their delay (`lwt_applied_later`) run now; a [`FaultReport`] |
//! | `POST /generations` | `{"streams": n, "starts_in_ms": n}`, both optional | opens a new CDC generation; see [`port`] |
//! | `POST /clock` | `{"skew_ms": n}` | the server's clock is so far off the host's, back if negative |
//! | `POST /power-cut` | `{"torn": bool}`, optional | forgets what was not synced and aborts the process; no answer |
//!
//! The kinds of rules (`kind`), and what becomes of the statement and its answer:
//!
//! | kind | befalls | the statement itself | the answer |
//! | --- | --- | --- | --- |
//! | `lwt_applied_timeout` | LWTs | runs (its condition may refuse it) | `answer` after `delay_ms` |
//! | `lwt_applied_late` | LWTs | runs | the truth after `delay_ms` |
//! | `lwt_not_applied_timeout` | LWTs | never runs | `answer` after `delay_ms` |
//! | `lwt_applied_later` | LWTs | runs later, see [`Fault::Later`] | `answer` at once |
//! | `write_applied_timeout` | writes, batches without conditions | runs | `answer` after `delay_ms` |
//! | `write_not_applied_timeout` | writes, batches without conditions | never runs | `answer` after `delay_ms` |
//! | `read_timeout` | reads, each page of them | never runs | `answer` after `delay_ms` |
//! | `slow` | any statement | runs | the truth after `delay_ms` |
//! | `overloaded`, `unavailable` | any statement | never runs | 0x1001, 0x1000 after `delay_ms` |
//!
//! Each statement asks once, before it runs, and meets one fault at most; one that is refused before
//! it runs (syntax, unknown names, wrong values) meets none. `statement` narrows a rule to one kind of
//! statement. What `answer` can be:
//!
//! | answer | on the wire | of |
//! | --- | --- | --- |
//! | `write_timeout` (default) | 0x1100 with write type `CAS`, `SIMPLE`, `BATCH` or `UNLOGGED_BATCH` | `lwt_*`, `write_*` |
//! | `cas_unknown` | 0x1700 | `lwt_*` |
//! | `cdc_write_failure` | 0x1600; a rule with it passes over tables without CDC | `write_*` |
//! | `read_timeout` (default) | 0x1200 | `read_timeout` |
//! | `silence` | nothing, ever; the stream stays open until the connection closes | all of these |
//!
//! The kinds that befall groups of CDC log rows (the rows of one write in one partition), by the name
//! of the **base** table; the change of the base table itself is not touched:
//!
//! | kind | what becomes of the group |
//! | --- | --- |
//! | `log_rows_delayed` | visible only `delay_ms` after its commit, with the `cdc$time` that it has |
//! | `log_rows_dropped` | never written |
//! | `log_rows_doubled` | is there a second time, with a `cdc$time` that is `delay_ms` later (a moment, if 0); the second one is visible after `delay_ms` |
//! | `log_rows_permuted` | visible at a random moment within `delay_ms`: groups come out in another order, over all streams |
//!
//! A rule without `table` matches every table but those of the system. A base table's name does not
//! match its log: reads of the log are befallen by rules for `<table>_scylla_cdc_log`, and reads of
//! system tables by rules that name those.
//!
//! | file | subject |
//! | --- | --- |
//! | `rule`, `report` | what the port takes and shows |
//! | `answer` | what clients see |
//! | `hidden` | rows that are not visible yet |
//! | `port` | the routes |

mod answer;
mod hidden;
pub mod port;
mod report;
mod rule;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Asked};
pub(crate) use hidden::Hidden;
pub use report::{FaultReport, Fired, Later};
pub use rule::{FaultKind, FaultRule, StatementKind};

use crate::schema::Table;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How many rules may wait at a time.
const RULES_MAX: usize = 64;

/// What the engine **must** do with one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Run it now, be durable, then answer with an error.
    Applied {
        /// What the client sees.
        answer: Answer,
        /// How long after the commit it sees it.
        delay: Duration,
    },
    /// Run it now, then answer truthfully but late.
    Late {
        /// How long after the commit the client sees the result.
        delay: Duration,
    },
    /// Do not run it, now or ever.
    Never {
        /// What the client sees.
        answer: Answer,
        /// How long it waits for it.
        delay: Duration,
    },
    /// Answer at once, run it later; LWTs only. When it runs it is a fresh LWT: its conditions are
    /// evaluated against the state of that moment, its timestamp is given at that moment (so its CDC
    /// rows are in order), and nobody hears of the result, which the engine reports to
    /// [`Faults::later_done`].
    ///
    /// It runs once, at whichever comes first of `delay` and `on_touch`. What still waits when the
    /// engine stops is lost, as with a coordinator that dies.
    Later {
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

/// What becomes of one group of log rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFault {
    /// Visible this long after its commit.
    Hidden(Duration),
    /// Not written.
    Dropped,
    /// There again, this much later.
    Doubled(Duration),
}

/// A table as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Touched<'a> {
    /// Its keyspace.
    pub keyspace: &'a str,
    /// Its name.
    pub table: &'a str,
    /// Whether CDC is on.
    pub is_logged: bool,
    /// Whether it is one of the system's.
    pub is_system: bool,
}

impl<'a> From<&'a Table> for Touched<'a> {
    fn from(table: &'a Table) -> Self {
        Self {
            keyspace: &table.keyspace,
            table: &table.name,
            is_logged: crate::cdc::is_logged(table),
            is_system: table.is_virtual,
        }
    }
}

/// The rules in force. Share it behind an [`Arc`].
#[derive(Debug)]
pub struct Faults {
    /// Whether there is any rule: the only thing that a healthy statement looks at.
    active: AtomicBool,
    state: Mutex<FaultState>,
    hidden: Hidden,
    /// Counts how often what waits was told to run.
    released: watch::Sender<u64>,
}

#[derive(Debug)]
struct FaultState {
    report: FaultReport,
    random: StdRng,
}

impl Faults {
    /// No rules; draws of later rules come from this seed.
    pub fn new(seed: u64) -> Arc<Self> {
        let state =
            FaultState { report: FaultReport::new(seed), random: StdRng::seed_from_u64(seed) };
        Arc::new(Self {
            active: AtomicBool::new(false),
            state: Mutex::new(state),
            hidden: Hidden::default(),
            released: watch::Sender::new(0),
        })
    }

    /// Decides over one statement, given the tables that it touches; see the head of this file.
    /// `Some` means that one count of one rule is used up.
    pub fn take<'a>(
        &self,
        statement: StatementKind,
        tables: impl Iterator<Item = Touched<'a>> + Clone,
    ) -> Option<Fault> {
        let (_, fault) = self.draw(|rule, _| {
            let matches = || tables.clone().any(|table| rule.matches(&table));
            rule.fault().filter(|_| rule.befalls(statement) && matches())
        })?;
        Some(fault)
    }

    /// Decides over one group of log rows.
    pub(crate) fn take_log(&self, base: Touched<'_>) -> Option<LogFault> {
        let (_, fault) = self.draw(|rule, random| {
            if !rule.matches(&base) {
                return None;
            }
            let delay = Duration::from_millis(rule.delay_ms);
            let fault = match rule.kind {
                FaultKind::LogRowsDelayed => LogFault::Hidden(delay),
                FaultKind::LogRowsDropped => LogFault::Dropped,
                FaultKind::LogRowsDoubled => LogFault::Doubled(delay),
                FaultKind::LogRowsPermuted => {
                    LogFault::Hidden(delay.mul_f64(random.random_range(0.0..1.0)))
                }
                _ => return None,
            };
            Some(fault)
        })?;
        Some(fault)
    }

    /// Uses up one count of the first rule, in the order in which they were added, that is wanted
    /// and wins its draw.
    fn draw<T>(
        &self,
        wanted: impl Fn(&FaultRule, &mut StdRng) -> Option<T>,
    ) -> Option<(FaultRule, T)> {
        if !self.active.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.state();
        let FaultState { report, random } = &mut *state;
        let (index, taken) = report.pending.iter().enumerate().find_map(|(index, rule)| {
            let taken = wanted(rule, random)?;
            random.random_bool(rule.probability).then_some((index, taken))
        })?;
        let rule = &mut report.pending[index];
        rule.count -= 1;
        let rule = rule.clone();
        if rule.count == 0 {
            report.pending.remove(index);
            self.active.store(!report.pending.is_empty(), Ordering::Release);
        }
        *report.fired.of_mut(rule.kind) += 1;
        if rule.kind == FaultKind::LwtAppliedLater {
            report.later.waiting += 1;
        }
        tracing::debug!(kind = ?rule.kind, table = rule.table, "fault taken");
        Some((rule, taken))
    }

    /// Says that an LWT of [`Fault::Later`] has run, and whether it was applied.
    pub fn later_done(&self, applied: bool) {
        let later = &mut self.state().report.later;
        later.waiting = later.waiting.saturating_sub(1);
        if applied {
            later.applied += 1;
        } else {
            later.refused += 1;
        }
    }

    /// Lets every LWT of [`Fault::Later`] that waits for its delay run now.
    pub fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }

    /// Sees every later [`Faults::release`].
    pub(crate) fn releases(&self) -> watch::Receiver<u64> {
        self.released.subscribe()
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
        FaultReport { log_groups_hidden: self.hidden.count(), ..self.state().report.clone() }
    }

    /// The log rows that are not visible yet.
    pub(crate) fn hidden(&self) -> &Hidden {
        &self.hidden
    }

    fn state(&self) -> MutexGuard<'_, FaultState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
