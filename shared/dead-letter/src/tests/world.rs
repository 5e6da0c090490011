//! The world outside, in memory: letters, one consumer's cursors and effects, and the ledger, with
//! answers that are late or lost. Time is virtual.
//!
//! What must hold at every moment is asserted here: effects of an aggregate first occur in order, none
//! left out, and a cursor never passes an event without its effect.

use crate::error::LetterError;
use crate::letter::{Key, Letter, Stored, Summary, Unreadable};
use crate::letter_box::LetterBox;
use crate::retrier::Retrier;
use crate::slots::{Hold, Slots};
use crate::store::{LetterStore, Listing, Strength};
use crate::target::Target;
use crate::{RetrierError, RetryConfig};
use async_trait::async_trait;
use cdc::{
    Breakers, ChangeConsumer, ErrorClass, EventName, HandleError, LetterKey, Letters, MayBegin,
    Refusal, ReplayError,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use runtime::{BackoffConfig, BreakerConfig};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) const CONSUMER: &str = "c";
pub(super) const SLOT: u32 = 3;

/// How an event fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Fails(ErrorClass),
    /// Whoever handles it never comes back.
    Hangs,
}

#[derive(Default)]
struct State {
    letters: HashMap<Key, Stored>,
    attempts: Vec<(Key, u64)>,
    /// Newest version.
    tails: HashMap<Uuid, u64>,
    cursors: HashMap<Uuid, u64>,
    /// In order; an event may be in it more than once.
    effects: Vec<(Uuid, u64)>,
    faults: HashMap<(Uuid, u64), Fault>,
    /// How often an event was tried.
    tries: HashMap<(Uuid, u64), u32>,
    /// Share of the changes of letters whose answer is lost, in percent; half of them take effect.
    lost_percent: u32,
    is_down: bool,
    latency_max_ms: u64,
}

/// Cheap to clone; all clones are one world.
#[derive(Clone)]
pub(super) struct World {
    state: Arc<Mutex<State>>,
    random: Arc<Mutex<StdRng>>,
}

pub(super) fn aggregate(number: u128) -> Uuid {
    Uuid::from_u128(0xA66 << 100 | number)
}

pub(super) fn key(aggregate_id: Uuid) -> Key {
    Key { consumer: CONSUMER.to_owned(), slot: SLOT, aggregate_id }
}

pub(super) fn config() -> RetryConfig {
    RetryConfig {
        scan_interval_ms: 200,
        attempts_max: 4,
        batch_events: 3,
        backoff: BackoffConfig { initial_ms: 1_000, max_ms: 8_000 },
        ..RetryConfig::default()
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::seeded(1)
    }

    pub(super) fn seeded(seed: u64) -> Self {
        let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        Self { state: Arc::default(), random }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the world does not panic while it is locked")
    }

    pub(super) fn draw(&self, below: u64) -> u64 {
        self.random.lock().expect("not poisoned").random_range(0..below)
    }

    pub(super) fn unkind(&self, latency_max_ms: u64, lost_percent: u32) {
        let mut state = self.state();
        (state.latency_max_ms, state.lost_percent) = (latency_max_ms, lost_percent);
    }

    pub(super) fn down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// Commits the next event.
    pub(super) fn commit(&self, aggregate_id: Uuid) -> u64 {
        let mut state = self.state();
        let tail = state.tails.entry(aggregate_id).or_default();
        *tail += 1;
        *tail
    }

    pub(super) fn fault(&self, aggregate_id: Uuid, version: u64, fault: Option<Fault>) {
        let mut state = self.state();
        match fault {
            Some(fault) => state.faults.insert((aggregate_id, version), fault),
            None => state.faults.remove(&(aggregate_id, version)),
        };
    }

    pub(super) fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        (state.is_down, state.lost_percent) = (false, 0);
    }

    pub(super) fn letter(&self, aggregate_id: Uuid) -> Option<Letter> {
        match self.state().letters.get(&key(aggregate_id)) {
            Some(Stored::Letter(letter)) => Some(letter.clone()),
            _ => None,
        }
    }

    pub(super) fn put(&self, stored: Stored) {
        self.state().letters.insert(stored.key().clone(), stored);
    }

    pub(super) fn letters(&self) -> usize {
        self.state().letters.len()
    }

    pub(super) fn cursor_now(&self, aggregate_id: Uuid) -> u64 {
        self.state().cursors.get(&aggregate_id).copied().unwrap_or_default()
    }

    pub(super) fn tail(&self, aggregate_id: Uuid) -> u64 {
        self.state().tails.get(&aggregate_id).copied().unwrap_or_default()
    }

    pub(super) fn tries(&self, aggregate_id: Uuid, version: u64) -> u32 {
        self.state().tries.get(&(aggregate_id, version)).copied().unwrap_or_default()
    }

    /// Versions in the order in which they were handled.
    pub(super) fn effects(&self, aggregate_id: Uuid) -> Vec<u64> {
        let state = self.state();
        let of = state.effects.iter().filter(|(of, _)| *of == aggregate_id);
        of.map(|(_, version)| *version).collect()
    }

    pub(super) fn letter_box(&self) -> LetterBox {
        LetterBox::over(Arc::new(self.clone()), 100)
    }

    /// What the sequencer does with an event that it sees, for one that does not know of any letter:
    /// it reads the letter first, handles what is next, and writes down what fails.
    pub(super) async fn worker_sees(&self, aggregate_id: Uuid, version: u64) {
        let letters = self.letter_box();
        let key = LetterKey { consumer: CONSUMER, slot: SLOT, aggregate_id };
        loop {
            match letters.read(key).await {
                Ok(Some(letter)) if letter.blocks() => return,
                Ok(_) => {}
                Err(_) => continue,
            }
            let Ok(cursor) = self.cursor(aggregate_id).await else { continue };
            if cursor >= version {
                return;
            }
            match self.handle(aggregate_id, cursor + 1).await {
                Ok(()) => {}
                Err(error) if error.class == ErrorClass::Poison => {
                    let event = name(aggregate_id, cursor + 1);
                    let (class, error) = (error.class, error.to_string());
                    let refusal = Refusal { event, class, error };
                    while letters.block(key, &refusal).await.is_err() {
                        self.latency().await;
                    }
                }
                Err(_) => self.latency().await,
            }
        }
    }

    /// Effect, then cursor.
    async fn handle(&self, aggregate_id: Uuid, version: u64) -> Result<(), HandleError> {
        *self.state().tries.entry((aggregate_id, version)).or_default() += 1;
        self.latency().await;
        let fault = self.state().faults.get(&(aggregate_id, version)).copied();
        match fault {
            Some(Fault::Hangs) => return std::future::pending().await,
            Some(Fault::Fails(class)) => {
                let what = "as the test asked".to_owned();
                return Err(HandleError { class, what, source: None });
            }
            None => {}
        }
        {
            let mut state = self.state();
            let first = state.effects.iter().filter(|(of, _)| *of == aggregate_id);
            let newest = first.map(|(_, version)| *version).max().unwrap_or_default();
            assert!(version <= newest + 1, "{version} of {aggregate_id} follows {newest}");
            state.effects.push((aggregate_id, version));
        }
        self.latency().await;
        let mut state = self.state();
        // USING TIMESTAMP version.
        let cursor = state.cursors.entry(aggregate_id).or_default();
        *cursor = version.max(*cursor);
        Ok(())
    }

    async fn latency(&self) {
        let most = self.state().latency_max_ms;
        if most > 0 {
            tokio::time::sleep(Duration::from_millis(self.draw(most + 1))).await;
        }
    }

    /// One change of a letter: late, perhaps lost before or after it took effect.
    async fn change(&self, apply: impl FnOnce(&mut State) -> bool) -> Result<bool, LetterError> {
        self.latency().await;
        let (percent, is_down) = {
            let state = self.state();
            (state.lost_percent, state.is_down)
        };
        let is_lost = is_down || self.draw(100) < u64::from(percent);
        if is_lost && (is_down || self.draw(2) == 0) {
            return Err(lost());
        }
        let applied = apply(&mut self.state());
        self.latency().await;
        if is_lost { Err(lost()) } else { Ok(applied) }
    }

    async fn ask<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T, LetterError> {
        self.latency().await;
        let found = {
            let state = self.state();
            if state.is_down { Err(lost()) } else { Ok(read(&state)) }
        };
        self.latency().await;
        found
    }
}

fn lost() -> LetterError {
    LetterError::Storage { what: "ask the world".to_owned(), source: "no answer".into() }
}

pub(super) fn name(aggregate_id: Uuid, version: u64) -> EventName {
    let event_id = Some(Uuid::from_u128(aggregate_id.as_u128() ^ u128::from(version)));
    let event_type = Some("OrderCreated".to_owned());
    EventName { event_id, event_type, aggregate_id, version, origin: None }
}

#[async_trait]
impl LetterStore for World {
    async fn list(
        &self,
        consumer: &str,
        slots: &[u32],
        limit: usize,
    ) -> Result<Listing, LetterError> {
        self.ask(|state| {
            let mut listing = Listing::default();
            for (key, stored) in &state.letters {
                if key.consumer != consumer || !slots.contains(&key.slot) {
                    continue;
                }
                match stored {
                    Stored::Letter(letter) => listing.letters.push(summary(letter)),
                    Stored::Unreadable(row) => listing.unreadable.push(row.clone()),
                }
            }
            listing.letters.truncate(limit);
            listing
        })
        .await
    }

    async fn read(&self, key: &Key, _: Strength) -> Result<Option<Stored>, LetterError> {
        self.ask(|state| state.letters.get(key).cloned()).await
    }

    async fn insert(&self, letter: &Letter) -> Result<bool, LetterError> {
        self.change(|state| {
            if state.letters.contains_key(&letter.key) {
                return false;
            }
            state.letters.insert(letter.key.clone(), Stored::Letter(letter.clone()));
            true
        })
        .await
    }

    async fn replace(&self, from: &Stored, to: &Letter) -> Result<bool, LetterError> {
        self.change(|state| {
            if state.letters.get(from.key()).map(Stored::compared) != Some(from.compared()) {
                return false;
            }
            state.letters.insert(to.key.clone(), Stored::Letter(to.clone()));
            true
        })
        .await
    }

    async fn remove(&self, from: &Stored) -> Result<bool, LetterError> {
        self.change(|state| {
            if state.letters.get(from.key()).map(Stored::compared) != Some(from.compared()) {
                return false;
            }
            state.letters.remove(from.key());
            true
        })
        .await
    }

    async fn attempts(&self, key: &Key, version: u64) -> Result<u32, LetterError> {
        self.ask(|state| {
            let wanted = (key.clone(), version);
            u32::try_from(state.attempts.iter().filter(|found| **found == wanted).count())
                .expect("few")
        })
        .await
    }

    async fn record_attempt(&self, key: &Key, version: u64, _: Uuid) -> Result<(), LetterError> {
        self.state().attempts.push((key.clone(), version));
        Ok(())
    }
}

fn summary(letter: &Letter) -> Summary {
    Summary {
        key: letter.key.clone(),
        class: letter.class,
        state: letter.state,
        attempts: letter.attempts,
        crashes: letter.crashes,
        first_failed_ms: letter.first_failed_ms,
        version: letter.version,
        stamp: letter.stamp,
    }
}

#[async_trait]
impl Target for World {
    fn name(&self) -> &str {
        CONSUMER
    }

    fn needs(&self) -> cdc::Target {
        cdc::Target::new("broker")
    }

    async fn cursor(&self, aggregate_id: Uuid) -> Result<u64, HandleError> {
        let read = |state: &State| state.cursors.get(&aggregate_id).copied().unwrap_or_default();
        Ok(self.ask(read).await?)
    }

    async fn to_tail(&self, aggregate_id: Uuid, may_begin: &MayBegin) -> Result<u64, ReplayError> {
        let surroundings = |source: HandleError| ReplayError::Surroundings {
            consumer: CONSUMER.to_owned(),
            aggregate_id,
            source,
        };
        let mut cursor = self.cursor(aggregate_id).await.map_err(surroundings)?;
        loop {
            let tail = self.ask(|state| state.tails.get(&aggregate_id).copied()).await;
            let tail = tail.map_err(|error| surroundings(error.into()))?.unwrap_or_default();
            if tail <= cursor {
                return Ok(cursor);
            }
            for version in cursor + 1..=tail {
                if !may_begin() {
                    return Err(ReplayError::Stopped);
                }
                self.handle(aggregate_id, version).await.map_err(|source| ReplayError::Event {
                    event: Box::new(name(aggregate_id, version)),
                    source,
                })?;
                cursor = version;
            }
        }
    }
}

/// A letter that cannot be read.
pub(super) fn unreadable(aggregate_id: Uuid) -> Stored {
    let reason = "its state makes no sense".to_owned();
    let attempt = Some(Uuid::from_u128(7));
    Stored::Unreadable(Unreadable { key: key(aggregate_id), reason, revision: Some(7), attempt })
}

/// Slots that a test gives and takes.
pub(super) struct Given {
    held: Mutex<BTreeMap<u32, Hold>>,
    changes: watch::Sender<u64>,
}

impl Given {
    fn new() -> Arc<Self> {
        let held = Mutex::new(BTreeMap::from([(SLOT, Hold::Work)]));
        Arc::new(Self { held, changes: watch::Sender::new(0) })
    }

    fn hold(&self, slots: impl IntoIterator<Item = u32>) {
        {
            let mut held = self.held.lock().expect("not poisoned");
            held.values_mut().for_each(|hold| *hold = Hold::End);
            held.extend(slots.into_iter().map(|slot| (slot, Hold::Work)));
        }
        self.changes.send_modify(|count| *count += 1);
    }
}

#[async_trait]
impl Slots for Given {
    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn held(&self) -> BTreeMap<u32, Hold> {
        self.held.lock().expect("not poisoned").clone()
    }

    fn may_begin(&self, slot: u32) -> bool {
        self.held().get(&slot) == Some(&Hold::Work)
    }

    fn progressed(&self, _: u32) {}

    async fn end(&self, slot: u32) {
        self.held.lock().expect("not poisoned").remove(&slot);
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Those of a consumer that needs the broker.
fn breakers(config: BreakerConfig) -> Breakers {
    struct Unused;

    #[async_trait]
    impl ChangeConsumer for Unused {
        fn name(&self) -> &str {
            CONSUMER
        }

        fn wants(&self, _: &str) -> bool {
            false
        }

        fn target(&self) -> cdc::Target {
            cdc::Target::new("broker")
        }

        async fn handle(
            &self,
            _: &cdc::Change,
            _: Option<&str>,
        ) -> Result<Option<String>, HandleError> {
            unreachable!("nothing is handed to it")
        }
    }

    Breakers::new(&[Arc::new(Unused)], config, None)
}

/// A retrier at work. Dropping it kills it wherever it is.
pub(super) struct Life {
    given: Arc<Given>,
    stop: CancellationToken,
    task: JoinSet<Result<(), RetrierError>>,
}

impl Life {
    pub(super) fn start(world: &World) -> Self {
        Self::with(world, config())
    }

    pub(super) fn with(world: &World, config: RetryConfig) -> Self {
        let given = Given::new();
        let target: Arc<dyn Target> = Arc::new(world.clone());
        let breakers = breakers(config.breaker);
        let retrier = Retrier::over(Arc::new(world.clone()), vec![target], &breakers, config);
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn({
            let (slots, stop): (Arc<dyn Slots>, _) = (given.clone(), stop.clone());
            async move { retrier.run(&slots, &stop).await }
        });
        Self { given, stop, task }
    }

    /// Gives it these slots and takes all others.
    pub(super) fn hold(&self, slots: impl IntoIterator<Item = u32>) {
        self.given.hold(slots);
    }

    /// The slots that it has not given up.
    pub(super) fn slots(&self) -> Vec<u32> {
        self.given.held().into_keys().collect()
    }

    /// Asks it to end, and waits until it has.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        self.ended().await.expect("a clean end");
    }

    pub(super) async fn ended(&mut self) -> Result<(), RetrierError> {
        self.task.join_next().await.expect("one task").expect("no panic")
    }
}

/// Waits for a condition, in virtual time.
pub(super) async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(600), wait).await;
    assert!(waited.is_ok(), "waited in vain for {what}");
}
