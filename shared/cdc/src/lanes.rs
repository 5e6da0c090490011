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
//!
//! A lane whose aggregate has a letter goes another way:
//!
//! ```text
//!          ┌── an event was announced meanwhile ◄─┐
//! block? ──┴► ask for the letter ── it blocks ────┴──► done: events from its version on wait there
//!                     └──────────── it does not ──► load the cursor anew, go on in order
//! ```
//!
//! The letter is read after the event was seen, each time: a release comes before its last look at
//! the tail, so that an event which was seen before the release is found by that look, and one that
//! was seen after it is handled here.

use crate::blocked::Blocked;
use crate::consumer::Change;
use crate::cursors::{CursorCache, LaneKey};
use crate::letters::{Letter, Refusal};
use crate::source::Cursor;
use kernel::RecordedEvent;
use runtime::test_hooks::defect;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

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
    /// The events after a version, up to `wanted`, which the log did not bring; one at a time where
    /// one of them cannot be read.
    Heal { after: u64, wanted: u64, is_gap: bool, singly: bool },
    /// A letter for the event that was refused.
    Block(Arc<Refusal>),
    /// The letter, as it is from now on.
    Ask,
    /// The events after a version, up to the aggregate's tail: its letter was released.
    Tail { after: u64, singly: bool },
    /// The released letter to be removed.
    Finish(Uuid),
    /// Nothing; the lane is gone.
    Done,
}

impl Step {
    /// For logs and metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Handle { .. } => "handle",
            Self::Flush(_) => "flush",
            Self::Heal { .. } => "heal",
            Self::Block(_) => "block",
            Self::Ask => "ask",
            Self::Tail { .. } => "tail",
            Self::Finish(_) => "finish",
            Self::Done => "done",
        }
    }
}

/// Whether the lane's events may be handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Open,
    /// There may be a letter: it has to be read.
    Ask,
    /// It is being read.
    Asking,
    /// It blocks from this version on, and nothing was announced since it was read.
    Blocked { from: u64 },
}

/// What is left to do for a letter that was found released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Release {
    change: Uuid,
    /// Nothing was behind the cursor at the last look.
    is_at_tail: bool,
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
    /// One of the next events cannot be read, so they are read one at a time.
    singly: bool,
    /// The next event was refused; that is to be written down.
    refused: Option<Arc<Refusal>>,
    gate: Gate,
    /// How many of the waiters were there before the letter was read last.
    asked_for: usize,
    /// The least version that was announced while the gate was not open.
    lowest: u64,
    release: Option<Release>,
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

    /// Tells those who waited before the letter was read that it has their version.
    fn tell_blocked(&mut self, from: u64) {
        let later = self.waiters.split_off(self.asked_for.min(self.waiters.len()));
        for (version, waiter) in std::mem::take(&mut self.waiters) {
            if version >= from {
                let _ = waiter.send(());
            } else {
                self.waiters.push((version, waiter));
            }
        }
        self.waiters.extend(later);
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

    /// Opens a slot; `stop` is to be cancelled when it closes.
    pub(crate) fn open_slot(&mut self, slot: u32, stop: CancellationToken) {
        let open = OpenSlot { stop, lanes: HashSet::new(), drained: Vec::new() };
        let before = self.slots.insert(slot, open);
        debug_assert!(before.is_none(), "slot {slot} was not drained");
    }

    /// Closes a slot: its lanes take nothing more and end. `None` when nothing of it is in hand.
    pub(crate) fn close_slot(&mut self, slot: u32) -> Option<oneshot::Receiver<()>> {
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
                let gate = if self.blocked.contains(key) { Gate::Ask } else { Gate::Open };
                let lowest = u64::MAX;
                let lane = Lane { cursor, confirmed, _share, gate, lowest, ..Lane::default() };
                (entry.insert(lane), Offered::Opened)
            }
        };
        if offered == Offered::Opened
            && let Some(slot) = self.slots.get_mut(&key.slot)
        {
            slot.lanes.insert(key);
        }
        lane.wanted = lane.wanted.max(version);
        if lane.gate != Gate::Open {
            // What the letter said before does not speak for this event. Its content is not kept.
            lane.gate = Gate::Ask;
            lane.lowest = lane.lowest.min(version);
            lane.shed = true;
            return offered;
        }
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
        if let Some(refusal) = &lane.refused {
            return Step::Block(refusal.clone());
        }
        let end = match lane.gate {
            Gate::Ask | Gate::Asking => {
                (lane.gate, lane.asked_for) = (Gate::Asking, lane.waiters.len());
                return Step::Ask;
            }
            Gate::Blocked { from } if lane.lowest >= from => return self.close_blocked(key),
            Gate::Blocked { from } => from,
            Gate::Open => u64::MAX,
        };
        let Some(cursor) = &lane.cursor else { return Step::Load };
        let wanted = lane.wanted.min(end - 1);
        if let Some(pending) = lane.pending.get(&(cursor.version + 1))
            && cursor.version + 1 < end
        {
            return Step::Handle { change: pending.change.clone(), view: cursor.view.clone() };
        }
        if wanted > cursor.version {
            let (after, is_gap, singly) = (cursor.version, !lane.shed, lane.singly);
            return Step::Heal { after, wanted, is_gap, singly };
        }
        if end != u64::MAX {
            return self.close_blocked(key);
        }
        match lane.release {
            Some(Release { is_at_tail: false, .. }) => {
                return Step::Tail { after: cursor.version, singly: lane.singly };
            }
            Some(Release { change, .. }) => return Step::Finish(change),
            None => {}
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

    /// The letter has what is left. The cursor is not kept: whoever retries the letter moves it.
    fn close_blocked(&mut self, key: LaneKey) -> Step {
        if let Some(lane) = self.open.remove(&key) {
            for (_, waiter) in lane.waiters {
                // Whoever stopped waiting does not want to know.
                let _ = waiter.send(());
            }
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

    /// One of the next events cannot be read. True when it is the very next one.
    pub(crate) fn unreadable(&mut self, key: LaneKey) -> bool {
        self.open.get_mut(&key).is_some_and(|lane| std::mem::replace(&mut lane.singly, true))
    }

    /// The next event cannot be handled.
    pub(crate) fn refused(&mut self, key: LaneKey, refusal: Refusal) {
        if let Some(lane) = self.open.get_mut(&key) {
            lane.refused = Some(Arc::new(refusal));
        }
    }

    /// The refused event is in a letter. What was announced meanwhile makes it necessary to ask.
    pub(crate) fn suspended(&mut self, key: LaneKey) {
        self.blocked.insert(key);
        if let Some(lane) = self.open.get_mut(&key) {
            lane.refused = None;
            lane.release = None;
            lane.gate = Gate::Ask;
            lane.lowest = lane.version().map_or(0, |handled| handled + 1);
            lane.pending.clear();
            lane.shed = true;
        }
    }

    /// What the letter said: it blocks, or it is released or gone.
    pub(crate) fn answered(&mut self, key: LaneKey, letter: Option<Letter>) {
        let letter = letter.filter(Letter::blocks);
        if letter.is_none() {
            self.blocked.remove(key);
        }
        let Some(lane) = self.open.get_mut(&key) else { return };
        let Some(Letter { version: from, .. }) = letter else {
            // Whoever retried it has moved the cursor.
            lane.cursor = None;
            lane.gate = Gate::Open;
            return;
        };
        match lane.gate {
            Gate::Asking => lane.gate = Gate::Blocked { from },
            // More was announced since. For those who waited before, the answer holds.
            _ => lane.tell_blocked(from),
        }
    }

    /// A slot's letter was found at its takeover. True when somebody has to work the lane.
    pub(crate) fn found(&mut self, key: LaneKey, letter: &Letter) -> bool {
        if letter.blocks() && defect("block-forgotten-on-restart") {
            // As if blocks were in memory alone: the aggregate goes on behind the event that failed.
            let cursor = Cursor { version: letter.version, view: None };
            self.cursors.put(key, cursor, letter.version);
            return false;
        }
        if letter.blocks() {
            self.blocked.insert(key);
            return false;
        }
        let release = Some(Release { change: letter.change, is_at_tail: false });
        match self.open.get_mut(&key) {
            Some(lane) => {
                lane.release = release;
                false
            }
            None => {
                let lane = Lane { release, shed: true, lowest: u64::MAX, ..Lane::default() };
                self.open.insert(key, lane);
                if let Some(slot) = self.slots.get_mut(&key.slot) {
                    slot.lanes.insert(key);
                }
                true
            }
        }
    }

    /// The events behind the cursor of a released letter's aggregate: none, or the next ones.
    pub(crate) fn looked_at_tail(&mut self, key: LaneKey, events: Vec<RecordedEvent>) {
        if let Some(lane) = self.open.get_mut(&key)
            && let Some(release) = &mut lane.release
            && events.is_empty()
        {
            release.is_at_tail = true;
        }
        self.healed(key, events, true);
    }

    /// The released letter is gone.
    pub(crate) fn finished(&mut self, key: LaneKey) {
        if let Some(lane) = self.open.get_mut(&key) {
            lane.release = None;
        }
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
