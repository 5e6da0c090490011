//! What reads of CDC logs need beyond the rows.
//!
//! Where the partitions of the logs end, in memory: a reader that asks for what is newer than all
//! that a stream holds (as readers of an idle log do, many times a second) is answered without
//! looking.
//!
//! A tail may lie behind the last row (rows expire, views are older) but never before it: it is
//! raised before the commit that needs it becomes visible, and only the commit thread writes here.

use super::RowIterator;
use super::key;
use super::read::{self, Source};
use crate::error::Result;
use crate::faults::Faults;
use crate::mutation::PartitionKey;
use crate::schema::{Catalog, Partitioner, Table};
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

/// A log with more partitions is not followed: it is no log any more.
const PARTITIONS_MAX: usize = 4096;

/// The encoded clustering key of the last row, by partition prefix. A partition that is not there
/// is empty.
type Ends = HashMap<Vec<u8>, Vec<u8>>;

/// The ends of all logs, by storage id.
#[derive(Default)]
pub(super) struct Tails(RwLock<HashMap<u32, Ends>>);

/// Whether the ends of this table's partitions are of interest.
pub(super) fn is_followed(table: &Table) -> bool {
    table.partitioner == Partitioner::Cdc && !table.is_virtual
}

/// The rows of a stream without those that a fault hides for now.
pub(super) fn visible<'a>(
    faults: &Faults,
    table: &Table,
    key: &PartitionKey,
    rows: RowIterator<'a>,
) -> RowIterator<'a> {
    let stream = key.components.first().filter(|_| is_followed(table));
    match stream.and_then(|stream| faults.hidden().of(table.storage_id, stream)) {
        None => rows,
        Some(unseen) => Box::new(rows.filter(move |row| match row {
            Ok(row) => !row.clustering.first().is_some_and(|time| unseen.hides(time)),
            Err(_) => true,
        })),
    }
}

impl Tails {
    /// Begins with the logs that are new in the schema, forgets those that are gone.
    pub(super) fn follow(&self, source: &impl Source, catalog: &Catalog) -> Result<()> {
        let tables = catalog.keyspaces.values().flat_map(|keyspace| keyspace.tables.values());
        let followed: Vec<_> = tables.filter(|table| is_followed(table)).collect();
        let mut ends = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ends.retain(|id, _| followed.iter().any(|table| table.storage_id == *id));
        for table in followed {
            if !ends.contains_key(&table.storage_id)
                && let Some(found) = find(source, table)?
            {
                ends.insert(table.storage_id, found);
            }
        }
        Ok(())
    }

    /// A row was written.
    pub(super) fn raise(&self, storage_id: u32, prefix: &[u8], clustering: &[u8]) {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(ends) = tables.get_mut(&storage_id) else { return };
        if let Some(end) = ends.get_mut(prefix) {
            if end.as_slice() < clustering {
                *end = clustering.to_vec();
            }
        } else if ends.len() < PARTITIONS_MAX {
            ends.insert(prefix.to_vec(), clustering.to_vec());
        } else {
            tables.remove(&storage_id);
        }
    }

    /// Whether the partition certainly has no row at or behind `start`.
    pub(super) fn end_before(&self, storage_id: u32, prefix: &[u8], start: &[u8]) -> bool {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(ends) = tables.get(&storage_id) else { return false };
        ends.get(prefix).is_none_or(|end| end.as_slice() < start)
    }
}

fn find(source: &impl Source, table: &Table) -> Result<Option<Ends>> {
    let mut ends = Ends::new();
    for partition in read::partitions(source, table, &Bound::Unbounded, &Bound::Unbounded) {
        if ends.len() == PARTITIONS_MAX {
            return Ok(None);
        }
        let prefix = key::partition_prefix(table.storage_id, &partition?);
        let rows = key::row_range(&prefix, &[], None);
        if let Some(last) = source.range(&rows, true).next() {
            let (key, _) = last?;
            let clustering = key::clustering_part(&key, &prefix).to_vec();
            ends.insert(prefix, clustering);
        }
    }
    Ok(Some(ends))
}
