//! What keeps the leases: shows that the process is a member, renews what it holds, looks at what
//! the others hold, and takes its fair share.
//!
//! Three kinds of loops that never wait for each other: one *beat*, one *look*, and a *keeper* for
//! each lease. A look costs two requests (members, slots) and is made five times a second, so that a
//! slot that was released, or whose owner stands still, is seen at once.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};

use futures::future::join;
use futures::{FutureExt, StreamExt};
use runtime::chain;
use runtime::test_hooks::crash_point;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::error::SlotError;
use crate::ids::{Epoch, MemberId, Revision, Slot};
use crate::lease::{Lease, Phase};
use crate::leases::{Leases, Shared};
use crate::metrics;
use crate::row::SlotState;
use crate::share::{Share, fair_share};
use crate::still::Watch;
use crate::store::Member;

/// Slots that fit one query of a look.
const SLOTS_PER_LOOK: u32 = 100;

/// What one process has seen of the others.
struct Observed {
    members: Watch<MemberId, Revision>,
    slots: Watch<Slot, (Epoch, Revision)>,
}

impl Leases {
    /// Takes part in the group until `shutdown`: then leaves it, so that the others take over what
    /// this process [releases](Leases::release). What it still holds is renewed until [`Leases::end`].
    /// Errors are logged and repeated; none ends it.
    pub async fn run(&self, shutdown: &CancellationToken) {
        let shared = &self.shared;
        // After a panic nothing is held any more: a keeper that went on would keep slots from the
        // others, and nobody would work on them.
        let _end = shared.end.clone().drop_guard();
        shared.readiness.set("leases", false, format!("joining the group {}", shared.group));
        let beat = async {
            let known = shared.beat_until(shutdown).await;
            shared.leave(known).await;
        };
        let look = async {
            shared.look_until(shutdown).await;
            shared.takes_ended.cancel();
        };
        join(beat, look).await;
        shared.end.cancelled().await;
        shared.keepers.close();
        shared.keepers.wait().await;
    }

    /// Ends [`Leases::run`] after its shutdown: nothing is renewed any more.
    pub fn end(&self) {
        self.shared.end.cancel();
    }
}

impl Shared {
    /// Shows again and again that this process is a member; gives its last known revision.
    async fn beat_until(&self, shutdown: &CancellationToken) -> Option<Revision> {
        let (mut known, mut failures) = (None, 0_u32);
        while !shutdown.is_cancelled() {
            let sent = Instant::now();
            // Not cancelled in the middle: it may land all the same, and a member that has left the
            // group would stay in it for a term.
            match self.store.beat(self.owner, known).await {
                Ok(revision) => {
                    (known, failures) = (Some(revision), 0);
                    self.trust(sent);
                }
                Err(error) => {
                    self.distrust();
                    note(&mut failures, &self.group, "membership not shown", &error);
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep_until(sent + self.config.renew_interval()) => {}
            }
        }
        known
    }

    /// Leaves the group. When that fails, the others see it standing still.
    async fn leave(&self, known: Option<Revision>) {
        let Some(revision) = known else { return };
        let member = Member { id: self.owner, revision };
        let left = timeout(self.config.request_timeout() * 2, self.store.remove(member)).await;
        match left {
            Ok(Ok(())) => info!(group = self.group, "left the group"),
            Ok(Err(error)) => {
                warn!(group = self.group, error = %chain(&error), "could not leave the group");
            }
            Err(_) => warn!(group = self.group, "could not leave the group in time"),
        }
    }

    async fn look_until(self: &Arc<Self>, shutdown: &CancellationToken) {
        let mut observed = Observed { members: Watch::new(), slots: Watch::new() };
        let interval = self.config.poll_interval(self.count.div_ceil(SLOTS_PER_LOOK));
        let mut failures = 0_u32;
        loop {
            let due = Instant::now() + interval;
            // Not cancelled in the middle: a slot may just have been taken.
            match self.look(&mut observed, shutdown).await {
                Ok(()) => failures = 0,
                Err(error) => note(&mut failures, &self.group, "slots not looked at", &error),
            }
            self.report();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep_until(due) => {}
            }
        }
    }

    /// Looks at members and slots once, and does what follows from it.
    async fn look(
        self: &Arc<Self>,
        observed: &mut Observed,
        shutdown: &CancellationToken,
    ) -> Result<(), SlotError> {
        let sent = Instant::now();
        let (members, slots) = tokio::try_join!(self.store.members(), self.store.slots())?;
        let received = Instant::now();
        if !self.is_trusted() {
            observed.members.restart();
            observed.slots.restart();
        }
        observed.members.see(members.iter().map(|m| (m.id, m.revision)), sent, received);
        let marks = slots.iter().map(|state| (state.slot, (state.epoch, state.revision)));
        observed.slots.see(marks, sent, received);
        self.notice_losses(&slots);
        let living = self.bury(members, observed).await;
        if shutdown.is_cancelled() || !self.is_trusted() {
            return Ok(());
        }
        metrics::MEMBERS
            .with_label_values(&[self.group.as_str()])
            .set(i64::try_from(living.len().max(1)).unwrap_or(i64::MAX));
        let share = fair_share(self.count, &living, self.owner);
        self.give_up_surplus(share);
        self.take_missing(share, slots, observed).await;
        Ok(())
    }

    /// A row with a later epoch is another's.
    fn notice_losses(&self, slots: &[SlotState]) {
        for state in slots {
            if let Some(lease) = self.lease(state.slot)
                && state.epoch > lease.epoch
                && state.owner != Some(self.owner)
            {
                self.lose(&lease, "lost");
            }
        }
    }

    /// Removes members that stand still; gives the others.
    async fn bury(&self, members: Vec<Member>, observed: &Observed) -> Vec<MemberId> {
        let is_dead = |member: &Member| {
            member.id != self.owner && observed.members.stands_still(member.id, self.config.term())
        };
        let (dead, living): (Vec<Member>, Vec<Member>) = members.into_iter().partition(is_dead);
        let burials = dead.into_iter().map(|member| async move {
            info!(group = self.group, member = %member.id, "member stands still, removing it");
            if let Err(error) = self.store.remove(member).await {
                self.distrust();
                warn!(group = self.group, error = %chain(&error), "member not removed");
            }
        });
        let parallel = self.config.changes_in_parallel_max;
        futures::stream::iter(burials).buffer_unordered(parallel).collect::<Vec<()>>().await;
        living.into_iter().map(|member| member.id).collect()
    }

    fn give_up_surplus(&self, share: Share) {
        let held: Vec<Arc<Lease>> =
            self.leases().values().filter(|lease| lease.phase() == Phase::Held).cloned().collect();
        let surplus = held.len().saturating_sub(share.slots as usize);
        if surplus > 0 {
            info!(group = self.group, share = share.slots, surplus, "giving up surplus slots");
            for lease in held.iter().rev().take(surplus) {
                lease.enter(Phase::Surrendered);
            }
            self.announce();
        }
    }

    async fn take_missing(
        self: &Arc<Self>,
        share: Share,
        slots: Vec<SlotState>,
        observed: &Observed,
    ) {
        let here: Vec<Slot> = self.leases().keys().copied().collect();
        let held = self.leases().values().filter(|lease| lease.phase() == Phase::Held).count();
        let missing = (share.slots as usize).saturating_sub(held);
        if missing == 0 {
            return;
        }
        let mut rows: BTreeMap<Slot, SlotState> =
            slots.into_iter().map(|state| (state.slot, state)).collect();
        let order = (0..self.count).map(|step| Slot((share.first.0 + step) % self.count));
        let free = order.filter(|slot| !here.contains(slot)).filter_map(|slot| {
            let seen = rows.remove(&slot).unwrap_or_else(|| SlotState::new(&self.group, slot));
            let is_free = seen.owner.is_none_or(|owner| owner == self.owner);
            let is_expired = observed.slots.stands_still(slot, self.config.term());
            (is_free || is_expired).then_some(seen)
        });
        let takes: Vec<_> = free.take(missing).map(|seen| self.take(seen)).collect();
        let parallel = self.config.changes_in_parallel_max;
        futures::stream::iter(takes).buffer_unordered(parallel).collect::<Vec<()>>().await;
    }

    /// Takes a slot that was seen free, or standing still.
    async fn take(self: &Arc<Self>, seen: SlotState) {
        let slot = seen.slot;
        let mut sent = Instant::now();
        let taken = async {
            let now = self.store.read(slot).await?;
            let is_free = now.owner.is_none_or(|owner| owner == self.owner);
            if !is_free && (now.epoch, now.revision) != (seen.epoch, seen.revision) {
                debug!(group = self.group, slot = slot.0, "slot moved while it was taken");
                return Ok(None);
            }
            let reason = match now.owner {
                None => "taken",
                Some(owner) if owner == self.owner => "retaken",
                Some(_) => "taken_over",
            };
            sent = Instant::now();
            let stored = self.store.change(&now, now.taken(self.owner)).await?;
            Ok::<_, SlotError>(Some((stored, reason)))
        };
        match taken.await {
            Ok(Some((state, reason))) => {
                crash_point("lease.taken");
                self.trust(sent);
                self.keep(state, sent, reason);
            }
            Ok(None) => {}
            Err(error) if error.is_lost() => {
                debug!(group = self.group, slot = slot.0, %error, "another was faster");
            }
            Err(error) => {
                self.distrust();
                warn!(group = self.group, slot = slot.0, error = %chain(&error), "slot not taken");
            }
        }
    }

    /// A slot was taken: its lease begins, unless that took too long to be of use.
    fn keep(self: &Arc<Self>, state: SlotState, sent: Instant, reason: &'static str) {
        let lease = Arc::new(Lease::new(state, sent, self.config.working_time()));
        if lease.is_over() {
            return;
        }
        self.begin(lease.clone(), reason);
        let shared = self.clone();
        self.keepers.spawn(async move {
            let kept = AssertUnwindSafe(async {
                tokio::select! {
                    () = lease.ended.cancelled() => {}
                    () = shared.end.cancelled() => {}
                    () = shared.renew_until_lost(&lease) => {}
                }
            });
            // Nobody renews it any more, and the panic is in the log: the slot is anybody's again.
            if kept.catch_unwind().await.is_err() {
                shared.lose(&lease, "keeper_fell");
            }
        });
    }

    /// Renews a lease again and again; returns when it is lost.
    async fn renew_until_lost(&self, lease: &Arc<Lease>) {
        let mut failures = 0_u32;
        let mut retry_at = Instant::now();
        loop {
            let (renewed, until) = lease.times();
            let due = (renewed + self.config.renew_interval()).max(retry_at).min(until);
            sleep_until(due).await;
            // A checkpoint may have renewed it meanwhile.
            let (renewed_since, until) = lease.times();
            if lease.is_over() {
                return self.lose(lease, "expired");
            }
            if renewed_since > renewed && retry_at <= renewed_since {
                continue;
            }
            match timeout_at(until, self.renew(lease)).await {
                Ok(Ok(())) => failures = 0,
                Ok(Err(error)) if error.is_lost() => return,
                Ok(Err(error)) => {
                    note(&mut failures, &self.group, "lease not renewed", &error);
                    retry_at = Instant::now() + self.config.poll_interval(1);
                }
                Err(_) => {
                    self.distrust();
                    return self.lose(lease, "expired");
                }
            }
        }
    }

    /// Ready is who can take part, with or without slots, and has not lost every one that it had; and
    /// whose slots make progress. An idle slot does: its checkpoint follows the clock. One whose
    /// checkpoint stands still is stuck, and its lag grows.
    fn report(&self) {
        let group = &self.group;
        let held: Vec<Arc<Lease>> =
            self.leases().values().filter(|lease| lease.phase() == Phase::Held).cloned().collect();
        let has_lost_all = self.has_lost_all(!held.is_empty());
        let text = format!("holds {} of {} slots of {group}", held.len(), self.count);
        if !self.is_trusted() {
            let text = format!("cannot show that it is a member of {group}");
            self.readiness.set("leases", false, text);
        } else if has_lost_all {
            self.readiness.set("leases", false, format!("{text}, lost every one that it had"));
        } else {
            self.readiness.set("leases", true, text);
        }
        let stuck: Vec<Slot> = held
            .iter()
            .filter(|lease| lease.stood_still() >= self.config.stuck())
            .map(|lease| lease.slot)
            .collect();
        let count = i64::try_from(stuck.len()).unwrap_or(i64::MAX);
        metrics::STUCK.with_label_values(&[group.as_str()]).set(count);
        if stuck.is_empty() {
            self.readiness.set("progress", true, format!("all slots held of {group} move"));
        } else {
            let longest = held.iter().map(|lease| lease.stood_still()).max().unwrap_or_default();
            let text = format!(
                "slots {stuck:?} of {group} are stuck: their checkpoints stand still, for {} s at most",
                longest.as_secs()
            );
            self.readiness.set("progress", false, text);
        }
    }

    /// Whether every lease was lost since one was held last. Who gave them up to others has none,
    /// and lost none.
    fn has_lost_all(&self, holds_some: bool) -> bool {
        let mut lost = self.lost_since_held.lock().unwrap_or_else(PoisonError::into_inner);
        if holds_some {
            *lost = false;
        }
        *lost
    }
}

/// Says once that something fails, then less and less often.
fn note(failures: &mut u32, group: &str, what: &'static str, error: &SlotError) {
    *failures += 1;
    if failures.is_power_of_two() {
        warn!(group, failures = *failures, error = %chain(error), "{what}, trying again");
    }
}
