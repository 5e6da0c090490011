//! Reading the outbox's log for one slot: rows that come late, two processes, a change of streams.
//!
//! | here | in the code |
//! | --- | --- |
//! | a [`LogRow`] | one row of the CDC log of `outbox_messages`: its stamp and when it can be seen |
//! | a [`Reader`]'s passes | `cdc/src/reading/`: `fast_pass.rs`, `confirm_pass.rs`, `reader.rs` |
//! | its [`Lane`] | `cdc/src/ordering/`: `lane.rs`, `worker.rs`, and `consumer_cursors` |
//! | the [`Slot`], a [`Save`] | `leases/src/slots.rs`: owner, revision and checkpoint, and changes of them |
//!
//! There is one slot with one aggregate and one consumer; the ledger has all events from the start,
//! and they are announced in any order, since that is all that the append promises. The clock is the
//! database's, in ticks, and the safety interval is one of them: a row stamped `t` that keeps to it
//! can be seen before the clock shows `t + 2`. Whose row does not, or never comes, waits for the
//! scanner. A lease runs out whenever the model likes: a paused owner is one that takes no step.
//!
//! A condition on the slot's revision holds for the last change and no other, so of a revision is kept
//! whether it still is the row's.

mod lane;
mod passes;
mod properties;
mod slot;
mod steps;
#[cfg(test)]
mod tests;

use crate::Defect;

/// Events of the aggregate.
pub const EVENTS: usize = 2;

/// Processes that share the group.
pub const READERS: usize = 2;

/// Generations of streams: the old one and the new one.
const OLD: usize = 0;
const NEW: usize = 1;

/// From this stamp on rows are in the new generation's streams.
const CHANGE: u8 = 1;

/// Ticks.
const SAFETY_INTERVAL: u8 = 1;

/// The last time at which an event is announced for the first time.
const LAST_ANNOUNCEMENT: u8 = 1;

/// How long it takes until a row can be confirmed.
const TO_CONFIRM: u8 = SAFETY_INTERVAL + 1;

/// What is checked: which faults may happen, and what is wrong with the protocol.
#[derive(Debug, Clone)]
pub struct Reading {
    /// How often what may go wrong does.
    pub faults: Faults,
    /// Whether the scanner of the ledger runs.
    pub scans: bool,
    /// The last tick.
    pub end: u8,
    /// What is wrong with the protocol.
    pub defect: Option<Defect>,
}

/// How often each fault may still happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A process dies, and comes back without its memory.
    pub crashes: u8,
    /// The slot is taken from an owner that goes on.
    pub takeovers: u8,
    /// A log row can be seen only after the safety interval, or never.
    pub anomalies: u8,
    /// The answer to a change of the slot does not come; the change may still land, or not.
    pub lost_answers: u8,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The database's clock.
    now: u8,
    /// By version - 1.
    log: [LogRow; EVENTS],
    slot: Slot,
    saves: Vec<Save>,
    /// The stored cursor.
    cursor: u8,
    /// Which versions took effect.
    effects: [bool; EVENTS],
    /// A version took effect before the one before it.
    is_out_of_order: bool,
    readers: [Reader; READERS],
    left: Faults,
}

/// The log row of one event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct LogRow {
    /// `cdc$time`; `None` until the event is announced.
    stamp: Option<u8>,
    /// Whether a read finds it.
    is_visible: bool,
    keeps: Keeps,
}

/// How a row keeps to the safety interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Keeps {
    /// It can be seen at once.
    #[default]
    AtOnce,
    /// It can be seen within the safety interval, as late as that allows.
    InTime,
    /// It can be seen at some time.
    Late,
    /// It never comes.
    Never,
}

/// Up to where a slot is settled: every event announced before that time, as far as its generation is
/// accounted for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Checkpoint {
    time: u8,
    generation: usize,
}

/// The slot's row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Slot {
    owner: Option<usize>,
    checkpoint: Checkpoint,
    /// It was further once.
    has_moved_back: bool,
}

/// A change of the checkpoint that nobody waits for any more: `UPDATE slots SET … IF revision = ?`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Save {
    reader: usize,
    checkpoint: Checkpoint,
    /// The row has the revision that it was made from.
    is_current: bool,
}

/// One process, as far as it works on the slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Reader {
    /// It takes itself for the owner.
    owns: bool,
    /// The row has the revision that it knows.
    is_current: bool,
    /// What it takes for stored, or older.
    checkpoint: Checkpoint,
    /// By generation that it follows.
    streams: [Option<Streams>; 2],
    settling: Option<Settling>,
    lane: Lane,
}

/// How far the streams of one generation are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Streams {
    /// By the fast pass.
    read_until: u8,
    /// By the confirm pass: everything before is settled.
    position: u8,
}

/// What a confirm pass found and waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Settling {
    /// By generation.
    reached: [Option<u8>; 2],
    /// The newest version found; 0 for none.
    found: u8,
}

/// What is known of the aggregate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Lane {
    /// The last version handled and stored; `None` until loaded.
    cursor: Option<u8>,
    /// The newest version that was announced or read.
    wanted: u8,
    /// Which versions wait with their content.
    pending: [bool; EVENTS],
    /// The version after the cursor took effect, and the cursor is not stored.
    is_unflushed: bool,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The clock goes on.
    Tick,
    /// A version is announced.
    Announce(u8, Keeps),
    /// A version's late row can be seen from now on.
    Appear(u8),
    /// The scanner finds a version that was not handled, and has it announced again.
    Scan(u8),
    /// A process takes the slot and starts from its checkpoint.
    Take(usize),
    /// The owner learns of the new generation.
    Follow(usize),
    /// The fast pass reads all streams up to now.
    Read(usize),
    /// The confirm pass reads what is as old as the safety interval.
    Confirm(usize),
    /// What the confirm pass found is handled; the checkpoint is stored.
    Settle(usize),
    /// The same, but the answer to the change of the slot does not come.
    SettleUnanswered(usize),
    /// The next event takes effect; it is read from the ledger if the log did not bring it.
    Handle(usize),
    /// The cursor is stored.
    Flush(usize),
    /// A change of the slot that nobody waits for reaches its row.
    Land(usize),
    /// A process dies and comes back.
    Crash(usize),
    /// The slot is taken from an owner that goes on.
    TakeOver(usize),
}

impl Reading {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn first_state(&self) -> State {
        State {
            now: 0,
            log: [LogRow::default(); EVENTS],
            slot: Slot::default(),
            saves: Vec::new(),
            cursor: 0,
            effects: [false; EVENTS],
            is_out_of_order: false,
            readers: std::array::from_fn(|_| Reader::default()),
            left: self.faults,
        }
    }
}

impl LogRow {
    fn generation(stamp: u8) -> usize {
        if stamp < CHANGE { OLD } else { NEW }
    }

    fn keeps_to_the_interval(&self) -> bool {
        matches!(self.keeps, Keeps::AtOnce | Keeps::InTime)
    }

    /// Whether a read of the window finds it.
    fn is_in(&self, generation: usize, from: u8, to: u8) -> bool {
        let is_there = |stamp| from <= stamp && stamp < to && Self::generation(stamp) == generation;
        self.is_visible && self.stamp.is_some_and(is_there)
    }
}

/// The versions of the aggregate.
fn versions() -> impl Iterator<Item = u8> {
    (1..).take(EVENTS)
}

fn index(version: u8) -> usize {
    usize::from(version) - 1
}
