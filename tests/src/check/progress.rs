//! P10 and P13: checkpoints and leases, as they were seen during the run.

use super::delivered::consumers;
use super::{Evidence, Verdict};
use crate::dump::{Announced, LetterRow, Progress, SlotRow, slot_of};
use crate::history::Place;
use serde::Serialize;
use std::collections::HashMap;

/// One look at the slots during the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// When it was begun, in the history's time.
    pub at_us: u64,
    /// Every slot.
    pub slots: Vec<SlotRow>,
    /// Events before a checkpoint that a consumer had not handled; `None` when the log itself was made
    /// to lie, so that nobody could know of them.
    pub ahead: Option<Vec<String>>,
    /// The dead letters that there were.
    pub letters: Vec<LetterRow>,
}

/// Events that lie before their slot's checkpoint, and that a consumer of its group has neither handled
/// nor put behind a dead letter. What is older than the beginning of a consumer's log is not in the
/// checkpoint until its scan of the ledger is done.
pub fn ahead_of_work(progress: &Progress) -> Vec<String> {
    let Progress { slots, catching_up, letters, announced, cursors } = progress;
    let waits = |consumer: &str, event: &Announced| {
        letters.iter().any(|row| {
            row.consumer == consumer
                && row.aggregate_id == event.aggregate_id
                && u64::try_from(row.version).is_ok_and(|from| from <= event.version)
        })
    };
    let mut checkpoints: HashMap<(&str, u32), i64> = HashMap::new();
    let mut number: HashMap<&str, u32> = HashMap::new();
    for row in slots {
        *number.entry(&row.group).or_default() += 1;
        if let Some(checkpoint) = row.checkpoint_us {
            checkpoints.insert((&row.group, row.slot), checkpoint);
        }
    }
    let mut found = Vec::new();
    for event in announced {
        for (group, consumer) in consumers(&event.aggregate_type) {
            let Some(slots) = number.get(group) else { continue };
            let slot = slot_of(event.token, *slots);
            let Some(checkpoint) = checkpoints.get(&(*group, slot)) else { continue };
            let scanned = catching_up.get(&((*consumer).to_owned(), slot));
            if scanned.is_some_and(|log_from_us| event.written_us < *log_from_us) {
                continue;
            }
            let cursors = cursors.get(&event.aggregate_id);
            let handled = cursors.and_then(|cursors| cursors.get(*consumer)).copied();
            let is_open = handled < Some(event.version) && !waits(consumer, event);
            if event.written_us < *checkpoint && is_open {
                found.push(format!(
                    "slot {slot} of {group} is settled up to {checkpoint}, but {consumer} handled \
                     {} up to {handled:?} and not version {}, announced at {}",
                    event.aggregate_id, event.version, event.written_us
                ));
            }
        }
    }
    found
}

/// P10: checkpoints only grow, and nothing before one is unhandled.
pub(super) fn checkpoints_are_truthful(evidence: &Evidence<'_>) -> Verdict {
    let samples = evidence.samples;
    if samples.len() < 2 {
        return Verdict::NotChecked(format!("the slots were looked at {} times", samples.len()));
    }
    let mut violations: Vec<String> =
        samples.iter().flat_map(|sample| sample.ahead.clone().unwrap_or_default()).collect();
    for (before, after) in pairs(samples) {
        if before.checkpoint_us > after.checkpoint_us {
            violations.push(format!(
                "the checkpoint of slot {} of {} moved from {:?} back to {:?}",
                after.slot, after.group, before.checkpoint_us, after.checkpoint_us
            ));
        }
    }
    Verdict::of(violations)
}

/// P13: whoever lost a slot changes nothing of it, and no read model goes back.
pub(super) fn zombies_change_nothing(evidence: &Evidence<'_>) -> Verdict {
    let paused = |kind: &str| kind == "pause" || kind.starts_with("proxy");
    if !evidence.history.faults.iter().any(|fault| fault.fired > 0 && paused(&fault.kind)) {
        return Verdict::NotChecked("nobody was paused or cut off".to_owned());
    }
    let mut violations = Vec::new();
    for (before, after) in pairs(evidence.samples) {
        let moved = before.owner != after.owner && after.owner.is_some();
        if after.epoch < before.epoch || after.revision < before.revision {
            violations.push(format!("a slot went back from {before:?} to {after:?}"));
        } else if moved && after.epoch == before.epoch {
            violations.push(format!("a slot changed hands in one epoch: {before:?}, {after:?}"));
        }
    }
    violations.extend(read_models_that_went_back(evidence));
    Verdict::of(violations)
}

/// Reads that were begun after another had shown a later version.
fn read_models_that_went_back(evidence: &Evidence<'_>) -> Vec<String> {
    let mut by_aggregate: HashMap<_, Vec<_>> = HashMap::new();
    for read in evidence.history.reads.iter().filter(|read| read.place == Place::ReadModel) {
        by_aggregate.entry(read.aggregate_id).or_default().push(read);
    }
    let mut violations = Vec::new();
    for (aggregate_id, reads) in by_aggregate {
        let mut shown: Vec<(u64, u64)> =
            reads.iter().map(|read| (read.completed_us, read.version)).collect();
        shown.sort_unstable();
        let mut highest = 0;
        for (_, version) in &mut shown {
            highest = highest.max(*version);
            *version = highest;
        }
        for read in reads {
            let before = shown.partition_point(|(completed, _)| *completed < read.invoked_us);
            let floor = if before == 0 { 0 } else { shown[before - 1].1 };
            if read.version < floor {
                violations.push(format!(
                    "the read model of {aggregate_id} went back from {floor} to {}",
                    read.version
                ));
            }
        }
    }
    violations
}

/// Each slot as one sample and the next show it.
fn pairs(samples: &[Sample]) -> impl Iterator<Item = (&SlotRow, &SlotRow)> {
    samples.windows(2).flat_map(|two| {
        let before: HashMap<_, _> =
            two[0].slots.iter().map(|row| ((&row.group, row.slot), row)).collect();
        two[1]
            .slots
            .iter()
            .filter_map(move |row| Some((*before.get(&(&row.group, row.slot))?, row)))
    })
}
