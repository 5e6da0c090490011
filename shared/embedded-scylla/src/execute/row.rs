//! One row of a table with its partition, as filters, conditions and selections look at it.

use crate::mutation::{Cell, PartitionKey, Row};
use crate::plan::comparison::ColumnRef;
use crate::schema::ColumnId;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Live static cells.
pub(crate) type Statics = BTreeMap<ColumnId, Cell>;

/// A row, or only the static part of a partition.
#[derive(Clone, Copy)]
pub(crate) struct RowView<'a> {
    /// The partition.
    pub(crate) key: &'a PartitionKey,
    /// Its static cells, where they are needed.
    pub(crate) statics: &'a Statics,
    /// `None`: the partition has no row here, only static cells.
    pub(crate) row: Option<&'a Row>,
}

impl<'a> RowView<'a> {
    /// A column's value.
    pub(crate) fn value(&self, column: ColumnRef) -> Option<&'a Bytes> {
        match column {
            ColumnRef::Partition(at) => self.key.components.get(at),
            ColumnRef::Clustering(at) => self.row?.clustering.get(at),
            ColumnRef::Static(_) | ColumnRef::Regular(_) => self.cell(column)?.value.as_ref(),
        }
    }

    /// A column's cell; key columns have none.
    pub(crate) fn cell(&self, column: ColumnRef) -> Option<&'a Cell> {
        match column {
            ColumnRef::Static(id) => self.statics.get(&id),
            ColumnRef::Regular(id) => self.row?.cells.get(&id),
            ColumnRef::Partition(_) | ColumnRef::Clustering(_) => None,
        }
    }
}
