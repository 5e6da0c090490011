//! What the fault port asks of the engine beyond rules: new generations, another clock, a power cut.

use super::Engine;
use crate::cdc::{Generation, History};
use crate::error::{CqlError, Result};
use crate::storage::{ReadRows, WriteContext};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Tablets of a table that are not split any more.
const TABLETS_MAX: usize = 4096;

/// The CDC generations that were opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// When that of the vnodes begins, in ms since 1970.
    pub timestamp: i64,
    /// Its streams.
    pub streams: usize,
    /// When that of each table on tablets begins, by `keyspace.table`.
    pub tables: BTreeMap<String, i64>,
}

impl Engine {
    /// Opens a new CDC generation of the vnodes and of each table on tablets, to begin `starts_in`
    /// from now, or right after the newest one and every timestamp given so far, whichever is later.
    /// Of so many streams; by default vnodes get as many as before, and each tablet is split.
    pub async fn open_generation(
        &self,
        streams: Option<usize>,
        starts_in: Duration,
    ) -> Result<Opened> {
        self.inner.storage.write(move |context| open(context, streams, starts_in)).await
    }

    /// Sets how far the server's clock is off the host's, in ms, back if negative. Timestamps that
    /// the server gives never go back for that.
    pub fn set_clock(&self, skew_ms: i64) {
        self.inner.clock.set_skew(skew_ms.saturating_mul(1000));
    }

    /// Ends the process with what the last device sync has made certain. Returns only when that
    /// could not be done.
    pub async fn cut_power(&self, torn: bool) -> CqlError {
        let cut = self.inner.storage.write::<(), _>(move |context| Err(context.cut_power(torn)));
        match cut.await {
            Err(error) => error,
            Ok(()) => CqlError::server("the power was not cut"),
        }
    }
}

fn open(
    context: &mut WriteContext<'_>,
    count: Option<usize>,
    starts_in: Duration,
) -> Result<Opened> {
    let millis = i64::try_from(starts_in.as_millis()).unwrap_or(i64::MAX);
    let wanted = context.now_micros().div_euclid(1000).saturating_add(millis);
    let earliest = wanted.max(context.last_timestamp().div_euclid(1000).saturating_add(1));
    let streams = context.streams().clone();
    let host_id = streams.vnodes().first().host_id;
    let begin = |history: &History| earliest.max(history.newest().time_millis.saturating_add(1));

    let vnodes = streams.vnodes();
    let count_of_vnodes = count.unwrap_or(vnodes.newest().streams.len());
    let timestamp = begin(vnodes);
    context.open_streams(None, Generation::even(host_id, count_of_vnodes, timestamp))?;
    let mut tables = BTreeMap::new();
    for (table, history) in streams.tablet_tables() {
        let split = (history.newest().streams.len() * 2).min(TABLETS_MAX);
        let timestamp = begin(history);
        let opened = Generation::of_tablets(host_id, count.unwrap_or(split), timestamp);
        context.open_streams(Some(table), opened)?;
        let catalog = context.catalog();
        let found = catalog
            .keyspaces
            .values()
            .flat_map(|keyspace| keyspace.tables.values())
            .find(|candidate| candidate.id == table);
        if let Some(found) = found {
            tables.insert(format!("{}.{}", found.keyspace, found.name), timestamp);
        }
    }
    Ok(Opened { timestamp, streams: count_of_vnodes, tables })
}
