//! What happens when a consumer has lost its place in the log, or never had one: its slot's checkpoint
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

use super::{Reading, checkpoints, generation::current_at};
use crate::error::StoreError;
use crate::log_time::LogTime;
use crate::metrics;
use crate::retries::Retries;
use crate::source::{CatchUpRow, Checkpoint};
use crate::surroundings::Surroundings;
use leases::Slot;
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::{debug, info};

/// Where each slot starts, and which of them have to be scanned.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) checkpoints: BTreeMap<Slot, Checkpoint>,
    pub(super) scans: Vec<Scan>,
}

/// The scan of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) slot: Slot,
    row: CatchUpRow,
    /// Those that need it; the others have it at no cost but a read.
    consumers: Vec<String>,
}

impl Reading {
    /// Decides where each slot starts, from the checkpoints in their rows. Everything it decides is stored
    /// when it returns; a second call after an error decides the same or better.
    pub(super) async fn plan(
        &self,
        taken: &BTreeMap<Slot, Option<Checkpoint>>,
        generations: &[LogTime],
    ) -> Result<Plan, StoreError> {
        let mut rows: Vec<(&str, BTreeMap<Slot, CatchUpRow>)> = Vec::new();
        for consumer in self.around.names() {
            rows.push((consumer, self.around.catch_ups.load(consumer).await?));
        }
        let mut plan = Plan::default();
        for (&slot, checkpoint) in taken {
            let start = match checkpoint.filter(|checkpoint| self.is_fresh(checkpoint)) {
                Some(fresh) => fresh,
                None => self.begin_anew(slot, *checkpoint, generations, &mut rows).await?,
            };
            plan.checkpoints.insert(slot, start);
            let missing = rows.iter().map(|(consumer, rows)| (*consumer, rows.get(&slot)));
            let missing = missing.filter(|(_, row)| !row.is_some_and(|row| row.is_done));
            let (consumers, positions): (Vec<_>, Vec<_>) = missing
                .map(|(consumer, row)| (consumer.to_owned(), row.and_then(|row| row.position)))
                .unzip();
            // As far as all of them are; one without a row is at the beginning.
            if let Some(position) = positions.into_iter().min() {
                let row = CatchUpRow { log_from: start.time, position, is_done: false };
                plan.scans.push(Scan { slot, row, consumers });
            }
        }
        Ok(plan)
    }

    /// Whether everything after the checkpoint is sure to be in the log.
    fn is_fresh(&self, checkpoint: &Checkpoint) -> bool {
        self.clock.now().since(checkpoint.time) <= self.around.config.checkpoint_age_max()
    }

    /// The place in the log is lost or there was none: notes that a scan is needed, then moves the
    /// checkpoint to where the log is followed from.
    async fn begin_anew(
        &self,
        slot: Slot,
        old: Option<Checkpoint>,
        generations: &[LogTime],
        rows: &mut [(&str, BTreeMap<Slot, CatchUpRow>)],
    ) -> Result<Checkpoint, StoreError> {
        let log_from = self.clock.restart_point();
        if let Some(old) = old {
            let age = self.clock.now().since(old.time);
            let slot = slot.0;
            info!(slot, ?age, "checkpoint is too old for the log, catching up from the ledger");
        }
        let row = CatchUpRow { log_from, position: None, is_done: false };
        for (consumer, rows) in rows {
            self.around.catch_ups.save(consumer, slot, row).await?;
            rows.insert(slot, row);
        }
        let generation = current_at(generations, log_from).unwrap_or(LogTime::ZERO);
        let start = Checkpoint { time: log_from, generation };
        checkpoints::save(&self.around.leases, slot, start).await?;
        Ok(start)
    }

    /// Scans what a plan says, slot after slot. What fails is repeated; the scan of a slot that is
    /// given up meanwhile is left to its next owner.
    pub(super) async fn catch_up(&self, scans: Vec<Scan>) {
        let (slots, mut aggregates) = (scans.len(), 0);
        for mut scan in scans {
            let pauses = self.around.config.backoff;
            let mut retries = Retries::new(Some("catch_up"), "catch up from the ledger", pauses);
            aggregates += loop {
                match self.scan(&mut scan).await {
                    Ok(scanned) => break scanned,
                    Err(error) => tokio::time::sleep(retries.failed(&error)).await,
                }
            };
        }
        info!(slots, aggregates, "caught up from the ledger");
    }

    /// Scans a slot from where it was left; returns how many aggregates it came by.
    async fn scan(&self, scan: &mut Scan) -> Result<u64, StoreError> {
        let Surroundings { events, leases, config, .. } = &*self.around;
        let slot = scan.slot;
        let label = slot.to_string();
        let tokens = leases::slot_range(slot, self.around.slots);
        let from = scan.row.position.map_or(*tokens.start(), |at| at.max(*tokens.start()));
        let pace = Duration::from_secs(1) / config.catch_up.pages_per_second.max(1);
        let (mut next, mut aggregates) = (None, 0_u64);
        loop {
            let page_due = tokio::time::Instant::now() + pace;
            let page = events.tails(from..=*tokens.end(), next).await?;
            aggregates += page.tails.len() as u64;
            let last = page.tails.last().map(|(token, _)| *token);
            let announced = page.tails.into_iter().map(|(_, announcement)| announcement);
            if self.sequencer.settle_all(announced).await.is_err() {
                debug!(slot = slot.0, aggregates, "scan left to the next owner of its slot");
                return Ok(aggregates);
            }
            if !leases.may_begin(slot) {
                return Ok(aggregates);
            }
            next = page.next;
            scan.row.position = last.or(scan.row.position);
            scan.row.is_done = next.is_none();
            self.save(scan).await?;
            leases.progressed(slot);
            metrics::CATCH_UP.with_label_values(&[&label]).set(progress(&tokens, &scan.row));
            if scan.row.is_done {
                debug!(slot = slot.0, aggregates, consumers = ?scan.consumers, "slot caught up");
                return Ok(aggregates);
            }
            tokio::time::sleep_until(page_due).await;
        }
    }

    async fn save(&self, scan: &Scan) -> Result<(), StoreError> {
        for consumer in &scan.consumers {
            self.around.catch_ups.save(consumer, scan.slot, scan.row).await?;
        }
        Ok(())
    }
}

fn progress(tokens: &std::ops::RangeInclusive<i64>, row: &CatchUpRow) -> f64 {
    if row.is_done {
        return 1.0;
    }
    let all = tokens.end().abs_diff(*tokens.start()).max(1);
    let done = row.position.map_or(0, |at| at.abs_diff(*tokens.start()));
    done as f64 / all as f64
}
