//! What is known of each aggregate in each consumer, and what is to be done next. No input or
//! output: [`crate::sequencer`] does what [`Lanes::next`] says and reports back.
//!
//! A *lane* exists while there is something to do for one aggregate in one consumer:
//!
//! ```text
//!          ┌──────────────────────────── next version not announced here: heal ◄─┐
//! load ──► handle the next version ──► flush its cursor ──► handle …  ───────────┴──► done
//! ```
//!
//! When nothing is left, its cursor moves to the [`CursorCache`]. Lanes exist in open slots only: one
//! that is closed takes nothing more, its lanes end after what they have in hand, and what was known
//! of it is forgotten.

use crate::consumer::Change;
use crate::cursors::{CursorCache, LaneKey};
use crate::source::Cursor;
use domain::RecordedEvent;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;

/// A share of the bound on events in flight: held, not used.
pub(crate) type Share = Arc<OwnedSemaphorePermit>;

/// An event that waits for its turn. One that was healed has no share: these are bounded per lane.
#[derive(Debug)]
struct Pending {
    change: Arc<Change>,
    _share: Option<Share>,
}

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

/// What a lane needs next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Its cursor.
    Load,
    /// The next event to be handled.
    Handle { change: Arc<Change>, view: Option<Arc<str>> },
    /// The cursor of the event that was just handled to be stored.
    Flush(Cursor),
    /// The events after a version, up to `wanted`, which the log did not bring.
    Heal { after: u64, wanted: u64, is_gap: bool },
    /// Nothing; the lane is gone.
    Done,
}

#[derive(Debug, Default)]
struct Lane {
    /// Last version handled and flushed; `None` until loaded.
    cursor: Option<Cursor>,
    confirmed: u64,
    pending: BTreeMap<u64, Pending>,
    /// The newest version that is known to exist.
    wanted: u64,
    /// Handled, its cursor not yet stored.
    unflushed: Option<Cursor>,
    /// Events were dropped from memory; that they are missing is no gap of the log.
    shed: bool,
    /// Of the announcement without content that opened the lane.
    _share: Option<Share>,
    /// Whoever waits until a version is settled.
    waiters: Vec<(u64, oneshot::Sender<()>)>,
}

impl Lane {
    fn version(&self) -> Option<u64> {
        self.cursor.as_ref().map(|cursor| cursor.version)
    }

    fn is_settled(&self, version: u64) -> bool {
        self.version().is_some_and(|handled| handled >= version)
    }

    /// After the cursor moved: what is behind it is done.
    fn release(&mut self) {
        let Some(handled) = self.version() else { return };
        self.pending = self.pending.split_off(&(handled + 1));
        for (version, waiter) in std::mem::take(&mut self.waiters) {
            if version <= handled {
                // Whoever stopped waiting does not want to know.
                let _ = waiter.send(());
            } else {
                self.waiters.push((version, waiter));
            }
        }
    }
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
    slots: HashMap<u32, OpenSlot>,
    open: HashMap<LaneKey, Lane>,
    cursors: CursorCache,
    per_lane_max: usize,
}

impl Lanes {
    pub(crate) fn new(cursors_max: usize, per_lane_max: usize) -> Self {
        let cursors = CursorCache::new(cursors_max);
        Self { slots: HashMap::new(), open: HashMap::new(), cursors, per_lane_max }
    }

    /// Opens a slot; `stop` is to be cancelled when it closes.
    pub(crate) fn open_slot(&mut self, slot: u32, stop: CancellationToken) {
        let open = OpenSlot { stop, lanes: HashSet::new(), drained: Vec::new() };
        let before = self.slots.insert(slot, open);
        debug_assert!(before.is_none(), "slot {slot} was not drained");
    }

    /// Closes a slot: its lanes take nothing more and end. `None` when nothing of it is in hand.
    pub(crate) fn close_slot(&mut self, slot: u32) -> Option<oneshot::Receiver<()>> {
        self.cursors.forget(slot);
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

    /// What tells that a slot is closed; cancelled already when it is.
    pub(crate) fn stop_of(&self, slot: u32) -> CancellationToken {
        self.slots.get(&slot).map_or_else(
            || {
                let closed = CancellationToken::new();
                closed.cancel();
                closed
            },
            |open| open.stop.clone(),
        )
    }

    pub(crate) fn is_open(&self, slot: u32) -> bool {
        self.slots.get(&slot).is_some_and(|open| !open.stop.is_cancelled())
    }

    /// A lane ends before everything is done; whoever waits for it learns that it will not be. For
    /// the task that works it: after [`Step::Done`] the key may belong to another's lane already.
    pub(crate) fn abandon(&mut self, key: LaneKey) {
        self.open.remove(&key);
        self.lane_ended(key);
    }

    fn lane_ended(&mut self, key: LaneKey) {
        let Some(slot) = self.slots.get_mut(&key.slot) else { return };
        slot.lanes.remove(&key);
        if slot.lanes.is_empty() && slot.stop.is_cancelled() {
            for drained in std::mem::take(&mut slot.drained) {
                // Whoever stopped waiting does not want to know.
                let _ = drained.send(());
            }
            self.slots.remove(&key.slot);
        }
    }

    /// Whether an announced event needs no offering: it was handled, or waits already.
    pub(crate) fn knows(&mut self, key: LaneKey, version: u64) -> bool {
        match self.open.get(&key) {
            Some(lane) => {
                let full = lane.shed || lane.pending.len() >= self.per_lane_max;
                lane.is_settled(version)
                    || lane.pending.contains_key(&version)
                    || (full && version <= lane.wanted)
            }
            None => self.cursors.version(key).is_some_and(|handled| handled >= version),
        }
    }

    /// Hands an announced event to its lane; without `change` the event store has its content.
    pub(crate) fn offer(
        &mut self,
        key: LaneKey,
        version: u64,
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
            std::collections::hash_map::Entry::Occupied(entry) => {
                (entry.into_mut(), Offered::Joined)
            }
            std::collections::hash_map::Entry::Vacant(entry) => {
                let (cursor, confirmed) = match self.cursors.take(key) {
                    Some((cursor, confirmed)) => (Some(cursor), confirmed),
                    None => (None, 0),
                };
                let _share = if change.is_none() { share.clone() } else { None };
                let lane = Lane { cursor, confirmed, _share, ..Lane::default() };
                (entry.insert(lane), Offered::Opened)
            }
        };
        if offered == Offered::Opened
            && let Some(slot) = self.slots.get_mut(&key.slot)
        {
            slot.lanes.insert(key);
        }
        lane.wanted = lane.wanted.max(version);
        match change {
            Some(change) if !lane.shed && lane.pending.len() < self.per_lane_max => {
                lane.pending.insert(version, Pending { change, _share: share });
            }
            // Read again from the event store when its turn comes.
            Some(_) => lane.shed = true,
            None => {}
        }
        offered
    }

    /// Has `waiter` told when `version` is settled. The version must have been offered.
    pub(crate) fn wait(&mut self, key: LaneKey, version: u64, waiter: oneshot::Sender<()>) {
        match self.open.get_mut(&key) {
            Some(lane) if !lane.is_settled(version) => lane.waiters.push((version, waiter)),
            _ => {
                let _ = waiter.send(());
            }
        }
    }

    /// What the lane needs next. Closes it when that is nothing.
    pub(crate) fn next(&mut self, key: LaneKey) -> Step {
        let Some(lane) = self.open.get_mut(&key) else { return Step::Done };
        if let Some(cursor) = &lane.unflushed {
            return Step::Flush(cursor.clone());
        }
        let Some(cursor) = &lane.cursor else { return Step::Load };
        if let Some(pending) = lane.pending.get(&(cursor.version + 1)) {
            return Step::Handle { change: pending.change.clone(), view: cursor.view.clone() };
        }
        if lane.wanted > cursor.version {
            let (after, wanted, is_gap) = (cursor.version, lane.wanted, !lane.shed);
            return Step::Heal { after, wanted, is_gap };
        }
        lane.release();
        if let Some(Lane { cursor: Some(cursor), confirmed, .. }) = self.open.remove(&key)
            && self.is_open(key.slot)
        {
            self.cursors.put(key, cursor, confirmed);
        }
        self.lane_ended(key);
        Step::Done
    }

    /// The lane's cursor was read. What is stored was confirmed or is about to be.
    pub(crate) fn loaded(&mut self, key: LaneKey, cursor: Cursor) {
        if let Some(lane) = self.open.get_mut(&key) {
            lane.confirmed = cursor.version;
            lane.cursor = Some(cursor);
            lane.release();
        }
    }

    /// Missing events were read: contiguous from the cursor on.
    pub(crate) fn healed(&mut self, key: LaneKey, events: Vec<RecordedEvent>, all: bool) {
        let Some(lane) = self.open.get_mut(&key) else { return };
        for event in events {
            let version = event.version.0;
            lane.wanted = lane.wanted.max(version);
            let change = Arc::new(Change { event, topic: None });
            lane.pending.entry(version).or_insert(Pending { change, _share: None });
        }
        lane.shed &= !all;
    }

    /// The next event was handled: its effect is there, its cursor is to be stored.
    pub(crate) fn handled(&mut self, key: LaneKey, cursor: Cursor) {
        if let Some(lane) = self.open.get_mut(&key) {
            debug_assert_eq!(lane.version().map(|handled| handled + 1), Some(cursor.version));
            lane.unflushed = Some(cursor);
        }
    }

    /// The next event does not concern the consumer: no effect, no stored cursor.
    pub(crate) fn passed(&mut self, key: LaneKey, version: u64) {
        if let Some(lane) = self.open.get_mut(&key)
            && let Some(cursor) = &mut lane.cursor
        {
            debug_assert_eq!(cursor.version + 1, version);
            cursor.version = version;
            lane.release();
        }
    }

    /// The cursor is stored.
    pub(crate) fn flushed(&mut self, key: LaneKey) {
        if let Some(lane) = self.open.get_mut(&key)
            && let Some(cursor) = lane.unflushed.take()
        {
            lane.cursor = Some(cursor);
            lane.release();
        }
    }

    /// A gap is not filled: goes on behind it. For a seeded defect alone.
    pub(crate) fn skip(&mut self, key: LaneKey, wanted: u64) {
        if let Some(lane) = self.open.get_mut(&key)
            && let Some(cursor) = &mut lane.cursor
        {
            let next = lane.pending.keys().next();
            cursor.version = next.map_or(wanted, |next| next - 1);
            lane.release();
        }
    }

    /// The lane cannot go on for now: only the next event stays in memory.
    pub(crate) fn shed(&mut self, key: LaneKey) {
        if let Some(lane) = self.open.get_mut(&key)
            && lane.pending.len() > 1
        {
            let mut keys = lane.pending.keys();
            if let (Some(_), Some(second)) = (keys.next(), keys.next()) {
                let second = *second;
                drop(lane.pending.split_off(&second));
                lane.shed = true;
            }
        }
    }

    /// The confirm pass saw the version settled.
    pub(crate) fn confirm(&mut self, key: LaneKey, version: u64) {
        match self.open.get_mut(&key) {
            Some(lane) => lane.confirmed = lane.confirmed.max(version),
            None => self.cursors.confirm(key, version),
        }
    }

    /// The event that the lane has in hand, for a message: the one after its cursor.
    pub(crate) fn in_hand(&self, key: LaneKey) -> (u64, Option<Arc<Change>>) {
        let lane = self.open.get(&key);
        let version = lane.and_then(Lane::version).map_or(0, |handled| handled + 1);
        let pending = lane.and_then(|lane| lane.pending.get(&version));
        (version, pending.map(|pending| pending.change.clone()))
    }
}
