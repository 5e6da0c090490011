//! P11: what cannot be handled stops its own aggregate in its own consumer, and nothing else.

use super::Evidence;
use super::delivered::consumers;
use crate::chaos::Poison;
use crate::dump::{Dump, LetterRow};
use std::collections::HashMap;

/// So many aggregates of one consumer may have a letter of class transport at one time: their target
/// refuses them alone. More is an outage, which is no reason for a letter.
const TRANSPORT_MAX: usize = 2;

/// P11: every letter is of an aggregate that was poisoned for that consumer, an outage makes none, and
/// none is left. That what waited was handled in order, once, is seen by P7, P8 and P9.
pub(super) fn only_poison_stops(evidence: &Evidence<'_>) -> Vec<String> {
    let poison: Vec<Poison> = evidence.history.faults.iter().filter_map(Poison::of_fault).collect();
    let looks = evidence.samples.iter().map(|sample| &sample.letters);
    let mut violations = Vec::new();
    for letters in looks.chain([&evidence.dump.letters]) {
        violations.extend(letters.iter().filter_map(|row| unfounded(row, evidence.dump, &poison)));
        // A letter of poison may find the broker away when it is tried again.
        let others = letters.iter().filter(|row| !is_poisoned(row, evidence.dump, &poison));
        violations.extend(outages(others));
    }
    violations.sort();
    violations.dedup();
    violations.extend(left_over(evidence.dump));
    violations
}

/// A letter that has no reason.
fn unfounded(row: &LetterRow, dump: &Dump, poison: &[Poison]) -> Option<String> {
    let LetterRow { consumer, aggregate_id, .. } = row;
    let events = dump.events.get(aggregate_id);
    let kind = events.and_then(|events| events.values().next()).map(|event| &event.aggregate_type);
    let is_consumer =
        kind.is_some_and(|kind| consumers(kind).iter().any(|(_, name)| *name == consumer.as_str()));
    if !is_consumer {
        return Some(format!("{consumer} has a letter for {aggregate_id}, which it never sees"));
    }
    (row.class != "transport" && !is_poisoned(row, dump, poison)).then(|| {
        format!("{consumer} has a letter for {aggregate_id}, which nobody poisoned: {}", row.error)
    })
}

/// Whether an event of its aggregate is poisoned for its consumer.
fn is_poisoned(row: &LetterRow, dump: &Dump, poison: &[Poison]) -> bool {
    dump.events.get(&row.aggregate_id).into_iter().flatten().any(|(_, event)| {
        poison.iter().any(|poison| poison.hits(&row.consumer, event.event_id, &event.event_type))
    })
}

/// Consumers whose target was out of reach, and who made letters of that.
fn outages<'a>(letters: impl Iterator<Item = &'a LetterRow>) -> impl Iterator<Item = String> {
    let mut transport: HashMap<&str, usize> = HashMap::new();
    for row in letters.filter(|row| row.class == "transport") {
        *transport.entry(&row.consumer).or_default() += 1;
    }
    let too_many = transport.into_iter().filter(|(_, count)| *count > TRANSPORT_MAX);
    let said = too_many.map(|(consumer, _)| format!("an outage made letters for {consumer}"));
    said.collect::<Vec<_>>().into_iter()
}

/// Letters of a system at rest in which nothing is poisoned any more.
fn left_over(dump: &Dump) -> impl Iterator<Item = String> {
    dump.letters.iter().map(|row| {
        let LetterRow { consumer, aggregate_id, version, state, attempts, error, .. } = row;
        format!(
            "{consumer} has a letter left for {aggregate_id}/{version}, {state} after {attempts} \
             attempts: {error}"
        )
    })
}
