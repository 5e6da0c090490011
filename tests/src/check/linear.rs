//! P4: the order of versions and the order of time agree.
//!
//! The stored events of an aggregate *are* the order in which its commands took effect, so nothing has
//! to be searched for. It must not contradict time: a command that was answered before another was
//! sent has the lower version. And whoever was shown a version (by a refusal, by an effect that was
//! there already, by a read of the ledger) was shown one that held between the question and the
//! answer.

use super::evidence::{Evidence, Index};
use crate::history::{Place, Reply};
use std::collections::HashMap;
use uuid::Uuid;

/// One event of an aggregate in time.
struct Step {
    version: u64,
    command: usize,
    /// Not before this.
    invoked_us: u64,
    /// Not after this, where somebody was told.
    known_us: Option<u64>,
}

/// The events of one aggregate, and what had to be seen when.
struct Timeline {
    /// By version.
    steps: Vec<Step>,
    /// The last version.
    tail: u64,
    /// Time at which a version was known, and the highest known by then; by time.
    known: Vec<(u64, u64)>,
}

impl Timeline {
    fn new(steps: Vec<Step>, tail: u64) -> Self {
        let mut known: Vec<(u64, u64)> =
            steps.iter().filter_map(|step| Some((step.known_us?, step.version))).collect();
        known.sort_unstable();
        let mut highest = 0;
        for (_, version) in &mut known {
            highest = highest.max(*version);
            *version = highest;
        }
        Self { steps, tail, known }
    }

    /// The lowest version that a question at this time may show.
    fn floor(&self, asked_us: u64) -> u64 {
        let at = self.known.partition_point(|(known_us, _)| *known_us < asked_us);
        if at == 0 { 0 } else { self.known[at - 1].1 }
    }

    /// Whether a version can have been there at this time. Nobody knows when an event came about whose
    /// command nobody sent.
    fn may_show(&self, version: u64, answered_us: u64) -> bool {
        match self.steps.binary_search_by_key(&version, |step| step.version) {
            Ok(at) => self.steps[at].invoked_us <= answered_us,
            Err(_) => version <= self.tail,
        }
    }
}

/// All contradictions between versions and time.
pub(super) fn appends_are_linearizable(evidence: &Evidence<'_>, index: &Index<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    let mut timelines: HashMap<Uuid, Timeline> = HashMap::new();
    for (aggregate_id, events) in &evidence.dump.events {
        let steps = events.iter().filter_map(|(version, event)| {
            let command = *index.by_command_id.get(&event.metadata.command_id)?;
            Some(Step {
                version: *version,
                command,
                invoked_us: index.invoked_us(command),
                known_us: index.known_us(command),
            })
        });
        let timeline = Timeline::new(steps.collect(), evidence.dump.version(*aggregate_id));
        against_time(*aggregate_id, &timeline, &mut violations);
        timelines.insert(*aggregate_id, timeline);
    }
    expected_versions_held(evidence, index, &mut violations);
    for (aggregate_id, asked_us, answered_us, shown, by) in looks(evidence) {
        let empty = Timeline::new(Vec::new(), 0);
        let timeline = timelines.get(&aggregate_id).unwrap_or(&empty);
        let floor = timeline.floor(asked_us);
        if shown < floor {
            violations.push(format!(
                "{aggregate_id} was shown at {shown} by {by}, asked at {asked_us} µs, when {floor} \
                 had been acknowledged"
            ));
        }
        if !timeline.may_show(shown, answered_us) {
            violations.push(format!(
                "{aggregate_id} was shown at {shown} by {by} before anybody had sent that command"
            ));
        }
    }
    violations
}

/// A command that was answered before another was sent has the lower version.
fn against_time(aggregate_id: Uuid, timeline: &Timeline, violations: &mut Vec<String>) {
    let mut earliest: Option<(u64, u64)> = None;
    for step in timeline.steps.iter().rev() {
        if let Some((known_us, version)) = earliest
            && known_us < step.invoked_us
        {
            violations.push(format!(
                "{aggregate_id}/{version} was acknowledged at {known_us} µs, version {} (command \
                 {}) was sent only at {} µs",
                step.version, step.command, step.invoked_us
            ));
        }
        if let Some(known_us) = step.known_us
            && earliest.is_none_or(|(earliest, _)| known_us < earliest)
        {
            earliest = Some((known_us, step.version));
        }
    }
}

/// What was accepted with `If-Match` follows on that version; what was refused for it did not.
fn expected_versions_held(
    evidence: &Evidence<'_>,
    index: &Index<'_>,
    violations: &mut Vec<String>,
) {
    for (at, command) in evidence.history.commands.iter().enumerate() {
        let Some(expected) = command.expected else { continue };
        if let Some((aggregate_id, version, _)) = index.effects[at].first()
            && *version != expected + 1
        {
            violations
                .push(format!("{aggregate_id}/{version} is of a command that expected {expected}"));
        }
        for sending in &index.sendings[at] {
            if let Reply::Fail { code, version: Some(version), .. } = &sending.reply
                && code == "stale_version"
                && *version == expected
            {
                violations.push(format!(
                    "{} was refused as stale at the expected version {expected}",
                    command.aggregate_id
                ));
            }
        }
    }
}

type Look<'a> = (Uuid, u64, u64, u64, &'a str);

/// Everything that showed somebody a version without making one: aggregate, asked, answered, version,
/// by what.
fn looks<'a>(evidence: &Evidence<'a>) -> impl Iterator<Item = Look<'a>> {
    let history = evidence.history;
    let sendings = history.sendings.iter().filter_map(|sending| {
        let aggregate_id = history.commands[sending.command].aggregate_id;
        let (version, by) = match &sending.reply {
            Reply::Ok { version, events } if events.is_empty() => (*version, "an effect found"),
            Reply::Fail { code, .. } if code == "contended" => return None,
            Reply::Fail { version: Some(version), code, .. } => (*version, code.as_str()),
            Reply::Fail { code, .. } if is_absent(code) => (0, code.as_str()),
            Reply::Ok { .. } | Reply::Fail { .. } | Reply::Info { .. } => return None,
        };
        Some((aggregate_id, sending.invoked_us, sending.completed_us, version, by))
    });
    let reads = history.reads.iter().filter(|read| read.place == Place::Ledger).map(|read| {
        (read.aggregate_id, read.invoked_us, read.completed_us, read.version, "its history")
    });
    sendings.chain(reads)
}

fn is_absent(code: &str) -> bool {
    matches!(code, "order_not_found" | "customer_not_found")
}
