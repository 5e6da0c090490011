//! What the verdicts rest on, and how it hangs together.

use super::Sample;
use crate::dump::{Dump, StoredEvent};
use crate::history::{History, Reply, Sending};
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

/// Everything that is known of a run.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What clients did and were told.
    pub history: &'a History,
    /// What the stores held at the end.
    pub dump: &'a Dump,
    /// Where the API shows something else than the stores; `None` when it was not asked.
    pub disagreements: Option<&'a [String]>,
    /// Looks at slots and cursors during the run.
    pub samples: &'a [Sample],
    /// How the run ended.
    pub heal: &'a Heal,
    /// How many appending processes there were at the end; `None` when nobody counted.
    pub writers: Option<usize>,
}

/// What came after the last fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Heal {
    /// How long it took until everything was where it belongs.
    pub took: Duration,
    /// How long it may take.
    pub limit: Duration,
    /// What was not there at the limit.
    pub missing: Option<String>,
}

/// History and dump, joined.
pub(super) struct Index<'a> {
    /// Index of the command with an id.
    pub(super) by_command_id: HashMap<Uuid, usize>,
    /// The sendings of each command, in the order of their completion.
    pub(super) sendings: Vec<Vec<&'a Sending>>,
    /// Where each command's events are stored: aggregate, version, event.
    pub(super) effects: Vec<Vec<(Uuid, u64, &'a StoredEvent)>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History, dump: &'a Dump) -> Self {
        let commands = history.commands.iter().enumerate();
        let by_command_id: HashMap<Uuid, usize> =
            commands.map(|(index, command)| (command.command_id(), index)).collect();
        let mut sendings = vec![Vec::new(); history.commands.len()];
        for sending in &history.sendings {
            sendings[sending.command].push(sending);
        }
        for sendings in &mut sendings {
            sendings.sort_by_key(|sending: &&Sending| sending.completed_us);
        }
        let mut effects = vec![Vec::new(); history.commands.len()];
        for (aggregate_id, events) in &dump.events {
            for (version, event) in events {
                if let Some(index) = by_command_id.get(&event.metadata.command_id) {
                    effects[*index].push((*aggregate_id, *version, event));
                }
            }
        }
        Self { by_command_id, sendings, effects }
    }

    /// When a command was first sent.
    pub(super) fn invoked_us(&self, command: usize) -> u64 {
        let sendings = self.sendings[command].iter();
        sendings.map(|sending| sending.invoked_us).min().unwrap_or_default()
    }

    /// When the first client knew that the command had its effect.
    pub(super) fn known_us(&self, command: usize) -> Option<u64> {
        let known = self.sendings[command].iter().filter(
            |sending| matches!(&sending.reply, Reply::Ok { events, .. } if !events.is_empty()),
        );
        known.map(|sending| sending.completed_us).min()
    }
}
