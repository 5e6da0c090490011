//! Opening and forgetting CDC streams.

use super::WriteContext;
use crate::cdc::{GENERATIONS_MAX, Generation, Streams};
use crate::error::{CqlError, Result};
use crate::storage::meta;
use fjall::{Keyspace, OwnedWriteBatch};
use std::sync::Arc;
use uuid::Uuid;

/// What is to be stored of a change of the streams.
pub(super) enum StreamChange {
    Opened(Option<Uuid>, Generation),
    /// The times of all sets that the table had.
    Forgotten(Uuid, Vec<i64>),
}

impl WriteContext<'_> {
    /// All CDC streams, those that this job has opened included.
    pub fn streams(&self) -> &Arc<Streams> {
        self.streams.as_ref().unwrap_or(&self.core.streams)
    }

    /// Opens a stream set of a table's tablets or (`None`) of the vnodes, in the same commit. It has
    /// to begin after the others and after every timestamp given so far, or the writes that have
    /// those would be in the wrong streams.
    pub(crate) fn open_streams(&mut self, table: Option<Uuid>, opened: Generation) -> Result<()> {
        let mut streams = Streams::clone(self.streams());
        let history = match table {
            None => Some(streams.vnodes()),
            Some(table) => streams.tablets(table),
        };
        if history.is_some_and(|history| history.all().len() >= GENERATIONS_MAX) {
            return Err(CqlError::invalid(format!(
                "there are {GENERATIONS_MAX} CDC generations, which is as many as may be"
            )));
        }
        if !streams.push(table, opened.clone()) {
            return Err(CqlError::server("a CDC generation begins after all others"));
        }
        self.streams = Some(Arc::new(streams));
        self.stream_changes.push(StreamChange::Opened(table, opened));
        Ok(())
    }

    /// Forgets the streams of a table that is gone, in the same commit.
    pub(crate) fn forget_streams(&mut self, table: Uuid) {
        let mut streams = Streams::clone(self.streams());
        if let Some(history) = streams.tablets(table) {
            let times = history.all().iter().map(|one| one.time_millis).collect();
            self.stream_changes.push(StreamChange::Forgotten(table, times));
            streams.remove(table);
            self.streams = Some(Arc::new(streams));
        }
    }
}

impl StreamChange {
    pub(super) fn store(&self, batch: &mut OwnedWriteBatch, meta: &Keyspace) -> Result<()> {
        match self {
            Self::Opened(table, generation) => {
                // Servers that know one generation only must not open this directory.
                batch.insert(meta, meta::FORMAT, meta::FORMAT_WITH_STREAMS);
                let key = meta::streams_key(*table, generation.time_millis);
                batch.insert(meta, key, meta::encode_generation(generation)?);
            }
            Self::Forgotten(table, times) => {
                for time in times {
                    batch.remove(meta, meta::streams_key(Some(*table), *time));
                }
            }
        }
        Ok(())
    }
}
