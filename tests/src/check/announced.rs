//! P14: ledger and outbox hold the same, and nobody is left who might still owe an announcement.

use super::evidence::Evidence;
use std::collections::BTreeSet;

/// Every stored event is announced as it is, nothing else is, and dead writers are settled.
pub(super) fn stored_is_announced(evidence: &Evidence<'_>) -> Vec<String> {
    let dump = evidence.dump;
    let mut violations = Vec::new();
    if let Some(alive) = evidence.writers
        && dump.writers.len() > alive
    {
        violations.push(format!(
            "{alive} processes append, but there are {} writers, and the dead ones are not settled: \
             {:?}",
            dump.writers.len(),
            dump.writers
        ));
    }
    let aggregates: BTreeSet<_> = dump.events.keys().chain(dump.outbox.keys()).collect();
    for aggregate_id in aggregates {
        let none = std::collections::BTreeMap::new();
        let stored = dump.events.get(aggregate_id).unwrap_or(&none);
        let announced = dump.outbox.get(aggregate_id).unwrap_or(&none);
        for (version, event) in stored {
            match announced.get(version) {
                None => {
                    let kind = &event.event_type;
                    violations.push(format!("{aggregate_id}/{version} {kind} was never announced"));
                }
                Some(other) if other != event => violations.push(format!(
                    "{aggregate_id}/{version} is stored as {event:?} and announced as {other:?}"
                )),
                Some(_) => {}
            }
        }
        for version in announced.keys().filter(|version| !stored.contains_key(version)) {
            violations.push(format!("{aggregate_id}/{version} was announced and never stored"));
        }
    }
    violations
}
