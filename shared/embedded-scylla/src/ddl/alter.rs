//! ALTER TABLE.

use super::options::TableOptions;
use super::table::{attach_log, column_type, is_attached_log, other_column, sort};
use super::{Editor, keyspace_of};
use crate::ast::{self, ColumnDefinition, TableName};
use crate::error::{CqlError, Result};
use crate::schema::{ColumnId, ColumnKind, Partitioner, Table};

pub(super) fn alter(editor: &mut Editor, name: &TableName, change: &ast::AlterTable) -> Result<()> {
    let mut table = Table::clone(&*editor.find(name)?);
    let is_log = is_attached_log(editor, &table);
    if is_log && !matches!(change, ast::AlterTable::With(_)) {
        return Err(CqlError::invalid(
            "You cannot modify the set of columns of a CDC log table directly. Modify the base table instead.",
        ));
    }
    match change {
        ast::AlterTable::Add(definitions) => add(&mut table, definitions)?,
        ast::AlterTable::Drop(names) => {
            names.iter().try_for_each(|name| drop(&mut table, name))?;
        }
        ast::AlterTable::Rename(renames) => {
            renames.iter().try_for_each(|(from, to)| rename(&mut table, from, to))?;
        }
        ast::AlterTable::Type { column, .. } => {
            return Err(CqlError::invalid(format!(
                "Altering the type of column {column} is not supported"
            )));
        }
        ast::AlterTable::With(properties) => {
            let options = TableOptions::read(properties)?;
            if options.id.is_some() {
                return Err(CqlError::config("Cannot alter table id."));
            }
            if let Some(cdc) = options.cdc {
                if table.partitioner == Partitioner::Cdc && cdc.enabled {
                    return Err(CqlError::invalid(format!(
                        "Cannot enable CDC on the CDC log table {}.{}",
                        table.keyspace, table.name
                    )));
                }
                table.cdc = Some(cdc);
            }
            if let Some(ttl) = options.default_time_to_live {
                table.default_time_to_live = ttl;
            }
            table.options.extend(options.others);
        }
    }
    editor.changed("UPDATED", keyspace_of(name)?, Some(&table.name));
    attach_log(editor, &table)?;
    editor.put(table);
    Ok(())
}

fn add(table: &mut Table, definitions: &[ColumnDefinition]) -> Result<()> {
    for definition in definitions {
        let name = &definition.name;
        if table.column(name).is_some() {
            return Err(CqlError::invalid(format!(
                "Invalid column name {name} because it conflicts with an existing column"
            )));
        }
        if definition.is_static && table.clustering_len == 0 {
            return Err(CqlError::invalid(
                "Static columns are only useful (and thus allowed) if the table has at least one clustering column",
            ));
        }
        let mut column = other_column(definition, column_type(&table.keyspace, definition)?);
        column.id = table.next_column_id;
        // Ids are never given twice, so that a column that was dropped and added again does not
        // show its old values.
        table.next_column_id = column
            .id
            .checked_add(1)
            .filter(|next| *next < ColumnId::MAX)
            .ok_or_else(|| CqlError::invalid("Too many columns were added to this table"))?;
        table.columns.push(column);
    }
    sort(&mut table.columns);
    Ok(())
}

fn drop(table: &mut Table, name: &str) -> Result<()> {
    let Some(column) = table.column(name) else {
        return Err(CqlError::invalid(format!(
            "Column {name} was not found in table {}",
            table.name
        )));
    };
    if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
        return Err(CqlError::invalid(format!("Cannot drop PRIMARY KEY part {name}")));
    }
    table.columns.retain(|column| column.name != name);
    Ok(())
}

fn rename(table: &mut Table, from: &str, to: &str) -> Result<()> {
    if table.column(to).is_some() {
        return Err(CqlError::invalid(format!(
            "Cannot rename column {from} to {to} in table {}; another column of that name already exist",
            table.name
        )));
    }
    let found = table.columns.iter_mut().find(|column| column.name == from);
    let Some(column) = found else {
        return Err(CqlError::invalid(format!(
            "Cannot rename unknown column {from} in table {}",
            table.name
        )));
    };
    if !matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
        return Err(CqlError::invalid(format!("Cannot rename non PRIMARY KEY part {from}")));
    }
    to.clone_into(&mut column.name);
    Ok(())
}
