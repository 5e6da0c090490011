//! Which part of the ring is verified.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use projection::Table;
use scylla::routing::partitioner::{Murmur3Partitioner, Partitioner};
use uuid::Uuid;

/// Some slots of all.
pub(super) struct Place {
    pub(super) slots: BTreeSet<u32>,
    pub(super) count: u32,
}

impl Place {
    /// Whether the aggregate belongs to one of the slots.
    pub(super) fn has(&self, aggregate_id: Uuid) -> bool {
        let token = Murmur3Partitioner.hash_one(aggregate_id.as_bytes()).value();
        self.slots.contains(&leases::slot_of(token, self.count))
    }

    /// The tokens of each slot.
    pub(super) fn ranges(&self) -> Vec<(u32, RangeInclusive<i64>)> {
        self.slots.iter().map(|slot| (*slot, leases::slot_range(*slot, self.count))).collect()
    }

    /// Where a table's rows of the slots may be: only where it has the aggregate as its partition key
    /// does it follow the slots.
    pub(super) fn ranges_of(&self, table: &Table) -> Vec<RangeInclusive<i64>> {
        if table.partition == [table.aggregate] {
            self.ranges().into_iter().map(|(_, range)| range).collect()
        } else {
            vec![i64::MIN..=i64::MAX]
        }
    }
}
