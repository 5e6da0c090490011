//! Whether the process is able to work, as a list of named checks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared by whoever knows something about it. Ready means: started, not stopping, every check that
/// was ever set is good, and every child is running.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    phase: Phase,
    checks: BTreeMap<Cow<'static, str>, Check>,
    children: BTreeMap<Cow<'static, str>, Check>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Starting,
    Running,
    Stopping,
}

#[derive(Debug)]
struct Check {
    good: bool,
    reason: String,
}

impl Readiness {
    /// States how a check stands. `reason` is shown by `/readyz?verbose`.
    pub fn set(&self, check: impl Into<Cow<'static, str>>, good: bool, reason: impl Into<String>) {
        let (check, state) = (check.into(), Check { good, reason: reason.into() });
        self.with(|inner| inner.checks.insert(check, state));
    }

    /// How a check stands, with its reason; `None` when it was never set.
    pub fn check(&self, check: &str) -> Option<(bool, String)> {
        self.with(|inner| inner.checks.get(check).map(|c| (c.good, c.reason.clone())))
    }

    /// States whether a child of the process is running, and why not.
    pub(crate) fn set_child(&self, name: &'static str, good: bool, reason: impl Into<String>) {
        let state = Check { good, reason: reason.into() };
        self.with(|inner| inner.children.insert(name.into(), state));
    }

    /// Whether the process takes work now.
    pub fn is_ready(&self) -> bool {
        self.with(|inner| {
            let mut states = inner.checks.values().chain(inner.children.values());
            inner.phase == Phase::Running && states.all(|check| check.good)
        })
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.with(|inner| inner.phase = phase);
    }

    /// Whether the start is over; it stays so.
    pub(crate) fn has_started(&self) -> bool {
        self.with(|inner| inner.phase != Phase::Starting)
    }

    /// One line per check, for people.
    pub(crate) fn report(&self) -> String {
        let ready = self.is_ready();
        self.with(|inner| {
            let mut text = String::new();
            let phase = match inner.phase {
                Phase::Starting => "[-]process starting",
                Phase::Running => "[+]process running",
                Phase::Stopping => "[-]process stopping",
            };
            let _ = writeln!(text, "{phase}");
            let checks = inner.checks.iter().map(|state| ("", state));
            let children = inner.children.iter().map(|state| ("child ", state));
            for (kind, (name, check)) in checks.chain(children) {
                let sign = if check.good { '+' } else { '-' };
                let _ = writeln!(text, "[{sign}]{kind}{name} {}", check.reason);
            }
            let _ = writeln!(text, "{}", if ready { "ready" } else { "not ready" });
            text
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_running_with_every_check_good() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready());
        readiness.enter(Phase::Running);
        assert!(readiness.is_ready());
        readiness.set("schema", false, "waits for leases/1");
        assert!(!readiness.is_ready());
        readiness.set("schema", true, "complete");
        assert!(readiness.is_ready());
        readiness.enter(Phase::Stopping);
        assert!(!readiness.is_ready());
        assert!(readiness.has_started());
    }

    #[test]
    fn the_report_names_what_is_missing() {
        let readiness = Readiness::default();
        readiness.enter(Phase::Running);
        readiness.set("database", true, "connected");
        readiness.set("schema", false, "waits for leases/1");
        assert_eq!(
            readiness.report(),
            "[+]process running\n[+]database connected\n[-]schema waits for leases/1\nnot ready\n"
        );
    }
}
