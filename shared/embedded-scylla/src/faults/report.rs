//! What `GET /faults` shows.

use super::rule::{FaultKind, FaultRule};
use serde::{Deserialize, Serialize};

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
    /// Groups of log rows that are not visible yet.
    pub log_groups_hidden: u64,
}

impl FaultReport {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            pending: Vec::new(),
            fired: Fired::default(),
            later: Later::default(),
            log_groups_hidden: 0,
        }
    }
}

/// Faults so far, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the kinds")]
pub struct Fired {
    pub lwt_applied_timeout: u64,
    pub lwt_applied_late: u64,
    pub lwt_not_applied_timeout: u64,
    pub lwt_applied_later: u64,
    pub write_applied_timeout: u64,
    pub write_not_applied_timeout: u64,
    pub read_timeout: u64,
    pub slow: u64,
    pub overloaded: u64,
    pub unavailable: u64,
    pub log_rows_delayed: u64,
    pub log_rows_dropped: u64,
    pub log_rows_doubled: u64,
    pub log_rows_permuted: u64,
}

impl Fired {
    pub(super) fn of_mut(&mut self, kind: FaultKind) -> &mut u64 {
        match kind {
            FaultKind::LwtAppliedTimeout => &mut self.lwt_applied_timeout,
            FaultKind::LwtAppliedLate => &mut self.lwt_applied_late,
            FaultKind::LwtNotAppliedTimeout => &mut self.lwt_not_applied_timeout,
            FaultKind::LwtAppliedLater => &mut self.lwt_applied_later,
            FaultKind::WriteAppliedTimeout => &mut self.write_applied_timeout,
            FaultKind::WriteNotAppliedTimeout => &mut self.write_not_applied_timeout,
            FaultKind::ReadTimeout => &mut self.read_timeout,
            FaultKind::Slow => &mut self.slow,
            FaultKind::Overloaded => &mut self.overloaded,
            FaultKind::Unavailable => &mut self.unavailable,
            FaultKind::LogRowsDelayed => &mut self.log_rows_delayed,
            FaultKind::LogRowsDropped => &mut self.log_rows_dropped,
            FaultKind::LogRowsDoubled => &mut self.log_rows_doubled,
            FaultKind::LogRowsPermuted => &mut self.log_rows_permuted,
        }
    }
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
