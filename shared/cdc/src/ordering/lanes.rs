//! All lanes of a process, by slot, and what is remembered of aggregates without one. No input or
//! output: [`crate::ordering::worker`] does what [`Lanes::next`] says and reports back.
//!
//! When a lane has nothing left to do, its cursor moves to the [`CursorCache`]. Lanes exist in open
//! slots only: one that is closed takes nothing more, its lanes end after what they have in hand, and
//! what was known of it is forgotten.

use super::{CursorCache, Done, Lane, LaneKey, Share, Step, blocked::Blocked};
use crate::consumer::Change;
use crate::error::EventName;
use crate::letters::Letter;
use kernel::Version;
use leases::Slot;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// What came of offering an event to its lane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It was handled before, or waits already.
    Known,
    /// A lane that is at work takes it.
    Joined,
    /// A new lane: somebody has to work it.
    Opened,
    /// Its slot is not open.
    Refused,
}

/// A slot that is open, or has lanes that still end.
#[derive(Debug)]
struct OpenSlot {
    /// Cancelled when it closes.
    stop: CancellationToken,
    lanes: HashSet<LaneKey>,
    /// Told when its last lane has ended.
    drained: Vec<oneshot::Sender<()>>,
}

/// All lanes and the cursors of aggregates without one.
#[derive(Debug)]
pub(crate) struct Lanes {
    slots: HashMap<Slot, OpenSlot>,
    open: HashMap<LaneKey, Lane>,
    cursors: CursorCache,
    blocked: Blocked,
    per_lane_max: usize,
}

impl Lanes {
    pub(crate) fn new(cursors_max: usize, blocked_max: usize, per_lane_max: usize) -> Self {
        Self {
            slots: HashMap::new(),
            open: HashMap::new(),
            cursors: CursorCache::new(cursors_max),
            blocked: Blocked::new(blocked_max),
            per_lane_max,
        }
    }

    /// Opens a slot that has these letters; `stop` is to be cancelled when it closes. Gives the lanes
    /// of released letters: somebody has to work them.
    pub(crate) fn open_slot(
        &mut self,
        slot: Slot,
        stop: CancellationToken,
        letters: Vec<(LaneKey, Letter)>,
    ) -> Vec<LaneKey> {
        let mut open = OpenSlot { stop, lanes: HashSet::new(), drained: Vec::new() };
        for (key, letter) in letters {
            if letter.blocks() {
                self.blocked.insert(key);
            } else {
                self.open.insert(key, Lane::to_tail(Some(letter.change)));
                open.lanes.insert(key);
            }
        }
        let opened = open.lanes.iter().copied().collect();
        let before = self.slots.insert(slot, open);
        debug_assert!(before.is_none(), "slot {slot} was not drained");
        opened
    }

    /// Closes a slot: its lanes take nothing more and end. `None` when nothing of it is in hand.
    pub(crate) fn close_slot(&mut self, slot: Slot) -> Option<oneshot::Receiver<()>> {
        self.cursors.forget(slot);
        self.blocked.forget(slot);
        let open = self.slots.get_mut(&slot)?;
        open.stop.cancel();
        if open.lanes.is_empty() {
            self.slots.remove(&slot);
            return None;
        }
        let (drained, receiver) = oneshot::channel();
        open.drained.push(drained);
        Some(receiver)
    }

    /// What tells that the slot of an open lane is closed.
    pub(crate) fn stop_of(&self, slot: Slot) -> CancellationToken {
        self.slots.get(&slot).expect("a slot is there for as long as its lanes").stop.clone()
    }

    pub(crate) fn is_open(&self, slot: Slot) -> bool {
        self.slots.get(&slot).is_some_and(|open| !open.stop.is_cancelled())
    }

    /// Whether an announced event needs no offering: it was handled, or waits already.
    pub(crate) fn knows(&mut self, key: LaneKey, version: Version) -> bool {
        match self.open.get(&key) {
            Some(lane) => lane.knows(version, self.per_lane_max),
            None => self.cursors.version(key).is_some_and(|handled| handled >= version),
        }
    }

    /// Hands an announced event to its lane; without `change` the event store has its content.
    pub(crate) fn offer(
        &mut self,
        key: LaneKey,
        version: Version,
        change: Option<Arc<Change>>,
        share: Option<Share>,
    ) -> Offered {
        if !self.is_open(key.slot) {
            return Offered::Refused;
        }
        if self.knows(key, version) {
            return Offered::Known;
        }
        let (lane, offered) = match self.open.entry(key) {
            Entry::Occupied(entry) => (entry.into_mut(), Offered::Joined),
            Entry::Vacant(entry) => {
                if let Some(slot) = self.slots.get_mut(&key.slot) {
                    slot.lanes.insert(key);
                }
                let its_own = if change.is_none() { share.clone() } else { None };
                let known = self.cursors.take(key);
                let lane = Lane::new(known, self.blocked.contains(key), its_own);
                (entry.insert(lane), Offered::Opened)
            }
        };
        lane.offer(version, change.map(|change| (change, share)), self.per_lane_max);
        offered
    }

    /// Has `waiter` told when `version` is settled. The version must have been offered.
    pub(crate) fn wait(&mut self, key: LaneKey, version: Version, waiter: oneshot::Sender<()>) {
        match self.open.get_mut(&key) {
            Some(lane) => lane.wait(version, waiter),
            None => {
                // A waiter that stopped waiting does not want to know.
                let _ = waiter.send(());
            }
        }
    }

    /// What the lane needs next. Closes it when that is nothing.
    pub(crate) fn next(&mut self, key: LaneKey) -> Step {
        let step = self.open.get_mut(&key).map_or(Step::End, Lane::next);
        if matches!(step, Step::End) {
            if let Some((cursor, confirmed)) = self.open.remove(&key).and_then(Lane::end)
                && self.is_open(key.slot)
            {
                self.cursors.put(key, cursor, confirmed);
            }
            self.lane_ended(key);
        }
        step
    }

    /// What came of the step that the lane needed.
    pub(crate) fn report(&mut self, key: LaneKey, step: &Step, done: Done) {
        match &done {
            Done::Blocked => self.blocked.insert(key),
            Done::Asked(letter) if !letter.as_ref().is_some_and(Letter::blocks) => {
                self.blocked.remove(key);
            }
            _ => {}
        }
        let lane = self.open.get_mut(&key).expect("a lane is there for as long as it is worked");
        lane.report(step, done);
    }

    /// A lane ends before everything is done; its waiters learn that it will not be. For the task that
    /// works it: after [`Step::End`] the key may belong to another's lane already.
    pub(crate) fn abandon(&mut self, key: LaneKey) {
        self.open.remove(&key);
        self.lane_ended(key);
    }

    fn lane_ended(&mut self, key: LaneKey) {
        let Some(slot) = self.slots.get_mut(&key.slot) else { return };
        slot.lanes.remove(&key);
        if slot.lanes.is_empty() && slot.stop.is_cancelled() {
            for drained in std::mem::take(&mut slot.drained) {
                // A waiter that stopped waiting does not want to know.
                let _ = drained.send(());
            }
            self.slots.remove(&key.slot);
        }
    }

    /// The lane cannot go on for now: only the next event stays in memory.
    pub(crate) fn shed(&mut self, key: LaneKey) {
        if let Some(lane) = self.open.get_mut(&key) {
            lane.shed();
        }
    }

    /// The confirm pass saw the version settled.
    pub(crate) fn confirm(&mut self, key: LaneKey, version: Version) {
        match self.open.get_mut(&key) {
            Some(lane) => lane.confirm(version),
            None => self.cursors.confirm(key, version),
        }
    }

    /// The event that the lane has in hand, for a message.
    pub(crate) fn in_hand(&self, key: LaneKey) -> Box<EventName> {
        let unknown = || Box::new(EventName::unread(key.aggregate_id, Version::NONE));
        self.open.get(&key).map_or_else(unknown, |lane| lane.in_hand(key.aggregate_id))
    }
}
