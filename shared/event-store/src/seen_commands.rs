//! The commands that an aggregate has already accepted, folded from its events, so that a command
//! sent twice gets its first answer again.
//!
//! Bounded in time by the events' own time and in number; both are functions of the events alone,
//! so every process remembers the same.

use crate::command::StoredEventRef;
use kernel::{RecordedEvent, Timestamp, Version};
use std::collections::{HashMap, VecDeque};
use uuid::Uuid;

/// How far behind the aggregate's newest event a command is remembered.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;

/// How many commands of one aggregate are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// An accepted command and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenCommand {
    pub(crate) fingerprint: String,
    pub(crate) events: Vec<StoredEventRef>,
    recorded_at: Timestamp,
}

impl SeenCommand {
    /// The version that the answer named.
    pub(crate) fn version(&self) -> Version {
        self.events.last().map_or(Version::NONE, |event| event.version)
    }

    fn first_version(&self) -> Version {
        self.events.first().map_or(Version::NONE, |event| event.version)
    }
}

/// Commands by id, and in the order of their commits.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenCommands {
    by_id: HashMap<Uuid, SeenCommand>,
    order: VecDeque<(Uuid, Version)>,
}

impl SeenCommands {
    pub(crate) fn get(&self, command_id: &Uuid) -> Option<&SeenCommand> {
        self.by_id.get(command_id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Takes note of one event; events come in ascending order.
    pub(crate) fn record(&mut self, event: &RecordedEvent) {
        let answer = StoredEventRef {
            event_id: event.event_id,
            event_type: event.event_type.clone(),
            version: event.version,
        };
        let id = event.metadata.command_id;
        match self.by_id.get_mut(&id) {
            Some(seen) if event.metadata.commit.index > 0 => seen.events.push(answer),
            _ => {
                let seen = SeenCommand {
                    fingerprint: event.metadata.fingerprint.clone(),
                    events: vec![answer],
                    recorded_at: event.recorded_at,
                };
                self.by_id.insert(id, seen);
                self.order.push_back((id, event.version));
            }
        }
        self.forget(event.recorded_at);
    }

    fn forget(&mut self, newest: Timestamp) {
        while let Some((id, version)) = self.order.front() {
            let seen = self.by_id.get(id).filter(|seen| seen.first_version() == *version);
            let old = seen.is_none_or(|seen| newest.0 - seen.recorded_at.0 > REMEMBERED_MS);
            if !old && self.order.len() <= REMEMBERED_MAX {
                return;
            }
            // An id that was used again after it was forgotten has a newer entry; that one stays.
            if seen.is_some() {
                self.by_id.remove(id);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;

    fn seen(events: impl IntoIterator<Item = (u64, u128, i64)>) -> SeenCommands {
        let mut seen = SeenCommands::default();
        for (version, command, at) in events {
            let mut event = event(Uuid::nil(), version);
            event.metadata.command_id = Uuid::from_u128(command);
            event.recorded_at = Timestamp(at);
            seen.record(&event);
        }
        seen
    }

    fn remembers(seen: &SeenCommands, command: u128) -> bool {
        seen.get(&Uuid::from_u128(command)).is_some()
    }

    #[test]
    fn a_day_of_the_events_own_time_is_remembered() {
        let seen = seen([(1, 1, 0), (2, 2, 1), (3, 3, REMEMBERED_MS + 1)]);
        assert!(!remembers(&seen, 1), "older than a day");
        assert!(remembers(&seen, 2) && remembers(&seen, 3));
    }

    #[test]
    fn the_number_is_bounded() {
        let more = REMEMBERED_MAX as u64 + 5;
        let seen = seen((1..=more).map(|version| (version, u128::from(version), 0)));
        assert_eq!(seen.len(), REMEMBERED_MAX);
        assert!(!remembers(&seen, 5) && remembers(&seen, 6));
    }

    #[test]
    fn an_id_used_again_after_a_day_is_a_new_command() {
        let again = REMEMBERED_MS + 10;
        let seen = seen([(1, 1, 0), (2, 2, again), (3, 1, again), (4, 4, again)]);
        let command = seen.get(&Uuid::from_u128(1)).expect("the second use is remembered");
        assert_eq!(command.version(), Version(3));
    }
}
