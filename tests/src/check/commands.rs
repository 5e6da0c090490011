//! P5 and P6: a command has one effect, and everybody learns the truth about it.

use super::evidence::{Evidence, Index};
use crate::history::{Reply, Sending};
use std::collections::HashMap;
use uuid::Uuid;

/// P5: one commit per command, the same answer each time, and a key belongs to its body.
pub(super) fn one_command_one_effect(evidence: &Evidence<'_>, index: &Index<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    effects_are_single(evidence, &mut violations);
    for (at, sendings) in index.sendings.iter().enumerate() {
        let id = evidence.history.commands[at].aggregate_id;
        let mut effects = sendings.iter().filter(|sending| has_effect(sending));
        let Some(first) = effects.next() else { continue };
        for other in effects {
            if other.reply != first.reply {
                violations.push(format!(
                    "command {at} of {id} was answered {:?} and {:?}",
                    first.reply, other.reply
                ));
            }
        }
        // Whoever asks after the effect was known gets the answer again, and no refusal.
        for sending in sendings.iter().filter(|sending| sending.invoked_us > first.completed_us) {
            let forgotten = match &sending.reply {
                Reply::Ok { events, .. } => events.is_empty(),
                Reply::Fail { .. } => !sending.reply.is_passing(),
                Reply::Info { .. } => false,
            };
            if forgotten {
                violations.push(format!(
                    "command {at} of {id} was accepted as {:?}, and sent again it was answered {:?}",
                    first.reply, sending.reply
                ));
            }
        }
    }
    for reuse in &evidence.history.reuses {
        if (reuse.status, reuse.code.as_str()) != (422, "idempotency_key_reused")
            && !matches!(reuse.status, 429 | 503)
        {
            violations.push(format!(
                "the key of command {} with another body was answered {} {}",
                reuse.command, reuse.status, reuse.code
            ));
        }
    }
    violations
}

/// Whether a sending was answered with events.
fn has_effect(sending: &Sending) -> bool {
    matches!(&sending.reply, Reply::Ok { events, .. } if !events.is_empty())
}

/// All events with one correlation id, which the clients give to one command only, are one commit.
fn effects_are_single(evidence: &Evidence<'_>, violations: &mut Vec<String>) {
    let mut seen: HashMap<Uuid, (Uuid, u64, Uuid)> = HashMap::new();
    for (aggregate_id, events) in &evidence.dump.events {
        for (version, event) in events {
            let metadata = &event.metadata;
            let first = version.saturating_sub(u64::from(metadata.commit.index));
            let commit = (*aggregate_id, first, metadata.command_id);
            let other = *seen.entry(metadata.correlation_id).or_insert(commit);
            if other != commit {
                violations.push(format!(
                    "one command had two effects: {}/{} as command {}, {}/{} as command {}",
                    other.0, other.1, other.2, commit.0, commit.1, commit.2
                ));
            }
        }
    }
}

/// P6: after the healing nothing is unknown, and "not done" was never said of what shows.
pub(super) fn unknown_is_resolved(evidence: &Evidence<'_>, index: &Index<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (at, sendings) in index.sendings.iter().enumerate() {
        let id = evidence.history.commands[at].aggregate_id;
        let mut open = None;
        for sending in sendings {
            match &sending.reply {
                Reply::Info { why } => open = Some(why),
                reply if reply.is_passing() => {}
                Reply::Ok { .. } | Reply::Fail { .. } => open = None,
            }
        }
        if let Some(why) = open {
            violations.push(format!("command {at} of {id} is still unknown: {why}"));
        }
        let denied = sendings.iter().all(|sending| matches!(sending.reply, Reply::Fail { .. }));
        if denied
            && let (Some(sending), Some((_, version, _))) =
                (sendings.last(), index.effects[at].first())
        {
            violations.push(format!(
                "command {at} was denied, {:?}, and is stored as {id}/{version}",
                sending.reply
            ));
        }
    }
    for lookup in &evidence.history.lookups {
        let stored = index.effects[lookup.command].last().map(|(_, version, _)| *version);
        if lookup.done_at != stored {
            violations.push(format!(
                "command {} is said to be done at {:?}, stored is {stored:?}",
                lookup.command, lookup.done_at
            ));
        }
    }
    violations
}
