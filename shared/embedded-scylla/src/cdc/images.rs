//! Images: a group's rows as they were before and are after it.

use super::changes::{Entry, Group, Place, operation};
use crate::error::Result;
use crate::mutation::{Cell, Mutation, PartitionKey, RowChange, Tombstone};
use crate::schema::{CdcOptions, Column, ColumnId, ColumnKind, Preimage, Table};
use crate::storage::ranges::Edge;
use crate::storage::{ReadRows, WriteContext, key};
use bytes::Bytes;
use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};

/// The columns of a row (or of the static row) that a group touches; all for a deleted row.
enum Touched {
    Some(BTreeSet<ColumnId>),
    All,
}

/// The state of the rows that one partition's change touches, as it proceeds from group to group.
pub(super) struct Images<'a> {
    mutation: &'a Mutation,
    preimage: Preimage,
    postimage: bool,
    /// `None` until looked at.
    statics: Option<RowChange>,
    rows: BTreeMap<usize, RowChange>,
}

impl<'a> Images<'a> {
    pub(super) fn new(mutation: &'a Mutation) -> Self {
        let off = (Preimage::Off, false);
        let options = |cdc: &CdcOptions| (cdc.preimage, cdc.postimage);
        let (preimage, postimage) = mutation.table.cdc.as_ref().map_or(off, options);
        Self { mutation, preimage, postimage, statics: None, rows: BTreeMap::new() }
    }

    /// The group's log rows: preimages, changes, postimages.
    pub(super) fn around(
        &mut self,
        context: &WriteContext<'_>,
        group: &Group,
        is_last: bool,
    ) -> Result<Vec<Entry>> {
        if self.preimage == Preimage::Off && !self.postimage {
            return Ok(group.entries.clone());
        }
        let (statics, rows) = touched(group);
        let mut entries = Vec::new();
        if self.preimage != Preimage::Off {
            if let Some(touched) = &statics {
                let before = self.static_row(context)?;
                if !before.cells.is_empty() {
                    entries.push(self.before(Place::Static, &before, touched));
                }
            }
            for (index, touched) in &rows {
                let before = self.row(context, *index)?;
                if before.exists() {
                    entries.push(self.before(Place::Row(*index), &before, touched));
                }
            }
        }
        entries.extend(group.entries.iter().cloned());
        if self.postimage || !is_last {
            self.proceed(context, group)?;
        }
        if self.postimage {
            if statics.is_some() {
                let after = self.static_row(context)?;
                entries.push(self.after(Place::Static, &after));
            }
            for index in rows.into_keys() {
                if !self.deletes(group, index) {
                    let after = self.row(context, index)?;
                    entries.push(self.after(Place::Row(index), &after));
                }
            }
        }
        Ok(entries)
    }

    /// The live part of a row.
    fn row(&mut self, context: &WriteContext<'_>, index: usize) -> Result<RowChange> {
        let mut row = self.stored(context, index)?.clone();
        row.drop_dead(context.now_seconds());
        Ok(row)
    }

    /// The live part of the static row.
    fn static_row(&mut self, context: &WriteContext<'_>) -> Result<RowChange> {
        let mut row = self.stored_statics(context)?.clone();
        row.drop_dead(context.now_seconds());
        Ok(row)
    }

    fn stored(&mut self, context: &WriteContext<'_>, index: usize) -> Result<&mut RowChange> {
        let Mutation { table, key, rows, .. } = self.mutation;
        Ok(match self.rows.entry(index) {
            MapEntry::Occupied(entry) => entry.into_mut(),
            MapEntry::Vacant(entry) => {
                entry.insert(context.stored_row(table, key, &rows[index].0)?)
            }
        })
    }

    fn stored_statics(&mut self, context: &WriteContext<'_>) -> Result<&mut RowChange> {
        let Mutation { table, key, .. } = self.mutation;
        match &mut self.statics {
            Some(statics) => Ok(statics),
            empty => Ok(empty.insert(stored_statics(context, table, key)?)),
        }
    }

    /// Merges the group's changes into the state.
    fn proceed(&mut self, context: &WriteContext<'_>, group: &Group) -> Result<()> {
        let mutation = self.mutation;
        let whole = mutation.tombstone.filter(|tombstone| tombstone.timestamp == group.timestamp);
        for (index, (clustering, change)) in mutation.rows.iter().enumerate() {
            let mut part = with_timestamp(change, group.timestamp);
            let hiding = [whole, hiding(group, &mutation.table, clustering)];
            hiding.into_iter().flatten().for_each(|tombstone| part.set_tombstone(tombstone));
            let row = self.stored(context, index)?;
            row.merge(&part);
            row.drop_hidden(None);
        }
        let cells = cells_with_timestamp(&mutation.statics, group.timestamp);
        let part = RowChange { tombstone: whole, cells, ..RowChange::default() };
        let statics = self.stored_statics(context)?;
        statics.merge(&part);
        statics.drop_hidden(None);
        Ok(())
    }

    /// Whether the group deletes this row, whatever else it does to it.
    fn deletes(&self, group: &Group, index: usize) -> bool {
        let (clustering, _) = &self.mutation.rows[index];
        hiding(group, &self.mutation.table, clustering).is_some()
            || group.entries.iter().any(|entry| match entry.operation {
                operation::ROW_DELETE => entry.place == Place::Row(index),
                operation::PARTITION_DELETE => true,
                _ => false,
            })
    }

    /// A preimage: a null column is marked as deleted, to tell it from one that is left out.
    fn before(&self, place: Place, row: &RowChange, touched: &Touched) -> Entry {
        let cells = self.columns(&place).filter_map(|column| {
            let wanted = match touched {
                Touched::All => true,
                Touched::Some(_) if self.preimage == Preimage::Full => true,
                Touched::Some(columns) => columns.contains(&column.id),
            };
            wanted.then(|| (column.id, value(row, column)))
        });
        let cells = cells.collect();
        Entry { place, operation: operation::PREIMAGE, ttl: 0, cells }
    }

    /// A postimage: all columns, nulls left out.
    fn after(&self, place: Place, row: &RowChange) -> Entry {
        let cells = self
            .columns(&place)
            .filter_map(|column| Some((column.id, Some(value(row, column)?))))
            .collect();
        Entry { place, operation: operation::POSTIMAGE, ttl: 0, cells }
    }

    fn columns(&self, place: &Place) -> impl Iterator<Item = &'a Column> + use<'a> {
        let kind = match place {
            Place::Static => ColumnKind::Static,
            _ => ColumnKind::Regular,
        };
        self.mutation.table.columns.iter().filter(move |column| column.kind == kind)
    }
}

fn value(row: &RowChange, column: &Column) -> Option<Bytes> {
    row.cells.get(&column.id).and_then(|cell| cell.value.clone())
}

/// What a group touches: of the static row, and of the rows.
fn touched(group: &Group) -> (Option<Touched>, BTreeMap<usize, Touched>) {
    let mut statics = None;
    let mut rows = BTreeMap::new();
    for entry in &group.entries {
        let slot = match entry.place {
            Place::Static => statics.get_or_insert(Touched::Some(BTreeSet::new())),
            Place::Row(index) => {
                rows.entry(index).or_insert_with(|| Touched::Some(BTreeSet::new()))
            }
            Place::Bound(_) | Place::Partition => continue,
        };
        match slot {
            _ if entry.operation == operation::ROW_DELETE => *slot = Touched::All,
            Touched::Some(columns) => columns.extend(entry.cells.iter().map(|(id, _)| *id)),
            Touched::All => {}
        }
    }
    (statics, rows)
}

/// What a range of the group hides a row with.
fn hiding(group: &Group, table: &Table, clustering: &[Bytes]) -> Option<Tombstone> {
    if group.ranges.is_empty() {
        return None;
    }
    let encoded = key::encoded_clustering(table, clustering);
    group.ranges.at(|position| match &position.edge {
        Edge::At(edge) => encoded < *edge,
        Edge::Open => true,
    })
}

fn with_timestamp(change: &RowChange, timestamp: i64) -> RowChange {
    RowChange {
        marker: change.marker.filter(|marker| marker.timestamp == timestamp),
        tombstone: change.tombstone.filter(|tombstone| tombstone.timestamp == timestamp),
        cells: cells_with_timestamp(&change.cells, timestamp),
    }
}

fn cells_with_timestamp(
    cells: &BTreeMap<ColumnId, Cell>,
    timestamp: i64,
) -> BTreeMap<ColumnId, Cell> {
    let same = cells.iter().filter(|(_, cell)| cell.timestamp == timestamp);
    same.map(|(column, cell)| (*column, cell.clone())).collect()
}

fn stored_statics(
    context: &WriteContext<'_>,
    table: &Table,
    key: &PartitionKey,
) -> Result<RowChange> {
    let (tombstone, cells) = context.stored_statics(table, key)?;
    let mut row = RowChange { marker: None, tombstone, cells };
    row.drop_hidden(None);
    Ok(row)
}
