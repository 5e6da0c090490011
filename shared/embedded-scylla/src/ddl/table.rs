//! Tables, and the CDC logs that come and go with them.

use super::options::TableOptions;
use super::{Editor, NAME_MAX, is_name, keyspace_of, refuse_system, tablets};
use crate::ast::{ColumnDefinition, CreateTable, TableName};
use crate::cdc;
use crate::error::{CqlError, ErrorKind, Result};
use crate::schema::{Column, ColumnId, ColumnKind, CqlType, Partitioner, Table};
use std::collections::HashSet;
use uuid::Uuid;

/// The most columns that CREATE TABLE takes.
const COLUMNS_MAX: usize = 4096;

/// The longest name, and the longest type, of a column.
const COLUMN_BYTES_MAX: usize = 16_384;

pub(super) fn create(editor: &mut Editor, create: &CreateTable) -> Result<()> {
    let keyspace = keyspace_of(&create.table)?;
    let name = &create.table.name;
    check_name(name)?;
    refuse_system(keyspace)?;
    let Some(existing) = editor.keyspace(keyspace) else {
        return Err(CqlError::invalid(format!(
            "Cannot create a table in a non-existent keyspace: {keyspace}"
        )));
    };
    let exists = existing.tables.contains_key(name);
    let columns = columns(keyspace, create)?;
    let options = TableOptions::read(&create.properties)?;
    if exists {
        if create.if_not_exists {
            return Ok(());
        }
        let kind = ErrorKind::AlreadyExists { keyspace: keyspace.to_owned(), table: name.clone() };
        return Err(CqlError::new(
            kind,
            format!("Cannot add already existing table \"{name}\" to keyspace \"{keyspace}\""),
        ));
    }
    if let Some(id) = options.id
        && editor.tables().any(|table| table.id == id)
    {
        return Err(CqlError::invalid(format!("Table with ID {id} already exists")));
    }
    let count = |kind: ColumnKind| columns.iter().filter(|column| column.kind == kind).count();
    let table = Table {
        id: options.id.unwrap_or_else(Uuid::new_v4),
        storage_id: editor.next_storage_id(),
        keyspace: keyspace.to_owned(),
        name: name.clone(),
        partition_key_len: count(ColumnKind::PartitionKey),
        clustering_len: count(ColumnKind::Clustering),
        next_column_id: columns.len() as ColumnId,
        columns,
        partitioner: Partitioner::Murmur3,
        cdc: options.cdc,
        default_time_to_live: options.default_time_to_live.unwrap_or(0),
        options: options.others,
        is_virtual: false,
    };
    editor.changed("CREATED", keyspace, Some(name));
    attach_log(editor, &table)?;
    editor.put(table);
    Ok(())
}

pub(super) fn drop(editor: &mut Editor, name: &TableName, if_exists: bool) -> Result<()> {
    let keyspace = keyspace_of(name)?;
    refuse_system(keyspace)?;
    let Some(table) = editor.catalog.table(keyspace, &name.name).cloned() else {
        if if_exists {
            return Ok(());
        }
        return Err(CqlError::invalid(format!(
            "Cannot drop non existing table '{}' in keyspace '{keyspace}'.",
            name.name
        )));
    };
    if is_attached_log(editor, &table) {
        return Err(CqlError::new(
            ErrorKind::Unauthorized,
            format!("Cannot DROP cdc log table {}", table.name),
        ));
    }
    editor.remove(keyspace, &table.name);
    editor.changed("DROPPED", keyspace, Some(&table.name));
    if table.cdc.as_ref().is_some_and(|cdc| cdc.enabled) {
        let log = cdc::log_name(&table.name);
        editor.remove(keyspace, &log);
        editor.changed("DROPPED", keyspace, Some(&log));
    }
    Ok(())
}

/// The rows go out of sight at once, because the table gets another storage id.
pub(super) fn truncate(editor: &mut Editor, name: &TableName) -> Result<()> {
    let mut table = Table::clone(&*editor.find(name)?);
    editor.dropped.push(table.storage_id);
    table.storage_id = editor.next_storage_id();
    editor.put(table);
    Ok(())
}

/// Creates the log of a table with CDC, attaches it again, or lets it follow its table.
pub(super) fn attach_log(editor: &mut Editor, base: &Table) -> Result<()> {
    if !base.cdc.as_ref().is_some_and(|cdc| cdc.enabled) {
        return Ok(());
    }
    tablets::check_cdc(editor, base)?;
    if base.partitioner == Partitioner::Cdc {
        return Err(CqlError::invalid(format!(
            "Cannot enable CDC on the CDC log table {}.{}",
            base.keyspace, base.name
        )));
    }
    let log = cdc::log_name(&base.name);
    let existing = editor.catalog.table(&base.keyspace, &log).cloned();
    if existing.as_ref().is_some_and(|table| table.partitioner != Partitioner::Cdc) {
        return Err(CqlError::invalid(format!(
            "Cannot create CDC log table for table {keyspace}.{} because a table of name {keyspace}.{log} already exists",
            base.name,
            keyspace = base.keyspace
        )));
    }
    // A log that stays keeps its storage id.
    let storage_id = match &existing {
        Some(existing) => existing.storage_id,
        None => editor.next_storage_id(),
    };
    let change = if existing.is_some() { "UPDATED" } else { "CREATED" };
    let table = cdc::log_table(base, existing.as_deref(), Uuid::new_v4(), storage_id);
    editor.put(table);
    editor.changed(change, &base.keyspace, Some(&log));
    Ok(())
}

/// Whether a table is the log of one whose changes go into it now.
pub(super) fn is_attached_log(editor: &Editor, table: &Table) -> bool {
    let base = table.name.strip_suffix(&cdc::log_name("")).unwrap_or_default();
    table.partitioner == Partitioner::Cdc
        && editor
            .catalog
            .table(&table.keyspace, base)
            .and_then(|base| base.cdc.as_ref())
            .is_some_and(|cdc| cdc.enabled)
}

fn check_name(name: &str) -> Result<()> {
    if !is_name(name) {
        return Err(CqlError::invalid(format!(
            "Invalid table name {name}: only letters, digits and underscores are allowed"
        )));
    }
    // The suffix of a log does not count.
    let counted = name.strip_suffix(&cdc::log_name("")).unwrap_or(name).len();
    if counted > NAME_MAX {
        return Err(CqlError::invalid(format!(
            "Table names shouldn't be more than {NAME_MAX} characters long (got \"{name}\")"
        )));
    }
    Ok(())
}

/// Checks and orders the columns; ids are their places at creation.
fn columns(keyspace: &str, create: &CreateTable) -> Result<Vec<Column>> {
    if create.compact_storage {
        return Err(CqlError::invalid("COMPACT STORAGE is not supported"));
    }
    if create.columns.len() > COLUMNS_MAX {
        return Err(CqlError::invalid(format!("A table may have at most {COLUMNS_MAX} columns")));
    }
    let mut names = HashSet::new();
    for column in &create.columns {
        if !names.insert(&column.name) {
            return Err(CqlError::invalid(format!(
                "Multiple definition of identifier {}",
                column.name
            )));
        }
    }
    let types = create
        .columns
        .iter()
        .map(|column| column_type(keyspace, column))
        .collect::<Result<Vec<_>>>()?;
    let (partition, clustering) = primary_key(create)?;
    let order = clustering_order(create, &clustering)?;
    let mut columns: Vec<Column> = Vec::with_capacity(create.columns.len());
    for (kind, names) in
        [(ColumnKind::PartitionKey, &partition), (ColumnKind::Clustering, &clustering)]
    {
        for (position, name) in names.iter().enumerate() {
            let at = create.columns.iter().position(|column| column.name == *name);
            let Some(at) = at else {
                return Err(CqlError::invalid(format!(
                    "Unknown definition {name} referenced in PRIMARY KEY"
                )));
            };
            let definition = &create.columns[at];
            check_key_column(definition, &types[at], !clustering.is_empty())?;
            if columns.iter().any(|column| column.name == *name) {
                return Err(CqlError::invalid(format!(
                    "Multiple definition of identifier {name} in PRIMARY KEY"
                )));
            }
            let descending = kind == ColumnKind::Clustering && order[position];
            let (name, ty) = (name.clone(), types[at].clone());
            columns.push(Column { id: 0, name, ty, kind, position, descending });
        }
    }
    for (definition, ty) in create.columns.iter().zip(types) {
        if partition.contains(&definition.name) || clustering.contains(&definition.name) {
            continue;
        }
        if definition.is_static && clustering.is_empty() {
            return Err(CqlError::invalid(
                "Static columns are only useful (and thus allowed) if the table has at least one clustering column",
            ));
        }
        columns.push(other_column(definition, ty));
    }
    sort(&mut columns);
    for (id, column) in columns.iter_mut().enumerate() {
        column.id = id as ColumnId;
    }
    Ok(columns)
}

/// A static or regular column, its id still to be given.
pub(super) fn other_column(definition: &ColumnDefinition, ty: CqlType) -> Column {
    let kind = if definition.is_static { ColumnKind::Static } else { ColumnKind::Regular };
    Column { id: 0, name: definition.name.clone(), ty, kind, position: 0, descending: false }
}

/// Schema order: partition key, clustering, static, regular; the last two by name.
pub(super) fn sort(columns: &mut [Column]) {
    columns.sort_by(|a, b| {
        let rank = |column: &Column| match column.kind {
            ColumnKind::PartitionKey => (0, column.position, String::new()),
            ColumnKind::Clustering => (1, column.position, String::new()),
            ColumnKind::Static => (2, 0, column.name.clone()),
            ColumnKind::Regular => (3, 0, column.name.clone()),
        };
        rank(a).cmp(&rank(b))
    });
}

/// The type of a column; what the engine cannot store is refused here.
pub(super) fn column_type(keyspace: &str, definition: &ColumnDefinition) -> Result<CqlType> {
    if definition.name.len() > COLUMN_BYTES_MAX || definition.ty.len() > COLUMN_BYTES_MAX {
        return Err(CqlError::invalid(format!(
            "Names and types of columns may have at most {COLUMN_BYTES_MAX} bytes"
        )));
    }
    let ty = CqlType::parse(&definition.ty, keyspace)?;
    if ty == CqlType::Counter {
        return Err(CqlError::invalid(format!(
            "Counters are not supported: column {}",
            definition.name
        )));
    }
    if ty.is_multi_cell() {
        return Err(CqlError::invalid(format!(
            "Non-frozen collections are not supported: write frozen<{ty}> for column {}",
            definition.name
        )));
    }
    Ok(ty)
}

fn primary_key(create: &CreateTable) -> Result<(Vec<String>, Vec<String>)> {
    let inline: Vec<&ColumnDefinition> =
        create.columns.iter().filter(|column| column.is_primary_key).collect();
    match (inline.len() + create.primary_keys.len(), inline.first(), create.primary_keys.first()) {
        (1, Some(column), _) => Ok((vec![column.name.clone()], Vec::new())),
        (1, None, Some(key)) => Ok(key.clone()),
        (0, ..) => Err(CqlError::invalid("No PRIMARY KEY specified (exactly one required)")),
        _ => Err(CqlError::invalid("Multiple PRIMARY KEYs specified (exactly one required)")),
    }
}

fn check_key_column(
    definition: &ColumnDefinition,
    ty: &CqlType,
    has_clustering: bool,
) -> Result<()> {
    let name = &definition.name;
    if definition.is_static {
        return Err(CqlError::invalid(if has_clustering {
            format!("Static column {name} cannot be part of the PRIMARY KEY")
        } else {
            "Static columns are only useful (and thus allowed) if the table has at least one clustering column".to_owned()
        }));
    }
    if ty.references_duration() {
        return Err(CqlError::invalid(format!(
            "duration type is not supported for PRIMARY KEY part {name}"
        )));
    }
    Ok(())
}

/// For each clustering column whether it descends.
fn clustering_order(create: &CreateTable, clustering: &[String]) -> Result<Vec<bool>> {
    let given = &create.clustering_order;
    if given.is_empty() {
        return Ok(vec![false; clustering.len()]);
    }
    if given.len() > clustering.len() {
        return Err(CqlError::invalid(
            "Only clustering key columns can be defined in CLUSTERING ORDER directive",
        ));
    }
    for (at, name) in clustering.iter().enumerate() {
        match given.iter().position(|(column, _)| column == name) {
            None => {
                return Err(CqlError::invalid(format!(
                    "Missing CLUSTERING ORDER for column {name}"
                )));
            }
            Some(found) if found != at => {
                return Err(CqlError::invalid(format!(
                    "The order of columns in the CLUSTERING ORDER directive must be the one of the clustering key ({name} must appear before {})",
                    given[at].0
                )));
            }
            Some(_) => {}
        }
    }
    Ok(given.iter().map(|(_, descending)| *descending).collect())
}
