//! Change data capture: the log table of a base table, its rows, and the
//! streams that they go to.
//!
//! A request's changes, merged per partition, come through [`augment`] inside its write job. For
//! each partition of a table with CDC the change becomes one *group* of log rows per write
//! timestamp (`changes`), with images of the rows before and after if wanted (`images`), written
//! to the stream of the partition's token (`generation`). Base and log rows are applied by the same
//! job, so that they are one commit.
//!
//! Better than ScyllaDB in two ways: images are taken inside the commit, so they are always right,
//! and groups with equal timestamps are logged in the order of their commits.

mod changes;
mod generation;
mod images;
mod log_rows;
mod log_table;
mod stamp;
mod streams;
#[cfg(test)]
mod tests;

pub use generation::{Generation, StreamId};
pub use log_table::{LOG_SUFFIX, log_name, log_table};
pub(crate) use streams::GENERATIONS_MAX;
pub use streams::{History, Streams};

use crate::error::{CqlError, Result};
use crate::faults::{LogFault, Touched};
use crate::mutation::Mutation;
use crate::schema::Table;
use crate::storage::{ReadRows, WriteContext};
use images::Images;
use log_rows::Log;
use stamp::Stamps;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The log rows of a request's changes, to be applied together with them. Changes of tables
/// without CDC are passed over. `mutations` are at most one per table and partition, and not yet
/// applied.
///
/// Refuses write timestamps too far in the past or future.
pub fn augment(context: &mut WriteContext<'_>, mutations: &[Mutation]) -> Result<Vec<Mutation>> {
    let mut logged = Vec::new();
    let mut stamps = Stamps::new(context);
    for mutation in mutations.iter().filter(|mutation| is_logged(&mutation.table)) {
        let log = Log::of(&mutation.table, find_log(context, &mutation.table)?)?;
        let streams = Arc::clone(context.streams());
        let history = streams.of(mutation.table.id);
        let token = mutation.key.token;
        let mut images = Images::new(mutation);
        let groups = changes::groups(mutation);
        for (index, group) in groups.iter().enumerate() {
            let stream = stamps.generation(history, group.timestamp)?.stream(token);
            let time = stamps.time(context, group.timestamp);
            let is_last = index + 1 == groups.len();
            let entries = images.around(context, group, is_last)?;
            let fault = context.faults().take_log(Touched::from(&*mutation.table));
            if let Some(LogFault::Doubled(later)) = fault {
                let timestamp = group.timestamp.saturating_add(micros(later));
                let time = stamps.time(context, timestamp);
                let stream = history.at(timestamp).map_or(stream, |then| then.stream(token));
                hide(context, log.storage_id(), stream, time, later);
                let entries = entries.clone();
                logged.push(log.mutation(mutation, stream, time, timestamp, entries, context));
            }
            match fault {
                Some(LogFault::Dropped) => continue,
                Some(LogFault::Hidden(span)) => {
                    hide(context, log.storage_id(), stream, time, span);
                }
                Some(LogFault::Doubled(_)) | None => {}
            }
            logged.push(log.mutation(mutation, stream, time, group.timestamp, entries, context));
        }
    }
    Ok(logged)
}

fn hide(context: &WriteContext<'_>, log: u32, stream: StreamId, time: Uuid, span: Duration) {
    if span > Duration::ZERO
        && !context.faults().hidden().hide(log, &stream.0, time.as_bytes(), span)
    {
        tracing::warn!(%time, "too many log rows are hidden; this group is visible at once");
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Whether changes of this table go to a log.
pub fn is_logged(table: &Table) -> bool {
    table.cdc.as_ref().is_some_and(|cdc| cdc.enabled)
}

fn find_log(context: &WriteContext<'_>, base: &Table) -> Result<std::sync::Arc<Table>> {
    let name = log_name(&base.name);
    let log = context.catalog().table(&base.keyspace, &name);
    log.cloned().ok_or_else(|| {
        CqlError::server(format!("CDC log table {}.{name} does not exist", base.keyspace))
    })
}
