//! One aggregate in one consumer: where it is, and what it needs next. No input or output.
//!
//! A *lane* exists while there is something to do for its aggregate:
//!
//! ```text
//!          ┌──────────────────────────── next version not announced here: heal ◄─┐
//! load ──► handle the next version ──► flush its cursor ──► handle …  ───────────┴──► end
//! ```
//!
//! A lane whose aggregate has a letter goes another way:
//!
//! ```text
//!          ┌── an event was announced meanwhile ◄─┐
//! block? ──┴► ask for the letter ── it blocks ────┴──► end: events from its version on wait there
//!                     └──────────── it does not ──► load the cursor anew, go on in order
//! ```
//!
//! The letter is read after the event was seen, each time: a release comes before its last look at
//! the tail, so that an event which was seen before the release is found by that look, and one that
//! was seen after it is handled here.

use super::{Arrivals, Done, Gate, Queue, Share, State, Step};
use crate::consumer::Change;
use crate::error::EventName;
use crate::letters::Letter;
use crate::source::Cursor;
use kernel::Version;
use leases::AttemptId;
use std::sync::Arc;
use tokio::sync::oneshot;
use uuid::Uuid;

/// One lane.
#[derive(Debug)]
pub(crate) struct Lane {
    state: State,
    queue: Queue,
    /// Up to which version the confirm pass has seen it settled.
    confirmed: Version,
    /// They wait until a version is settled.
    waiters: Vec<(Version, oneshot::Sender<()>)>,
    /// Of the announcement without content that opened the lane.
    _share: Option<Share>,
}

impl Lane {
    /// A lane for what is about to be offered. `known`: its cursor, and up to which version that is
    /// confirmed.
    pub(crate) fn new(
        known: Option<(Cursor, Version)>,
        may_have_letter: bool,
        share: Option<Share>,
    ) -> Self {
        let (cursor, confirmed) = known.unzip();
        let state = if may_have_letter {
            State::ask(cursor, Version(u64::MAX))
        } else {
            State::at(cursor, Gate::Open)
        };
        let (queue, confirmed) = (Queue::default(), confirmed.unwrap_or(Version::NONE));
        Self { state, queue, confirmed, waiters: Vec::new(), _share: share }
    }

    /// A lane for everything up to the aggregate's tail, and for the letter that was released.
    pub(crate) fn to_tail(released: Option<AttemptId>) -> Self {
        let mut lane = Self::new(None, false, None);
        lane.state = State::Load(Gate::ToTail { is_reached: false, released });
        lane.queue.clear();
        lane
    }

    /// The last version that is handled and whose cursor is stored; `None` until it was read.
    pub(crate) fn version(&self) -> Option<Version> {
        match &self.state {
            State::Load(_) => None,
            State::At(cursor, _) | State::Refused(cursor, _) => Some(cursor.version),
            State::Handled(cursor, _) => Some(Version(cursor.version.0 - 1)),
            State::Ask { cursor, .. } => cursor.as_ref().map(|cursor| cursor.version),
        }
    }

    fn is_settled(&self, version: Version) -> bool {
        self.version().is_some_and(|handled| handled >= version)
    }

    /// Whether an announced event was handled, or waits already.
    pub(crate) fn knows(&self, version: Version, per_lane_max: usize) -> bool {
        self.is_settled(version) || self.queue.knows(version, per_lane_max)
    }

    /// Takes an announced event; without `change` the event store has its content.
    pub(crate) fn offer(
        &mut self,
        version: Version,
        change: Option<(Arc<Change>, Option<Share>)>,
        per_lane_max: usize,
    ) {
        if let Some(arrivals) = self.state.arrivals() {
            // What the letter said before does not speak for this event. Its content is not kept.
            *arrivals = Arrivals { lowest: arrivals.lowest.min(version), is_stale: true };
            self.queue.want(version);
            self.queue.is_shed = true;
        } else {
            self.queue.push(version, change, per_lane_max);
        }
    }

    /// Has `waiter` told when `version` is settled. The version must have been offered.
    pub(crate) fn wait(&mut self, version: Version, waiter: oneshot::Sender<()>) {
        self.waiters.push((version, waiter));
        self.tell_settled();
    }

    /// The confirm pass saw the version settled.
    pub(crate) fn confirm(&mut self, version: Version) {
        self.confirmed = self.confirmed.max(version);
    }

    /// The lane cannot go on for now: only the next event stays in memory.
    pub(crate) fn shed(&mut self) {
        self.queue.shed();
    }

    /// The event in hand, for a message: the one after the cursor.
    pub(crate) fn in_hand(&self, aggregate_id: Uuid) -> Box<EventName> {
        let version = self.version().map_or(Version::NONE, Version::next);
        Box::new(match self.queue.change(version) {
            Some(change) => EventName::of(&change.event),
            None => EventName::unread(aggregate_id, version),
        })
    }

    /// What it needs next.
    pub(crate) fn next(&mut self) -> Step {
        self.ask_again();
        let (cursor, gate) = match &mut self.state {
            State::Handled(cursor, _) => return Step::Flush(cursor.clone()),
            State::Refused(_, refusal) => return Step::Block(refusal.clone()),
            State::Ask { arrivals, asked_for, .. } => {
                (arrivals.is_stale, *asked_for) = (false, self.waiters.len());
                return Step::Ask;
            }
            State::Load(gate) => (None, *gate),
            State::At(cursor, gate) => (Some(&*cursor), *gate),
        };
        let end = match gate {
            Gate::Until { blocked_from, arrivals } if arrivals.lowest >= blocked_from => {
                return Step::End;
            }
            Gate::Until { blocked_from, .. } => Some(blocked_from),
            Gate::Open | Gate::ToTail { .. } => None,
        };
        let Some(cursor) = cursor else { return Step::Load };
        let left = self.queue.next(cursor, end);
        left.unwrap_or(match gate {
            Gate::ToTail { is_reached: false, .. } => {
                Step::Tail { after: cursor.version, singly: self.queue.singly }
            }
            Gate::ToTail { released: Some(change), .. } => Step::Finish(change),
            Gate::ToTail { .. } | Gate::Open | Gate::Until { .. } => Step::End,
        })
    }

    /// More was announced than the letter, as it was read, speaks for: it is read again.
    fn ask_again(&mut self) {
        let (cursor, gate) = match &mut self.state {
            State::Load(gate) => (None, *gate),
            State::At(cursor, gate) => (Some(cursor), *gate),
            State::Handled(..) | State::Refused(..) | State::Ask { .. } => return,
        };
        if let Gate::Until { arrivals, .. } = gate
            && arrivals.is_stale
        {
            self.state = State::ask(cursor.map(std::mem::take), arrivals.lowest);
        }
    }

    /// What came of the step that it needed.
    ///
    /// # Panics
    ///
    /// When that is the answer to another step.
    pub(crate) fn report(&mut self, step: &Step, done: Done) {
        let state = std::mem::replace(&mut self.state, State::Load(Gate::Open));
        self.state = match (step, done, state) {
            (Step::Load, Done::Loaded(cursor), State::Load(gate)) => {
                // What is stored was confirmed or is about to be.
                self.confirmed = cursor.version;
                State::At(cursor, gate)
            }
            (Step::Handle { change, .. }, Done::Handled(view), State::At(before, gate)) => {
                debug_assert_eq!(before.version.next(), change.event.version);
                State::Handled(Cursor { version: change.event.version, view }, gate)
            }
            (Step::Handle { change, .. }, Done::Passed, State::At(before, gate)) => {
                debug_assert_eq!(before.version.next(), change.event.version);
                State::At(Cursor { version: change.event.version, ..before }, gate)
            }
            (Step::Flush(_), Done::Flushed, State::Handled(cursor, gate)) => {
                State::At(cursor, gate)
            }
            (Step::Heal { wanted, .. }, Done::Read(events), at @ State::At(..)) => {
                let is_all = events.last().is_some_and(|event| event.version >= *wanted);
                self.queue.fill(events, is_all);
                at
            }
            (Step::Tail { .. }, Done::Read(events), State::At(cursor, mut gate)) => {
                if let Gate::ToTail { is_reached, .. } = &mut gate {
                    *is_reached |= events.is_empty();
                }
                self.queue.fill(events, true);
                State::At(cursor, gate)
            }
            (Step::Heal { .. } | Step::Tail { .. }, Done::Unreadable, at @ State::At(..)) => {
                self.queue.singly = true;
                at
            }
            (
                Step::Handle { .. } | Step::Heal { .. } | Step::Tail { .. },
                Done::Refused(refusal),
                State::At(cursor, _),
            ) => State::Refused(cursor, Arc::new(refusal)),
            (Step::Block(_), Done::Blocked, State::Refused(cursor, _)) => {
                // What was announced meanwhile makes it necessary to ask.
                self.queue.clear();
                let lowest = cursor.version.next();
                State::ask(Some(cursor), lowest)
            }
            (Step::Ask, Done::Asked(letter), State::Ask { cursor, arrivals, asked_for }) => {
                match letter.filter(Letter::blocks) {
                    // The retries have moved the cursor.
                    None => State::Load(Gate::Open),
                    Some(letter) if arrivals.is_stale => {
                        // For those who waited before, the answer holds.
                        self.tell_blocked(asked_for, letter.version);
                        State::ask(cursor, arrivals.lowest)
                    }
                    Some(letter) => {
                        State::at(cursor, Gate::Until { blocked_from: letter.version, arrivals })
                    }
                }
            }
            (Step::Finish(_), Done::Finished, State::At(cursor, _)) => {
                State::At(cursor, Gate::Open)
            }
            (step, done, state) => unreachable!("{done:?} of {step:?}, in a lane at {state:?}"),
        };
        self.tell_settled();
    }

    /// What is behind the cursor is done.
    fn tell_settled(&mut self) {
        let Some(handled) = self.version() else { return };
        self.queue.forget(handled);
        for (_, waiter) in self.waiters.extract_if(.., |(version, _)| *version <= handled) {
            // A waiter that stopped waiting does not want to know.
            let _ = waiter.send(());
        }
    }

    /// Tells the first waiters, who were there before the letter was read, that it has their version.
    fn tell_blocked(&mut self, asked_for: usize, from: Version) {
        let asked_for = asked_for.min(self.waiters.len());
        for (_, waiter) in self.waiters.extract_if(..asked_for, |(version, _)| *version >= from) {
            // A waiter that stopped waiting does not want to know.
            let _ = waiter.send(());
        }
    }

    /// Nothing is left to do here. Gives the cursor, and up to which version it is confirmed; `None`
    /// when a letter has what is left: then the retries move it.
    pub(crate) fn end(self) -> Option<(Cursor, Version)> {
        match self.state {
            State::At(cursor, Gate::Open | Gate::ToTail { .. }) => Some((cursor, self.confirmed)),
            _ => {
                for (_, waiter) in self.waiters {
                    // A waiter that stopped waiting does not want to know.
                    let _ = waiter.send(());
                }
                None
            }
        }
    }
}
