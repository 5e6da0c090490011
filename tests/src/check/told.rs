//! The short form for a test that knows its commands.

use super::evidence::{Evidence, Heal};
use super::{announced, delivered, folds, letters, stored};
use crate::client::{Outcome, Told};
use crate::dump::Dump;
use crate::history::History;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// What a test knows beside the dump.
#[derive(Debug, Default)]
pub struct Expectations {
    /// Every command with its last answer.
    pub told: Vec<Told>,
    /// Whether every stored event belongs to a command of `told` that was accepted: true when all
    /// outcomes are settled and nobody else sent anything.
    pub complete: bool,
}

/// All violations, readable; empty when every promise is kept.
pub fn verify(dump: &Dump, expected: &Expectations) -> Vec<String> {
    let (history, heal) =
        (History::default(), Heal { took: Duration::ZERO, limit: Duration::ZERO, missing: None });
    let evidence = Evidence {
        history: &history,
        dump,
        disagreements: None,
        samples: &[],
        heal: &heal,
        writers: None,
    };
    let mut violations = Vec::new();
    acknowledged_is_stored(dump, expected, &mut violations);
    for (promise, found) in [
        ("P3", stored::versions_are_gapless(dump)),
        ("P14", announced::stored_is_announced(&evidence)),
        ("P7", delivered::nothing_is_skipped(dump)),
        ("P9", delivered::topics_are_in_order(dump)),
        ("P8", folds::read_models_are_folds(&evidence)),
        ("P11", letters::only_poison_stops(&evidence)),
    ] {
        violations.extend(found.into_iter().map(|violation| format!("{promise} {violation}")));
    }
    violations
}

/// P1, P2 and P5: accepted events are stored, each once, and nothing else is.
fn acknowledged_is_stored(dump: &Dump, expected: &Expectations, violations: &mut Vec<String>) {
    let mut accepted: BTreeMap<(Uuid, u64), Uuid> = BTreeMap::new();
    for told in &expected.told {
        let (Some(aggregate_id), Outcome::Accepted(events)) = (told.aggregate_id, &told.outcome)
        else {
            continue;
        };
        for (version, event_id) in events {
            if let Some(other) = accepted.insert((aggregate_id, *version), *event_id)
                && other != *event_id
            {
                violations.push(format!("P3 {aggregate_id}/{version} acknowledged twice"));
            }
            let stored = dump.events.get(&aggregate_id).and_then(|events| events.get(version));
            if stored.is_none_or(|event| event.event_id != *event_id) {
                violations.push(format!(
                    "P1 {aggregate_id}/{version} {event_id} acknowledged, not stored"
                ));
            }
        }
    }
    if !expected.complete {
        return;
    }
    for (aggregate_id, events) in &dump.events {
        for version in events.keys() {
            if !accepted.contains_key(&(*aggregate_id, *version)) {
                violations.push(format!("P2 {aggregate_id}/{version} stored, never acknowledged"));
            }
        }
    }
}
