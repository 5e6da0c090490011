//! The slots that this process holds, for those who work on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use runtime::test_hooks::crash_point;
use runtime::{Readiness, chain};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use crate::config::LeaseConfig;
use crate::error::SlotError;
use crate::ids::{MemberId, Slot};
use crate::lease::{Lease, Phase};
use crate::metrics;
use crate::row::SlotState;
use crate::store::LeaseStore;

/// A lease as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What may be done with the slot.
    pub phase: Phase,
    /// Its row as it was stored last.
    pub state: SlotState,
}

/// The leases of one process in one group. Cheap to clone; all clones are one.
///
/// [`Leases::run`] takes, renews and loses them. A worker on the slots compares
/// [`Leases::held`] with what it works on after every [change](Leases::changes), and asks
/// [`Leases::may_begin`] before each effect.
#[derive(Clone)]
pub struct Leases {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) group: String,
    pub(crate) count: u32,
    pub(crate) config: LeaseConfig,
    pub(crate) owner: MemberId,
    pub(crate) readiness: Readiness,
    /// Of every slot that was taken and neither released nor forgotten.
    pub(crate) leases: Mutex<BTreeMap<Slot, Arc<Lease>>>,
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) owned: watch::Sender<BTreeSet<Slot>>,
    /// Renews each lease.
    pub(crate) keepers: TaskTracker,
    pub(crate) end: CancellationToken,
    /// Cancelled when nothing is taken any more.
    pub(crate) takes_ended: CancellationToken,
    /// When the last change that was applied was sent; `None` after one that failed.
    pub(crate) trusted_since: Mutex<Option<Instant>>,
    /// Whether a lease was lost after one was seen held last.
    pub(crate) lost_since_held: Mutex<bool>,
}

impl Leases {
    /// A new owner of no slots in a group with `slot_count` slots. `owned` follows the slots that are
    /// held, `readiness` whether they can be.
    pub fn new(
        store: Arc<dyn LeaseStore>,
        group: impl Into<String>,
        slot_count: u32,
        config: LeaseConfig,
        owned: watch::Sender<BTreeSet<Slot>>,
        readiness: Readiness,
    ) -> Self {
        let shared = Shared {
            store,
            group: group.into(),
            count: slot_count,
            config,
            owner: MemberId(Uuid::new_v4()),
            readiness,
            leases: Mutex::default(),
            changes: watch::Sender::new(0),
            owned,
            keepers: TaskTracker::new(),
            end: CancellationToken::new(),
            takes_ended: CancellationToken::new(),
            trusted_since: Mutex::new(None),
            lost_since_held: Mutex::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Who this process is in the rows.
    pub fn owner(&self) -> MemberId {
        self.shared.owner
    }

    /// Sees every change of [`Leases::held`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Every slot that was taken and neither released nor forgotten, as it is now.
    pub fn held(&self) -> BTreeMap<Slot, Held> {
        let leases = self.shared.leases();
        let held = |lease: &Lease| Held { phase: lease.phase(), state: lease.state() };
        leases.iter().map(|(slot, lease)| (*slot, held(lease))).collect()
    }

    /// Whether an effect that belongs to the slot may begin now: it is held, and less than two thirds
    /// of the term have passed since its last applied renewal was sent.
    pub fn may_begin(&self, slot: Slot) -> bool {
        self.shared.lease(slot).is_some_and(|lease| lease.may_begin())
    }

    /// Moves the checkpoint of a held slot, and notes the newest generation accounted for. Neither
    /// is ever moved back; when nothing would move, nothing is written. It counts as a renewal. The
    /// same call again, after an error, is as good as one.
    pub async fn save_checkpoint(
        &self,
        slot: Slot,
        checkpoint_us: i64,
        generation_ms: Option<i64>,
    ) -> Result<(), SlotError> {
        let shared = &self.shared;
        let lease = shared.holding(slot)?;
        let mut row = lease.row.lock().await;
        // Twice: the first may find that an earlier change of this process, whose answer was lost,
        // took its place.
        for _ in 0..2 {
            let Some(to) = row.settled(shared.owner, checkpoint_us, generation_ms) else {
                return Ok(());
            };
            shared.holding(slot)?;
            shared.change(&lease, &mut row, to).await?;
        }
        match row.settled(shared.owner, checkpoint_us, generation_ms) {
            None => Ok(()),
            Some(_) => Err(SlotError::Storage {
                what: format!("store the checkpoint of slot {slot} of {}", shared.group),
                source: "an earlier change took its place twice".into(),
            }),
        }
    }

    /// Work on a held slot went on in a way that does not move its checkpoint, as a catch-up does.
    pub fn progressed(&self, slot: Slot) {
        if let Some(lease) = self.shared.lease(slot) {
            lease.progressed();
        }
    }

    /// Gives up a slot of which nothing is in hand, so that who takes it next knows that nobody
    /// crashed. Nothing happens when it is not held here.
    pub async fn release(&self, slot: Slot) -> Result<(), SlotError> {
        let shared = &self.shared;
        let Some(lease) = shared.lease(slot) else { return Ok(()) };
        if lease.enter(Phase::Surrendered) {
            shared.announce();
        }
        let mut row = lease.row.lock().await;
        while row.owner == Some(shared.owner) && lease.phase() != Phase::Lost {
            let to = row.released(shared.owner);
            match shared.change(&lease, &mut row, to).await {
                Ok(()) => {}
                Err(error) if error.is_lost() => break,
                Err(error) => return Err(error),
            }
        }
        if lease.phase() != Phase::Lost {
            crash_point("lease.released");
            shared.gone(&lease, "released");
        }
        drop(row);
        shared.drop_lease(slot);
        Ok(())
    }

    /// Gives up every slot, after the shutdown of [`Leases::run`]: it waits until that takes nothing
    /// more, so that none is left behind. Errors are logged: the next owner only waits for a term, and
    /// counts a crash.
    pub async fn release_all(&self) {
        self.shared.takes_ended.cancelled().await;
        let slots: Vec<Slot> = self.shared.leases().keys().copied().collect();
        join_all(slots.into_iter().map(|slot| async move {
            if let Err(error) = self.release(slot).await {
                let (group, error) = (&self.shared.group, chain(&error).to_string());
                warn!(group, slot = slot.0, error, "slot not released");
            }
        }))
        .await;
    }

    /// Nothing of a lost slot is in hand any more: it may be taken again.
    pub fn forget(&self, slot: Slot) {
        self.shared.drop_lease(slot);
    }
}

impl Shared {
    pub(crate) fn leases(&self) -> MutexGuard<'_, BTreeMap<Slot, Arc<Lease>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lease(&self, slot: Slot) -> Option<Arc<Lease>> {
        self.leases().get(&slot).cloned()
    }

    /// The lease, when it is still this process's to change.
    fn holding(&self, slot: Slot) -> Result<Arc<Lease>, SlotError> {
        let lease = self.lease(slot);
        lease
            .filter(|lease| lease.phase() != Phase::Lost && !lease.is_over())
            .ok_or_else(|| SlotError::NotHeld { group: self.group.clone(), slot })
    }

    /// Makes one change of a lease's row, and notes what came of it.
    async fn change(
        &self,
        lease: &Arc<Lease>,
        row: &mut SlotState,
        to: SlotState,
    ) -> Result<(), SlotError> {
        let sent = Instant::now();
        match self.store.change(row, to).await {
            Ok(stored) => {
                self.trust(sent);
                lease.renewed(stored.clone(), sent, self.config.working_time());
                *row = stored;
                Ok(())
            }
            Err(error) if error.is_lost() => {
                self.lose(lease, "lost");
                Err(error)
            }
            Err(error) => {
                self.distrust();
                Err(error)
            }
        }
    }

    /// Shows that this process is at work on the slot.
    pub(crate) async fn renew(&self, lease: &Arc<Lease>) -> Result<(), SlotError> {
        let mut row = lease.row.lock().await;
        let to = row.renewed(self.owner);
        self.change(lease, &mut row, to).await
    }

    /// A lease begins.
    pub(crate) fn begin(&self, lease: Arc<Lease>, reason: &'static str) {
        let (group, slot, epoch) = (&self.group, lease.slot, lease.epoch);
        info!(group, slot = slot.0, epoch = epoch.0, reason, "slot taken");
        metrics::CHANGES.with_label_values(&[reason]).inc();
        let label = slot.to_string();
        metrics::HELD.with_label_values(&[group.as_str(), &label]).set(1);
        metrics::EPOCH.with_label_values(&[group.as_str(), &label]).set(epoch.0);
        self.leases().insert(slot, lease);
        self.announce();
    }

    /// A lease ends although nobody asked for it.
    pub(crate) fn lose(&self, lease: &Arc<Lease>, reason: &'static str) {
        if lease.enter(Phase::Lost) {
            let (slot, epoch) = (lease.slot.0, lease.epoch.0);
            warn!(group = self.group, slot, epoch, reason, "slot lost");
            *self.lost_since_held.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.gone(lease, reason);
            self.announce();
        }
    }

    fn gone(&self, lease: &Lease, reason: &'static str) {
        lease.ended.cancel();
        metrics::CHANGES.with_label_values(&[reason]).inc();
        let labels = [self.group.as_str(), &lease.slot.to_string()];
        metrics::HELD.with_label_values(&labels).set(0);
    }

    fn drop_lease(&self, slot: Slot) {
        if let Some(lease) = self.leases().remove(&slot) {
            lease.ended.cancel();
        }
        self.announce();
    }

    /// Tells everybody that something changed.
    pub(crate) fn announce(&self) {
        let leases = self.leases();
        let held = leases.values().filter(|lease| lease.phase() == Phase::Held);
        let held: BTreeSet<Slot> = held.map(|lease| lease.slot).collect();
        drop(leases);
        self.owned.send_if_modified(|owned| {
            let is_other = *owned != held;
            *owned = held;
            is_other
        });
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn trust(&self, sent: Instant) {
        let mut since = self.trusted_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = Some(since.map_or(sent, |before| before.max(sent)));
    }

    /// A change of this process failed: what it sees of others may be its own fault.
    pub(crate) fn distrust(&self) {
        *self.trusted_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether this process's own changes went through lately.
    pub(crate) fn is_trusted(&self) -> bool {
        let since = *self.trusted_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|sent| sent.elapsed() <= self.config.working_time())
    }
}
