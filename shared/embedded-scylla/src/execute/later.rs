//! LWTs that a fault put off: each runs once, after its delay or right before the next LWT or
//! SERIAL read of its partition.

use crate::error::Result;
use crate::execute::lwt::Lwt;
use crate::faults::Faults;
use crate::mutation::PartitionKey;
use crate::schema::Table;
use crate::storage::WriteContext;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// How many may wait for a touch; further ones run at once.
const WAITING_MAX: usize = 10_000;

type Place = (Uuid, PartitionKey);

/// LWTs that wait for a touch of their partition.
#[derive(Debug, Default)]
pub(crate) struct Later {
    waiting: Mutex<HashMap<Place, Vec<Arc<PutOff>>>>,
}

/// One LWT that runs later.
#[derive(Debug)]
pub(crate) struct PutOff {
    lwt: Lwt,
    /// Set by whoever runs it.
    taken: AtomicBool,
}

impl PutOff {
    /// Not run yet.
    pub(crate) fn new(lwt: Lwt) -> Arc<Self> {
        Arc::new(Self { lwt, taken: AtomicBool::new(false) })
    }

    /// Runs it unless that was done already. Its conditions are those of this moment, and nobody
    /// hears of its result but the fault report.
    pub(crate) fn run(&self, context: &mut WriteContext<'_>, ended: &mut Ended) -> Result<()> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        match self.lwt.run(context)? {
            Ok(outcome) => ended.applied.push(outcome.applied),
            Err(error) => {
                tracing::debug!(%error, "an LWT that was put off failed");
                ended.applied.push(false);
            }
        }
        Ok(())
    }
}

/// What became of put-off LWTs. It is part of the job's result, and the fault report hears of it
/// when that is dropped: when the job is durable, also if nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Ended {
    faults: Arc<Faults>,
    applied: Vec<bool>,
}

impl Ended {
    /// None yet.
    pub(crate) fn new(faults: Arc<Faults>) -> Self {
        Self { faults, applied: Vec::new() }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.applied.iter().for_each(|applied| self.faults.later_done(*applied));
    }
}

impl Later {
    /// Lets one wait for a touch; false when too many wait.
    pub(crate) fn wait_for_touch(&self, put_off: &Arc<PutOff>) -> bool {
        let mut waiting = self.waiting();
        if waiting.values().map(Vec::len).sum::<usize>() >= WAITING_MAX {
            return false;
        }
        let place = (put_off.lwt.table().id, put_off.lwt.key().clone());
        waiting.entry(place).or_default().push(Arc::clone(put_off));
        true
    }

    /// Whether any waits for this partition.
    pub(crate) fn has(&self, table: &Table, key: &PartitionKey) -> bool {
        let waiting = self.waiting();
        !waiting.is_empty() && waiting.contains_key(&(table.id, key.clone()))
    }

    /// Runs what waits for this partition, in the order in which it was put off. Called first
    /// thing in the job that touches it.
    pub(crate) fn touch(
        &self,
        context: &mut WriteContext<'_>,
        ended: &mut Ended,
        table: &Table,
        key: &PartitionKey,
    ) -> Result<()> {
        let due = {
            let mut waiting = self.waiting();
            if waiting.is_empty() {
                return Ok(());
            }
            waiting.remove(&(table.id, key.clone())).unwrap_or_default()
        };
        due.iter().try_for_each(|put_off| put_off.run(context, ended))
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Place, Vec<Arc<PutOff>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
