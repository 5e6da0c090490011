//! The tables in memory, and processes that share them. Time is virtual.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use runtime::{CancellationToken, Readiness};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    Held, LeaseConfig, LeaseStore, Leases, Member, MemberId, Phase, Revision, Slot, SlotError,
    SlotState,
};

pub(super) const SLOTS: u32 = 16;
pub(super) const TERM: Duration = Duration::from_secs(6);

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Default)]
struct State {
    slots: BTreeMap<Slot, SlotState>,
    members: BTreeMap<MemberId, Revision>,
    is_down: bool,
    /// Requests of these processes wait, before and after they take effect.
    cut_off: BTreeSet<usize>,
    requests: u64,
    /// The next change of this slot's row panics in whoever asks for it.
    panics_at: Option<Slot>,
}

/// The tables as one process sees them. Clones with another number share them.
#[derive(Clone)]
pub(super) struct World {
    state: Arc<Mutex<State>>,
    in_flight: TaskTracker,
    process: usize,
}

impl World {
    pub(super) fn new() -> Self {
        Self { state: Arc::default(), in_flight: TaskTracker::new(), process: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the world does not panic while it is locked")
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    pub(super) fn cut_off(&self, process: usize, is_cut_off: bool) {
        if is_cut_off {
            self.state().cut_off.insert(process);
        } else {
            self.state().cut_off.remove(&process);
        }
    }

    pub(super) fn panic_at(&self, slot: u32) {
        self.state().panics_at = Some(Slot(slot));
    }

    pub(super) fn has_panicked(&self) -> bool {
        self.state().panics_at.is_none()
    }

    pub(super) fn requests(&self) -> u64 {
        self.state().requests
    }

    pub(super) fn slot(&self, slot: u32) -> SlotState {
        self.state().slots.get(&Slot(slot)).cloned().expect("the slot has a row")
    }

    pub(super) fn members(&self) -> usize {
        self.state().members.len()
    }

    /// Takes as long as a request takes, and longer for who is cut off.
    async fn network(&self) -> Result<(), SlotError> {
        self.state().requests += 1;
        tokio::time::sleep(millis(2)).await;
        while self.state().cut_off.contains(&self.process) {
            tokio::time::sleep(millis(10)).await;
        }
        if self.state().is_down {
            return Err(SlotError::Storage { what: "ask".into(), source: "down".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl LeaseStore for World {
    async fn slots(&self) -> Result<Vec<SlotState>, SlotError> {
        self.network().await?;
        Ok(self.state().slots.values().cloned().collect())
    }

    async fn read(&self, slot: Slot) -> Result<SlotState, SlotError> {
        self.network().await?;
        let mut state = self.state();
        let row = state.slots.entry(slot).or_insert_with(|| SlotState::new("g", slot));
        Ok(row.clone())
    }

    async fn change(&self, from: &SlotState, to: SlotState) -> Result<SlotState, SlotError> {
        self.network().await?;
        let panics = self.state().panics_at.take_if(|slot| *slot == from.slot).is_some();
        assert!(!panics, "as a test asked for");
        let mut state = self.state();
        let row = state.slots.get_mut(&from.slot).expect("read before");
        if (row.epoch, row.revision) != (from.epoch, from.revision) {
            return Err(SlotError::Lost {
                group: "g".into(),
                slot: from.slot,
                expected: from.revision,
                actual: row.revision,
            });
        }
        assert!(to.checkpoint_us >= row.checkpoint_us, "the checkpoint moves back: {to:?}");
        *row = to.clone();
        Ok(to)
    }

    async fn members(&self) -> Result<Vec<Member>, SlotError> {
        self.network().await?;
        let state = self.state();
        Ok(state
            .members
            .iter()
            .map(|(id, revision)| Member { id: *id, revision: *revision })
            .collect())
    }

    async fn beat(
        &self,
        member: MemberId,
        _known: Option<Revision>,
    ) -> Result<Revision, SlotError> {
        // The database executes a request that was sent, even if the caller stops waiting for the answer.
        let world = self.clone();
        let landing = self.in_flight.spawn(async move {
            world.network().await?;
            let mut state = world.state();
            let revision = state.members.entry(member).or_insert(Revision(0));
            *revision = revision.next();
            Ok(*revision)
        });
        landing.await.expect("it does not panic")
    }

    async fn remove(&self, member: Member) -> Result<(), SlotError> {
        self.network().await?;
        let mut state = self.state();
        if state.members.get(&member.id) == Some(&member.revision) {
            state.members.remove(&member.id);
        }
        Ok(())
    }
}

/// A process that does nothing but follow its leases: it gives up at once what it should.
pub(super) struct Process {
    pub(super) leases: Leases,
    pub(super) owned: watch::Receiver<BTreeSet<Slot>>,
    pub(super) readiness: Readiness,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Process {
    pub(super) fn start(world: &World, number: usize) -> Self {
        let store = Arc::new(World { process: number, ..world.clone() });
        let (owner, owned) = watch::channel(BTreeSet::new());
        let config = LeaseConfig::default();
        let readiness = Readiness::default();
        let leases = Leases::new(store, "g", SLOTS, config, owner, readiness.clone());
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (agent, stop) = (leases.clone(), shutdown.clone());
        tasks.spawn(async move { agent.run(&stop).await });
        let follower = leases.clone();
        tasks.spawn(async move { follow(&follower).await });
        Self { leases, owned, readiness, shutdown, tasks }
    }

    pub(super) fn slots(&self) -> BTreeSet<Slot> {
        self.owned.borrow().clone()
    }

    /// Ends orderly.
    pub(super) async fn end(self) {
        self.shutdown.cancel();
        self.leases.release_all().await;
        self.leases.end();
        let Self { mut tasks, .. } = self;
        tasks.join_next().await.expect("a task").expect("the agent ends");
    }

    /// Dies here and now.
    pub(super) fn kill(mut self) {
        self.fall();
    }

    /// Its tasks end where they are, as in a panic; what is left of it goes on.
    pub(super) fn fall(&mut self) {
        self.tasks.abort_all();
    }
}

async fn follow(leases: &Leases) {
    let mut changes = leases.changes();
    loop {
        for (slot, Held { phase, .. }) in leases.held() {
            match phase {
                Phase::Held => {}
                Phase::Surrendered => leases.release(slot).await.expect("released"),
                Phase::Lost => leases.forget(slot),
            }
        }
        changes.changed().await.expect("the leases live");
    }
}

/// Waits until a condition holds; gives how long that took.
pub(super) async fn until(what: &str, limit: Duration, holds: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(millis(1)).await;
    }
    began.elapsed()
}
