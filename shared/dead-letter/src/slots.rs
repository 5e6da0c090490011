//! The slots that this process holds, as the retrier needs to know them.

use async_trait::async_trait;
use leases::{Leases, Phase, Slot};
use runtime::{Backoff, BackoffConfig, chain};
use std::collections::BTreeMap;
use tokio::sync::watch;
use tracing::warn;

/// Pauses while a slot cannot be released.
const PAUSES: BackoffConfig = BackoffConfig { initial_ms: 20, max_ms: 1_000 };

/// What may be done with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Try its letters.
    Work,
    /// Begin nothing more. When nothing is in hand, it has to be [ended](Slots::end).
    End,
}

/// The leases of this process.
#[async_trait]
pub(crate) trait Slots: Send + Sync + 'static {
    /// Sees every change of [`Slots::held`].
    fn changes(&self) -> watch::Receiver<u64>;

    /// Every slot that was taken and not ended.
    fn held(&self) -> BTreeMap<Slot, Hold>;

    /// Whether an effect that belongs to the slot may begin now.
    fn may_begin(&self, slot: Slot) -> bool;

    /// The letters of a slot were looked at: it is not stuck.
    fn progressed(&self, slot: Slot);

    /// Gives a slot up of which nothing is in hand any more; tries until that is done.
    async fn end(&self, slot: Slot);
}

#[async_trait]
impl Slots for Leases {
    fn changes(&self) -> watch::Receiver<u64> {
        Leases::changes(self)
    }

    fn held(&self) -> BTreeMap<Slot, Hold> {
        let held = Leases::held(self).into_iter();
        let hold = |phase| if phase == Phase::Held { Hold::Work } else { Hold::End };
        held.map(|(slot, held)| (slot, hold(held.phase))).collect()
    }

    fn may_begin(&self, slot: Slot) -> bool {
        Leases::may_begin(self, slot)
    }

    fn progressed(&self, slot: Slot) {
        Leases::progressed(self, slot);
    }

    async fn end(&self, slot: Slot) {
        let mut backoff = Backoff::new(PAUSES);
        let is_ours =
            || Leases::held(self).get(&slot).is_some_and(|held| held.phase != Phase::Lost);
        while is_ours() {
            match self.release(slot).await {
                Ok(()) => return,
                Err(error) if backoff.attempts() == 0 => {
                    let error = chain(&error).to_string();
                    warn!(slot = slot.0, error, "slot not released, trying again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
        self.forget(slot);
    }
}
