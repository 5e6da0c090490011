//! What a consumer does whose place in the log is lost, or who never had one: its slot's checkpoint
//! is older than rows are sure to be kept, or the consumer is new.
//!
//! It fixes `L0 = now − 2 × safety interval` and follows the log from there at once. Beside that the
//! ledger is scanned: the newest version of each aggregate of the slot is settled by the same
//! sequencer that takes the log's rows, which heals the aggregate from wherever its cursor is. What
//! was committed before the scan came by is found by the scan, what was announced after `L0` is in
//! the log.
//!
//! `L0`, how far the scan is, and that it is done are in `catch_ups`, before the checkpoint moves to
//! `L0`; a process that dies continues the scan. A scan is worth nothing when the log was lost again
//! meanwhile: it then starts anew.

use crate::checkpoints::Checkpoints;
use crate::clock::DatabaseClock;
use crate::config::CdcConfig;
use crate::consumer::HandleError;
use crate::generation::current_at;
use crate::log_time::LogTime;
use crate::metrics;
use crate::sequencer::Sequencer;
use crate::source::{CatchUpRow, CatchUpStore, Checkpoint, EventSource};
use futures::StreamExt;
use runtime::{Backoff, chain};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Where each slot starts, and which of them have to be scanned.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) checkpoints: BTreeMap<u32, Checkpoint>,
    pub(crate) scans: Vec<Scan>,
}

/// The scan of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) slot: u32,
    row: CatchUpRow,
    /// Those that need it; the others have it at no cost but a read.
    consumers: Vec<String>,
}

/// What planning and scanning work with.
pub(crate) struct CatchUp {
    pub(crate) consumers: Vec<String>,
    pub(crate) clock: Arc<DatabaseClock>,
    pub(crate) checkpoints: Checkpoints,
    /// How many slots there are.
    pub(crate) slots: u32,
    pub(crate) store: Arc<dyn CatchUpStore>,
    pub(crate) config: CdcConfig,
}

impl CatchUp {
    /// Decides where each slot starts, from the checkpoints in their rows. Everything it decides is stored
    /// when it returns; a second call after an error decides the same or better.
    pub(crate) async fn plan(
        &self,
        taken: &BTreeMap<u32, Option<Checkpoint>>,
        generations: &[LogTime],
    ) -> Result<Plan, HandleError> {
        let mut rows: Vec<(&String, BTreeMap<u32, CatchUpRow>)> = Vec::new();
        for consumer in &self.consumers {
            rows.push((consumer, self.store.load(consumer).await?));
        }
        let mut plan = Plan::default();
        for (&slot, checkpoint) in taken {
            let start = match checkpoint.filter(|checkpoint| self.is_fresh(checkpoint)) {
                Some(fresh) => fresh,
                None => self.begin_anew(slot, *checkpoint, generations, &mut rows).await?,
            };
            plan.checkpoints.insert(slot, start);
            let missing = rows.iter().filter(|(_, rows)| !is_done(rows.get(&slot)));
            let missing: Vec<_> = missing
                .map(|(consumer, rows)| ((*consumer).clone(), rows.get(&slot).copied()))
                .collect();
            if !missing.is_empty() {
                let row = CatchUpRow {
                    log_from: start.time,
                    // As far as all of them are; one without a row is at the beginning.
                    position: missing
                        .iter()
                        .map(|(_, row)| row.and_then(|row| row.position))
                        .min()
                        .flatten(),
                    is_done: false,
                };
                let consumers = missing.into_iter().map(|(consumer, _)| consumer).collect();
                plan.scans.push(Scan { slot, row, consumers });
            }
        }
        Ok(plan)
    }

    /// Whether everything after the checkpoint is sure to be in the log.
    fn is_fresh(&self, checkpoint: &Checkpoint) -> bool {
        self.clock.now().since(checkpoint.time) <= self.config.checkpoint_age_max()
    }

    /// The place in the log is lost or there was none: notes that a scan is needed, then moves the
    /// checkpoint to where the log is followed from.
    async fn begin_anew(
        &self,
        slot: u32,
        old: Option<Checkpoint>,
        generations: &[LogTime],
        rows: &mut [(&String, BTreeMap<u32, CatchUpRow>)],
    ) -> Result<Checkpoint, HandleError> {
        let log_from = self.clock.restart_point();
        if let Some(old) = old {
            let age = self.clock.now().since(old.time);
            info!(slot, ?age, "checkpoint is too old for the log, catching up from the ledger");
        }
        let row = CatchUpRow { log_from, position: None, is_done: false };
        for (consumer, rows) in rows {
            self.store.save(consumer, slot, row).await?;
            rows.insert(slot, row);
        }
        let generation = current_at(generations, log_from).unwrap_or(LogTime::ZERO);
        let start = Checkpoint { time: log_from, generation };
        self.checkpoints.save(slot, start).await?;
        Ok(start)
    }

    /// Scans what a plan says, slot after slot, until done or `stop`. What fails is repeated; the scan
    /// of a slot that is given up meanwhile is left to its next owner.
    pub(crate) async fn run(
        &self,
        scans: Vec<Scan>,
        events: &dyn EventSource,
        sequencer: &Sequencer,
        stop: &CancellationToken,
    ) {
        let slots_to_scan = scans.len();
        let mut aggregates = 0;
        for mut scan in scans {
            let mut backoff = Backoff::new(self.config.backoff);
            loop {
                let scanned = tokio::select! {
                    () = stop.cancelled() => return,
                    scanned = self.scan(&mut scan, events, sequencer) => scanned,
                };
                let error = match scanned {
                    Ok(scanned) => {
                        aggregates += scanned;
                        break;
                    }
                    Err(error) => error,
                };
                metrics::RETRIES.with_label_values(&["catch_up"]).inc();
                if backoff.attempts().is_power_of_two() {
                    let error = chain(&error).to_string();
                    warn!(slot = scan.slot, error, "catch-up interrupted, trying again");
                }
                if !backoff.pause(stop).await {
                    return;
                }
            }
        }
        if slots_to_scan > 0 {
            info!(slots = slots_to_scan, aggregates, "caught up from the ledger");
        }
    }

    /// Scans a slot from where it was left; returns how many aggregates it came by.
    async fn scan(
        &self,
        scan: &mut Scan,
        events: &dyn EventSource,
        sequencer: &Sequencer,
    ) -> Result<u64, HandleError> {
        let slot = scan.slot;
        let label = slot.to_string();
        let tokens = leases::slot_range(slot, self.slots);
        let from = scan.row.position.map_or(*tokens.start(), |at| at.max(*tokens.start()));
        let pace = Duration::from_secs(1) / self.config.catch_up.pages_per_second.max(1);
        let (mut next, mut aggregates) = (None, 0_u64);
        loop {
            let page_due = tokio::time::Instant::now() + pace;
            let page = events.tails(from..=*tokens.end(), next).await?;
            aggregates += page.tails.len() as u64;
            let last = page.tails.last().map(|(token, _)| *token);
            let mut settling = futures::stream::iter(page.tails)
                .map(|(_, ring)| async move { sequencer.settle(&ring).await })
                .buffer_unordered(self.config.aggregates_in_parallel_max);
            while let Some(settled) = settling.next().await {
                if settled.is_err() {
                    debug!(slot, aggregates, "scan left to the next owner of its slot");
                    return Ok(aggregates);
                }
            }
            if !self.checkpoints.may_begin(slot) {
                return Ok(aggregates);
            }
            next = page.next;
            scan.row.position = last.or(scan.row.position);
            scan.row.is_done = next.is_none();
            self.save(scan).await?;
            self.checkpoints.progressed(slot);
            metrics::CATCH_UP.with_label_values(&[&label]).set(progress(&tokens, &scan.row));
            if scan.row.is_done {
                debug!(slot, aggregates, consumers = ?scan.consumers, "slot caught up");
                return Ok(aggregates);
            }
            tokio::time::sleep_until(page_due).await;
        }
    }

    async fn save(&self, scan: &Scan) -> Result<(), HandleError> {
        for consumer in &scan.consumers {
            self.store.save(consumer, scan.slot, scan.row).await?;
        }
        Ok(())
    }
}

fn is_done(row: Option<&CatchUpRow>) -> bool {
    row.is_some_and(|row| row.is_done)
}

fn progress(tokens: &std::ops::RangeInclusive<i64>, row: &CatchUpRow) -> f64 {
    if row.is_done {
        return 1.0;
    }
    let all = tokens.end().abs_diff(*tokens.start()).max(1);
    let done = row.position.map_or(0, |at| at.abs_diff(*tokens.start()));
    done as f64 / all as f64
}
