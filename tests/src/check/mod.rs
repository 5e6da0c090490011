//! The checker: given what clients were told and what the stores hold, is every promise kept?
//!
//! [`judge`] gives a verdict per promise on the [`Evidence`] of a whole run; [`verify`] is the short
//! form for a test that knows its commands. Every check takes about linear time, and none uses code
//! of what it checks: ids, slots and folds are worked out here a second time.

mod announced;
mod commands;
mod delivered;
mod evidence;
mod folds;
mod letters;
mod linear;
mod progress;
mod stored;
#[cfg(test)]
mod tests;
mod told;

pub use evidence::{Evidence, Heal};
pub use folds::disagreements;
pub use progress::{Sample, ahead_of_work};
pub use told::{Expectations, verify};

use evidence::Index;
use serde::Serialize;

/// The most memory that any process may have, in MiB. Ten times what the largest has at rest.
const MEMORY_MIB_MAX: f64 = 512.0;

/// What became of a promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Checked and kept.
    Ok,
    /// Broken, and where.
    Violated(Vec<String>),
    /// Nothing in the run could have shown it.
    NotChecked(String),
}

impl Verdict {
    fn of(violations: Vec<String>) -> Self {
        if violations.is_empty() { Self::Ok } else { Self::Violated(violations) }
    }

    /// Whether the promise is broken.
    pub fn is_violated(&self) -> bool {
        matches!(self, Self::Violated(_))
    }

    /// In one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Violated(_) => "violated",
            Self::NotChecked(_) => "not checked",
        }
    }
}

/// The verdict on each promise that a run can show.
pub fn judge(evidence: &Evidence<'_>) -> Vec<(&'static str, Verdict)> {
    let index = Index::new(evidence.history, evidence.dump);
    vec![
        ("P1", Verdict::of(stored::acknowledged_is_stored(evidence, &index))),
        ("P2", Verdict::of(stored::nothing_else_is_stored(evidence, &index))),
        ("P3", Verdict::of(stored::versions_are_gapless(evidence.dump))),
        ("P4", Verdict::of(linear::appends_are_linearizable(evidence, &index))),
        ("P5", Verdict::of(commands::one_command_one_effect(evidence, &index))),
        ("P6", Verdict::of(commands::unknown_is_resolved(evidence, &index))),
        ("P7", Verdict::of(delivered::nothing_is_skipped(evidence.dump))),
        ("P8", Verdict::of(folds::read_models_are_folds(evidence))),
        ("P9", Verdict::of(delivered::topics_are_in_order(evidence.dump))),
        ("P10", progress::checkpoints_are_truthful(evidence)),
        ("P11", Verdict::of(letters::only_poison_stops(evidence))),
        ("P13", progress::zombies_change_nothing(evidence)),
        ("P14", Verdict::of(announced::stored_is_announced(evidence))),
        ("P15", recovery(evidence.heal)),
        ("P16", honesty(evidence)),
        ("P17", memory(evidence)),
    ]
}

/// P16: every refusal says whether the command was done, and when another try is worth it.
fn honesty(evidence: &Evidence<'_>) -> Verdict {
    if evidence.history.sendings.is_empty() {
        return Verdict::NotChecked("nobody sent anything".to_owned());
    }
    Verdict::of(evidence.history.evasions.clone())
}

/// P17, as far as a run under faults shows it: memory stays bounded. The other part, accepted work that
/// stays fast above capacity, needs a machine to itself.
fn memory(evidence: &Evidence<'_>) -> Verdict {
    let seen = &evidence.history.memory_mib;
    if seen.is_empty() {
        return Verdict::NotChecked("nobody looked at the processes' memory".to_owned());
    }
    let above = seen.iter().filter(|(_, mib)| **mib > MEMORY_MIB_MAX);
    let said = above.map(|(process, mib)| format!("{process} had {mib:.0} MiB of memory"));
    Verdict::of(said.collect())
}

/// P15: after the healing everything is where it belongs within the limit.
fn recovery(heal: &Heal) -> Verdict {
    match &heal.missing {
        None => Verdict::Ok,
        Some(missing) => {
            let limit = heal.limit.as_secs();
            Verdict::Violated(vec![format!("{limit} s after the healing: {missing}")])
        }
    }
}
