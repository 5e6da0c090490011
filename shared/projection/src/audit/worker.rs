//! The audit in the background: every aggregate of this process's slots, again and again, slowly.
//!
//! What differs is looked at once more after the safety interval and a while, and again for as long as the
//! projection has not come so far: who lags behind is not wrong, and other metrics say that it lags. If it
//! still differs then, it is counted and said, once for as long as it stays the same.

use super::{Audit, Drift};
use crate::metrics::{AUDITED, DRIFT};
use crate::projector::consumer_of;
use crate::read_model::ReadModels;
use cdc::{Handled, OwnedSlots, StoreError};
use database::Settings;
use event_store::audit::{AuditError, AuditReader, NextPage};
use kernel::Version;
use leases::Slot;
use runtime::{Backoff, BackoffConfig, CancellationToken, chain};
use schemars::JsonSchema;
use scylla::client::session::Session;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};
use uuid::Uuid;

/// The audit of the read models: every aggregate of the process's slots, again and again, slowly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Aggregates per second whose rows are compared with their events; 0 switches it off.
    pub aggregates_per_second: u32,
    /// Aggregates per page of the scan of the ledger.
    #[schemars(range(min = 1, max = 5000))]
    pub page_aggregates: u32,
    /// Pause between two rounds over the process's slots.
    pub round_pause_ms: u64,
    /// So long after the safety interval a difference is looked at again; then it counts.
    pub recheck_ms: u64,
    /// Differences that wait for that, and counted ones that are remembered; the rest is left to the next round.
    #[schemars(range(min = 1))]
    pub differences_max: usize,
    /// Pauses while the database is out of reach.
    pub backoff: BackoffConfig,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            aggregates_per_second: 10,
            page_aggregates: 100,
            round_pause_ms: 60_000,
            recheck_ms: 10_000,
            differences_max: 1_000,
            backoff: BackoffConfig { initial_ms: 100, max_ms: 30_000 },
        }
    }
}

/// What the audit needs. A clone is for another start of it.
#[derive(Clone)]
pub struct AuditDeps {
    /// A connection that uses the keyspace; the schema must be complete.
    pub session: Arc<Session>,
    /// What is compared.
    pub read_models: ReadModels,
    /// What all processes agree on.
    pub settings: Settings,
    /// Pace and bounds.
    pub config: AuditConfig,
    /// The slots that this process owns now; asked before each page.
    pub owned: OwnedSlots,
}

/// Audits until `shutdown`. Waits for a database that is out of reach; a difference is no error.
pub async fn run_audit(deps: AuditDeps, shutdown: CancellationToken) {
    AUDITED.inc_by(0);
    if deps.config.aggregates_per_second == 0 {
        info!("the audit of the read models is off");
        return shutdown.cancelled().await;
    }
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = audit(deps) => {}
    }
}

async fn audit(deps: AuditDeps) {
    let mut backoff = Backoff::new(deps.config.backoff);
    let (reader, handled) = loop {
        match open(&deps).await {
            Ok(opened) => break opened,
            Err(error) => pause(&mut backoff, error.as_ref()).await,
        }
    };
    let audit = Audit::new(deps.session.clone(), reader.clone(), deps.read_models);
    for (projection, _) in audit.tables() {
        // So that the series is there before the first drift.
        DRIFT.with_label_values(&[projection]);
    }
    let mut rounds =
        Rounds { deps, reader, handled, audit, pending: VecDeque::new(), known: HashMap::new() };
    loop {
        rounds.round().await;
        let next = Instant::now() + Duration::from_millis(rounds.deps.config.round_pause_ms);
        while Instant::now() < next {
            let due = rounds.pending.front().map_or(next, |pending| pending.due);
            sleep_until(due.min(next)).await;
            rounds.look_again().await;
        }
    }
}

async fn open(
    deps: &AuditDeps,
) -> Result<(AuditReader, Handled), Box<dyn std::error::Error + Send + Sync>> {
    let session = &deps.session;
    let reader = AuditReader::open(session.clone(), deps.config.page_aggregates).await?;
    Ok((reader, Handled::open(session.clone()).await?))
}

async fn pause(backoff: &mut Backoff, error: &(dyn std::error::Error + Send + Sync + 'static)) {
    if backoff.attempts().is_power_of_two() {
        warn!(attempts = backoff.attempts(), error = %chain(error), "audit interrupted, trying again");
    }
    tokio::time::sleep(backoff.next_pause()).await;
}

/// A difference that waits for its second look.
struct Pending {
    aggregate_id: Uuid,
    version: Version,
    due: Instant,
}

struct Rounds {
    deps: AuditDeps,
    reader: AuditReader,
    handled: Handled,
    audit: Audit,
    /// In the order in which they are due.
    pending: VecDeque<Pending>,
    /// What was counted, by aggregate, and did not change since.
    known: HashMap<Uuid, Vec<Drift>>,
}

impl Rounds {
    async fn round(&mut self) {
        for slot in Slot::all(self.deps.settings.slots) {
            let mut next = None;
            let mut backoff = Backoff::new(self.deps.config.backoff);
            while (self.deps.owned)().contains(&slot) {
                match self.page(slot, next.clone()).await {
                    Ok(Some(page)) => next = Some(page),
                    Ok(None) => break,
                    Err(error) => pause(&mut backoff, &error).await,
                }
            }
        }
    }

    /// Looks at one page of a slot's aggregates; gives the next one.
    async fn page(
        &mut self,
        slot: Slot,
        page: Option<NextPage>,
    ) -> Result<Option<NextPage>, AuditError> {
        let tokens = leases::slot_range(slot, self.deps.settings.slots);
        let (tails, next) = self.reader.tails(tokens, page).await?;
        let pace = Duration::from_secs(1) / self.deps.config.aggregates_per_second;
        for tail in tails {
            let due = Instant::now() + pace;
            self.look(tail.aggregate_id).await;
            self.look_again().await;
            sleep_until(due).await;
        }
        Ok(next)
    }

    /// The first look.
    async fn look(&mut self, aggregate_id: Uuid) {
        let look = match self.audit.look(aggregate_id, None).await {
            Ok(look) => look,
            Err(error) => return skipped(aggregate_id, &error),
        };
        AUDITED.inc();
        if look.drifts.is_empty() {
            self.known.remove(&aggregate_id);
            return;
        }
        let is_known = self.known.get(&aggregate_id) == Some(&look.drifts)
            || self.pending.iter().any(|pending| pending.aggregate_id == aggregate_id);
        if !is_known {
            self.look_later(aggregate_id, look.version);
        }
    }

    fn look_later(&mut self, aggregate_id: Uuid, version: Version) {
        if self.pending.len() < self.deps.config.differences_max {
            let wait = Duration::from_millis(self.deps.config.recheck_ms);
            let due = Instant::now() + self.deps.settings.safety_interval + wait;
            self.pending.push_back(Pending { aggregate_id, version, due });
        }
    }

    /// The second looks that are due.
    async fn look_again(&mut self) {
        while self.pending.front().is_some_and(|pending| pending.due <= Instant::now()) {
            let Some(Pending { aggregate_id, version, .. }) = self.pending.pop_front() else {
                return;
            };
            let drifts = match self.audit.look(aggregate_id, Some(version)).await {
                Ok(look) => look.drifts,
                Err(error) => {
                    skipped(aggregate_id, &error);
                    continue;
                }
            };
            match self.lags(aggregate_id, version, &drifts).await {
                Ok(false) => self.count(aggregate_id, drifts),
                Ok(true) => self.look_later(aggregate_id, version),
                Err(error) => skipped(aggregate_id, &error),
            }
        }
    }

    /// Whether a projection with drifts has not handled the version yet.
    async fn lags(
        &self,
        aggregate_id: Uuid,
        version: Version,
        drifts: &[Drift],
    ) -> Result<bool, StoreError> {
        let projections: BTreeSet<_> = drifts.iter().map(|drift| drift.projection).collect();
        for projection in projections {
            let consumer = consumer_of(projection);
            if self.handled.version(aggregate_id, &consumer).await? < version {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn count(&mut self, aggregate_id: Uuid, drifts: Vec<Drift>) {
        for drift in &drifts {
            DRIFT.with_label_values(&[drift.projection]).inc();
            let Drift { projection, table, key, what } = drift;
            warn!(%aggregate_id, projection, table, key, what, "read model differs from the events");
        }
        let has_room = self.known.len() < self.deps.config.differences_max;
        if !drifts.is_empty() && (has_room || self.known.contains_key(&aggregate_id)) {
            self.known.insert(aggregate_id, drifts);
        }
    }
}

/// The next round comes by again.
fn skipped(aggregate_id: Uuid, error: &(dyn std::error::Error + 'static)) {
    debug!(%aggregate_id, error = %chain(error), "aggregate not audited");
}
