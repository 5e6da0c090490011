//! The world outside, in memory: ledger, log, clocks, cursors and checkpoints, with the faults that
//! a cluster has. Time is virtual.
//!
//! The world outlives the group that is under test, so a group can be dropped at any point and
//! another one continue. It checks what must hold at every moment: a cursor never skips an effect,
//! an effect never follows its own stored cursor, a checkpoint never passes an event that was not
//! handled.

mod letters;
mod life;
mod recorder;
mod sources;
mod state;

pub(crate) use life::{Life, around, surroundings};
pub(crate) use recorder::Recorder;

use crate::consumer::{ErrorClass, HandleError};
use crate::error::StoreError;
use crate::log_time::{LogTime, micros};
use crate::reading::checkpoints::checkpoint_of;
use crate::reading::generation::{StreamRange, token_of};
use crate::source::Checkpoint;
use kernel::{RecordedEvent, Timestamp};
use leases::{MemberId, Slot};
use scylla_cdc::cdc_types::StreamID;
use state::{State, event};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) const SLOTS: u32 = 4;
pub(crate) const SAFETY: Duration = Duration::from_secs(10);
/// 2023-11-14, when the world begins.
const BEGIN: i64 = 1_700_000_000_000_000;

/// How the log treats an announcement.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Treatment {
    /// How long after its timestamp the row becomes visible.
    pub(crate) delay: Duration,
    /// How far the announcing coordinator's clock is behind.
    pub(crate) stamped_earlier: Duration,
    pub(crate) is_lost: bool,
    pub(crate) is_doubled: bool,
}

/// What is out of order at the moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) log_is_down: bool,
    pub(crate) clocks_are_down: bool,
    pub(crate) letters_are_down: bool,
    /// Reads of the ledger that lack what they should bring.
    pub(crate) ledger_holes: u32,
    /// Cursor writes that fail; half of them take effect all the same.
    pub(crate) cursor_failures: u32,
    /// Longest time that any request takes, drawn anew for each.
    pub(crate) latency_max_ms: u64,
}

/// What was asked of the world.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) log_queries: u64,
    pub(crate) cursor_reads: u64,
    pub(crate) cursor_writes: u64,
    pub(crate) ledger_reads: u64,
    pub(crate) scan_pages: u64,
    pub(crate) letter_reads: u64,
}

/// Cheap to clone; all clones are one world.
#[derive(Clone)]
pub(crate) struct World {
    state: Arc<Mutex<State>>,
    /// Which process sees it.
    process: usize,
}

pub(crate) fn aggregate(number: u128) -> Uuid {
    Uuid::from_u128(0xA66_0000_0000_4000_8000_0000_0000_0000 | (number << 64) | number)
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Streams of `count` equal ranges; ids of different generations differ.
pub(crate) fn ranges(generation: u8, count: u8) -> Vec<StreamRange> {
    let step = u64::MAX / u64::from(count);
    (1..=count)
        .map(|number| {
            let end = i64::MIN.wrapping_add_unsigned(step * u64::from(number));
            let end = if number == count { i64::MAX } else { end };
            let mut id = vec![generation; 16];
            id[15] = number;
            StreamRange { end, streams: vec![StreamID::new(id)] }
        })
        .collect()
}

impl World {
    pub(crate) fn new() -> Self {
        let start = LogTime::from_micros(BEGIN).minus(seconds(86_400));
        let state = State {
            life_began: Instant::now(),
            base: BEGIN,
            clocks: vec![0],
            generations: vec![(start, ranges(1, 3), LogTime::ZERO)],
            ledger: HashMap::new(),
            log: Vec::new(),
            cursors: HashMap::new(),
            slots: BTreeMap::new(),
            members: BTreeMap::new(),
            cut_off: BTreeMap::new(),
            catch_ups: HashMap::new(),
            letters: HashMap::new(),
            had_letter: HashSet::new(),
            attempts: HashMap::new(),
            unreadable: HashSet::new(),
            poisoned: HashSet::new(),
            effects: Vec::new(),
            consumers: Vec::new(),
            faults: Faults::default(),
            highest: 0,
            random: 0x9E37_79B9_7F4A_7C15,
            uuids: 0,
            counts: Counts::default(),
        };
        Self { state: Arc::new(Mutex::new(state)), process: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the world does not panic while it is locked")
    }

    /// A new life begins: time goes on from where `pass` and the life before left it.
    pub(crate) fn begin_life(&self) {
        self.state().life_began = Instant::now();
    }

    /// A life ends: what its clock showed is the world's time from now on.
    pub(crate) fn end_life(&self) {
        let mut state = self.state();
        state.base = state.now().micros();
        state.life_began = Instant::now();
    }

    /// Time that nobody lived through.
    pub(crate) fn pass(&self, time: Duration) {
        self.state().base += micros(time);
    }

    pub(crate) fn now(&self) -> LogTime {
        self.state().now()
    }

    pub(crate) fn seed(&self, seed: u64) {
        self.state().random = seed | 1;
    }

    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state().faults);
    }

    /// Moves all nodes' clocks.
    pub(crate) fn step_clocks(&self, by: i64) {
        let mut state = self.state();
        state.highest = state.highest.max(state.stamp());
        state.clocks.iter_mut().for_each(|offset| *offset += by);
    }

    pub(crate) fn set_clocks(&self, offsets: Vec<i64>) {
        self.state().clocks = offsets;
    }

    /// A generation that starts in `after` (or that long ago, when negative, in milliseconds) and
    /// whose description can be seen `seen_after` from now.
    pub(crate) fn open_generation(&self, number: u8, after_ms: i64, seen_after: Duration) {
        let mut state = self.state();
        let start = LogTime::from_millis(state.stamp() / 1000 + after_ms);
        let seen_at = state.now().plus(seen_after);
        state.generations.push((start, ranges(number, 2 + number), seen_at));
    }

    /// Commits the next events of an aggregate, without announcing them.
    pub(crate) fn commit(&self, aggregate_id: Uuid, count: u64) -> Vec<RecordedEvent> {
        let mut state = self.state();
        let recorded_at = Timestamp(state.now().millis());
        let events = state.ledger.entry(aggregate_id).or_default();
        let next = events.len() as u64 + 1;
        let new: Vec<_> =
            (next..next + count).map(|version| event(aggregate_id, version, recorded_at)).collect();
        events.extend(new.iter().cloned());
        new
    }

    /// Writes the log rows of one announcement.
    pub(crate) fn announce(&self, events: &[RecordedEvent], treatment: Treatment) {
        let times = if treatment.is_doubled { 2 } else { 1 };
        for again in 0..times {
            if !treatment.is_lost {
                self.state().log(events, treatment, micros(millis(7)) * again);
            }
        }
    }

    /// Announces with a timestamp of the caller's choice; visible at once.
    pub(crate) fn announce_stamped(&self, events: &[RecordedEvent], stamp: LogTime) {
        let mut state = self.state();
        let later = stamp.micros() - state.stamp();
        state.log(events, Treatment::default(), later);
    }

    /// Commits an event and announces it with a timestamp of the caller's choice.
    pub(crate) fn append_stamped(&self, aggregate_id: Uuid, stamp: LogTime) {
        let events = self.commit(aggregate_id, 1);
        self.announce_stamped(&events, stamp);
    }

    /// Commits and announces in one go; the usual case.
    pub(crate) fn append(&self, aggregate_id: Uuid, count: u64) {
        let events = self.commit(aggregate_id, count);
        self.announce(&events, Treatment::default());
    }

    /// The log's TTL: what was stamped before is gone.
    pub(crate) fn expire_log(&self, older_than: Duration) {
        let mut state = self.state();
        let until = state.now().minus(older_than);
        state.log.retain(|row| row.stamp >= until);
    }

    pub(crate) fn count(&self) -> Counts {
        self.state().counts
    }

    pub(crate) fn checkpoint(&self, slot: Slot) -> Option<Checkpoint> {
        self.state().slots.get(&slot).and_then(checkpoint_of)
    }

    /// The same world as another process sees it.
    pub(crate) fn of_process(&self, process: usize) -> Self {
        Self { process, ..self.clone() }
    }

    /// For a while nothing that a process asks for takes effect, and no answer arrives.
    pub(crate) fn cut_off(&self, process: usize, time: Duration) {
        self.state().cut_off.insert(process, Instant::now() + time);
    }

    /// Who owns a slot, by its row.
    pub(crate) fn owner(&self, slot: Slot) -> Option<MemberId> {
        self.state().slots.get(&slot).and_then(|state| state.owner)
    }

    /// How often slots were taken from a process that had not released them, and not settled since.
    pub(crate) fn crashes(&self) -> i32 {
        self.state().slots.values().map(|state| state.crashes).sum()
    }

    pub(crate) fn slot_of(&self, aggregate_id: Uuid) -> Slot {
        leases::slot_of(token_of(aggregate_id), SLOTS)
    }

    pub(crate) fn cursor(&self, consumer: &str, aggregate_id: Uuid) -> u64 {
        let key = (aggregate_id, consumer.to_owned());
        self.state().cursors.get(&key).map_or(0, |cursor| cursor.version.0)
    }

    /// Versions of an aggregate in the order in which a consumer handled them.
    pub(crate) fn handled(&self, consumer: &str, aggregate_id: Uuid) -> Vec<u64> {
        let state = self.state();
        let of =
            |(by, of, ..): &&(String, Uuid, u64, LogTime)| by == consumer && *of == aggregate_id;
        state.effects.iter().filter(of).map(|(_, _, version, _)| *version).collect()
    }

    /// When a version was first handled.
    pub(crate) fn handled_at(&self, consumer: &str, aggregate_id: Uuid, version: u64) -> LogTime {
        let state = self.state();
        let found = state
            .effects
            .iter()
            .find(|(by, of, found, _)| by == consumer && *of == aggregate_id && *found == version);
        found.unwrap_or_else(|| panic!("{consumer} never handled {version} of {aggregate_id}")).3
    }

    /// Waits until a consumer has handled and stored a version.
    pub(crate) async fn settled(&self, consumer: &str, aggregate_id: Uuid, version: u64) {
        let deadline = Instant::now() + seconds(120);
        while self.cursor(consumer, aggregate_id) < version {
            assert!(
                Instant::now() < deadline,
                "{consumer} handled {:?} of {aggregate_id}, never {version}",
                self.handled(consumer, aggregate_id)
            );
            tokio::time::sleep(millis(1)).await;
        }
    }

    /// Every committed event of every aggregate.
    pub(crate) fn tails(&self) -> Vec<(Uuid, u64)> {
        self.state().ledger.iter().map(|(id, events)| (*id, events.len() as u64)).collect()
    }

    /// An effect. Panics when it is not the one after the stored cursor, unless others went on from
    /// there: while its process was cut off, or because whoever retries a letter and a worker may be
    /// at one aggregate at the same time.
    fn record(&self, consumer: &str, aggregate_id: Uuid, version: u64) {
        let mut state = self.state();
        let key = (aggregate_id, consumer.to_owned());
        let stored = state.cursors.get(&key).map_or(0, |cursor| cursor.version.0);
        let is_shared =
            state.cut_off.contains_key(&self.process) || state.had_letter.contains(&key);
        let is_late = version <= stored && is_shared;
        assert!(is_late || stored + 1 == version, "{consumer} handles {version} after {stored}");
        let now = state.now();
        state.effects.push((consumer.to_owned(), aggregate_id, version, now));
    }

    /// Takes as long as a request takes.
    async fn latency(&self) {
        let pause = {
            let mut state = self.state();
            let most = state.faults.latency_max_ms;
            if most == 0 { None } else { Some(millis(state.draw() % (most + 1))) }
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        loop {
            let until = self.state().cut_off.get(&self.process).copied();
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }
}

pub(crate) fn poison(what: &str) -> HandleError {
    HandleError { class: ErrorClass::Poison, what: what.to_owned(), source: None }
}

pub(crate) fn transport(what: &str) -> HandleError {
    HandleError { class: ErrorClass::Transport, what: what.to_owned(), source: None }
}

/// What transport is to a table: it may answer later.
pub(crate) fn unreachable(what: &str) -> StoreError {
    StoreError::missing(what)
}
