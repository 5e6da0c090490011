//! P1, P2, P3: the ledger against what clients were told.

use super::evidence::{Evidence, Index};
use crate::dump::Dump;
use crate::history::Reply;
use std::collections::HashMap;
use uuid::Uuid;

/// P1: an acknowledged event is stored at its version, with its id and its command's.
pub(super) fn acknowledged_is_stored(evidence: &Evidence<'_>, index: &Index<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (at, command) in evidence.history.commands.iter().enumerate() {
        let (aggregate_id, command_id) = (command.aggregate_id, command.command_id());
        let stored = evidence.dump.events.get(&aggregate_id);
        for sending in &index.sendings[at] {
            let Reply::Ok { version, events } = &sending.reply else { continue };
            for (version, event_id) in events {
                let event = stored.and_then(|events| events.get(version));
                if event.is_none_or(|event| {
                    event.event_id != *event_id || event.metadata.command_id != command_id
                }) {
                    let found = event.map(|event| (event.event_id, event.metadata.command_id));
                    violations.push(format!(
                        "{aggregate_id}/{version} was acknowledged as event {event_id} of command \
                         {command_id}, stored is {found:?}"
                    ));
                }
            }
            if evidence.dump.version(aggregate_id) < *version {
                violations.push(format!(
                    "{aggregate_id} was acknowledged at {version}, stored are {}",
                    evidence.dump.version(aggregate_id)
                ));
            }
        }
    }
    violations
}

/// P2: every stored event is of a command that somebody sent to this aggregate, and none is of one
/// that was refused and nothing else.
pub(super) fn nothing_else_is_stored(evidence: &Evidence<'_>, index: &Index<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (aggregate_id, events) in &evidence.dump.events {
        for (version, event) in events {
            let command_id = event.metadata.command_id;
            let Some(command) = index.by_command_id.get(&command_id) else {
                violations.push(format!(
                    "{aggregate_id}/{version} is of command {command_id}, which nobody sent"
                ));
                continue;
            };
            let meant = evidence.history.commands[*command].aggregate_id;
            if meant != *aggregate_id {
                violations.push(format!(
                    "{aggregate_id}/{version} is of command {command_id} to {meant}"
                ));
            }
            let sendings = &index.sendings[*command];
            let refused = |reply: &Reply| {
                matches!(reply, Reply::Fail { status: 400..500, .. }) && !reply.is_passing()
            };
            if !sendings.is_empty() && sendings.iter().all(|sending| refused(&sending.reply)) {
                violations.push(format!(
                    "{aggregate_id}/{version} is of command {command_id}, which was refused: {:?}",
                    sendings[0].reply
                ));
            }
        }
    }
    violations
}

/// P3: versions 1, 2, 3, …; no event twice; a commit whole; the same bytes everywhere.
pub(super) fn versions_are_gapless(dump: &Dump) -> Vec<String> {
    let mut violations = Vec::new();
    let mut places: HashMap<Uuid, (Uuid, u64, &str)> = HashMap::new();
    for (aggregate_id, events) in &dump.events {
        if !events.keys().copied().eq(1..=events.len() as u64) {
            violations.push(format!("{aggregate_id} has versions {:?}", events.keys()));
        }
        for (version, event) in events {
            let place = (*aggregate_id, *version, event.data.as_str());
            if let Some((other, other_version, _)) = places.insert(event.event_id, place) {
                violations.push(format!(
                    "event {} is stored twice: {other}/{other_version}, {aggregate_id}/{version}",
                    event.event_id
                ));
            }
            let commit = &event.metadata.commit;
            let first = version.checked_sub(u64::from(commit.index));
            let whole = first.is_some_and(|first| {
                first > 0 && events.contains_key(&(first + u64::from(commit.count) - 1))
            });
            if !whole || commit.index >= commit.count {
                violations.push(format!(
                    "{aggregate_id}/{version} is {} of {} of a commit that is not there",
                    commit.index, commit.count
                ));
            }
        }
    }
    for record in &dump.topics {
        let Some(event_id) = record.attribute("id").and_then(|id| id.parse::<Uuid>().ok()) else {
            continue;
        };
        if let Some((aggregate_id, version, data)) = places.get(&event_id)
            && record.payload != *data
        {
            violations.push(format!("{aggregate_id}/{version} has other bytes on its topic"));
        }
    }
    violations
}
