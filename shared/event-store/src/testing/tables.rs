//! The tables of the ledger in memory, and what the conditional statements do to them.

use crate::ids::{AttemptId, Counter, Fence, WriterId};
use crate::ledger::{
    Certificate, Commit, CommitAnswer, FenceAnswer, Heartbeat, Intent, StoredWriter, WriterAnswer,
    WriterState,
};
use kernel::{RecordedEvent, Version};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// What is stored, and what is still on its way.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) partitions: HashMap<Uuid, Partition>,
    pub(crate) writers: BTreeMap<WriterId, StoredWriter>,
    pub(crate) intents: Vec<Intent>,
    pub(crate) outbox: Vec<(Vec<RecordedEvent>, String)>,
    /// Commits and fence moves that land just before so many more touches of their partition.
    pub(crate) late: Vec<(usize, Late)>,
}

/// One aggregate's events.
#[derive(Default)]
pub(crate) struct Partition {
    pub(crate) fence: Option<Fence>,
    pub(crate) rows: BTreeMap<Version, RecordedEvent>,
}

/// A lightweight transaction that is still on its way.
pub(crate) enum Late {
    Commit(Commit),
    Fence(Uuid, Option<Fence>, Fence),
}

impl Tables {
    /// A lightweight transaction or a SERIAL read touches a partition: what is late comes nearer.
    pub(crate) fn touch(&mut self, id: Uuid) {
        let mut due = Vec::new();
        for (touches, what) in std::mem::take(&mut self.late) {
            let of = match &what {
                Late::Commit(commit) => commit.aggregate_id,
                Late::Fence(of, ..) => *of,
            };
            match touches {
                _ if of != id => self.late.push((touches, what)),
                0 | 1 => due.push(what),
                _ => self.late.push((touches - 1, what)),
            }
        }
        due.into_iter().for_each(|what| self.land(what));
    }

    /// Runs what was late: its condition is evaluated now, and nobody hears of the result.
    pub(crate) fn land(&mut self, late: Late) {
        match late {
            Late::Commit(commit) => drop(self.commit(&commit)),
            Late::Fence(id, from, to) => drop(self.move_fence(id, from, to)),
        }
    }

    pub(crate) fn commit(&mut self, commit: &Commit) -> CommitAnswer {
        let partition = self.partitions.entry(commit.aggregate_id).or_default();
        let first = commit.events.first().expect("a commit has events").version;
        let old = partition.rows.get(&first);
        let answer = CommitAnswer {
            applied: old.is_none() && partition.fence == commit.fence,
            fence: partition.fence,
            event_id: old.map(|old| old.event_id),
            command_id: old.map(|old| old.metadata.command_id),
        };
        if answer.applied {
            for event in commit.events.iter() {
                partition.rows.insert(event.version, event.clone());
            }
        }
        answer
    }

    pub(crate) fn move_fence(&mut self, id: Uuid, from: Option<Fence>, to: Fence) -> FenceAnswer {
        let partition = self.partitions.entry(id).or_default();
        let answer = FenceAnswer { applied: partition.fence == from, fence: partition.fence };
        if answer.applied {
            partition.fence = Some(to);
        }
        answer
    }

    pub(crate) fn beat(&mut self, beat: &Heartbeat) -> WriterAnswer {
        let old = self.writers.get(&beat.writer).copied();
        let applied = match (&old, beat.previous) {
            (None, None) => true,
            (Some(old), Some(previous)) => {
                old.state == WriterState::Alive
                    && old.counter == beat.counter
                    && old.attempt == previous
            }
            _ => false,
        };
        if applied {
            let row = StoredWriter {
                writer: beat.writer,
                state: WriterState::Alive,
                counter: beat.counter.next(),
                attempt: beat.attempt,
                oldest_bucket: beat.oldest_bucket,
                newest_bucket: beat.newest_bucket,
                intent_spread: beat.intent_spread,
            };
            self.writers.insert(beat.writer, row);
        }
        answer(applied, old)
    }

    pub(crate) fn certify(&mut self, certificate: &Certificate) -> WriterAnswer {
        let old = self.writers.get(&certificate.writer).copied();
        let Some(row) = self.writers.get_mut(&certificate.writer) else {
            return answer(false, None);
        };
        let applied = row.state == WriterState::Alive
            && row.counter == certificate.counter
            && row.attempt == certificate.previous;
        if applied {
            row.state = WriterState::Dead;
            row.counter = row.counter.next();
            row.attempt = certificate.attempt;
        }
        answer(applied, old)
    }

    /// Removes a writer's row that is as described; `true` when there is none afterwards.
    pub(crate) fn remove_writer(
        &mut self,
        writer: WriterId,
        state: WriterState,
        counter: Counter,
        attempt: AttemptId,
    ) -> bool {
        let described = (state, counter, attempt);
        let row = self.writers.get(&writer);
        if row.is_some_and(|row| (row.state, row.counter, row.attempt) == described) {
            self.writers.remove(&writer);
        }
        !self.writers.contains_key(&writer)
    }
}

fn answer(applied: bool, old: Option<StoredWriter>) -> WriterAnswer {
    WriterAnswer {
        applied,
        counter: old.map(|old| old.counter),
        attempt: old.map(|old| old.attempt),
        state: old.map(|old| old.state),
    }
}
