//! CREATE, ALTER, DROP and TRUNCATE, as jobs on the commit thread: each takes the catalog as it
//! is then and leaves a new one.
//!
//! | file | subject |
//! | --- | --- |
//! | `keyspace` | keyspaces and their replication |
//! | `table`, `alter` | tables, with the logs that belong to them |
//! | `tablets` | which tables have streams of their own |
//! | `options`, `cdc_options` | `WITH …` |

mod alter;
mod cdc_options;
mod keyspace;
pub(crate) mod options;
mod table;
mod tablets;

pub(crate) use keyspace::DATA_CENTER;

use crate::ast::{Statement, TableName};
use crate::error::{CqlError, ErrorKind, Result};
use crate::protocol::SchemaChange;
use crate::release::Release;
use crate::schema::{Catalog, Keyspace, Table};
use crate::storage::{ReadRows, WriteContext};
use crate::system_tables;
use std::sync::Arc;
use uuid::Uuid;

/// The longest name of a keyspace or table.
const NAME_MAX: usize = 192;

/// What the server makes of keyspaces and tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) release: Release,
    /// Whether new keyspaces must be on tablets if they can.
    pub(crate) tablets_enforced: bool,
    /// How many tablets a table gets whose keyspace does not say it.
    pub(crate) tablets_per_table: u32,
}

/// Runs one statement. What changed, the statement's own object first; nothing changed: nothing.
pub(crate) fn run(
    context: &mut WriteContext<'_>,
    statement: &Statement,
    rules: Rules,
) -> Result<Vec<SchemaChange>> {
    let mut editor = Editor {
        catalog: Catalog::clone(context.catalog()),
        rules,
        changes: Vec::new(),
        dropped: Vec::new(),
        touched: false,
    };
    match statement {
        Statement::CreateKeyspace { name, if_not_exists, properties } => {
            keyspace::create(&mut editor, name, *if_not_exists, properties)?;
        }
        Statement::AlterKeyspace { name, properties } => {
            keyspace::alter(&mut editor, name, properties)?;
        }
        Statement::DropKeyspace { name, if_exists } => {
            keyspace::drop(&mut editor, name, *if_exists)?;
        }
        Statement::CreateTable(create) => table::create(&mut editor, create)?,
        Statement::AlterTable { table, change } => alter::alter(&mut editor, table, change)?,
        Statement::DropTable { table, if_exists } => {
            table::drop(&mut editor, table, *if_exists)?;
        }
        Statement::Truncate { table } => table::truncate(&mut editor, table)?,
        other => return Err(CqlError::server(format!("not a schema change: {other:?}"))),
    }
    if editor.touched {
        if !editor.changes.is_empty() {
            editor.catalog.version = Uuid::new_v4();
        }
        tablets::follow(context, &editor)?;
        context.set_catalog(editor.catalog);
        editor.dropped.into_iter().for_each(|id| context.drop_storage(id));
    }
    Ok(editor.changes)
}

/// A catalog that is being changed.
struct Editor {
    catalog: Catalog,
    rules: Rules,
    changes: Vec<SchemaChange>,
    dropped: Vec<u32>,
    touched: bool,
}

impl Editor {
    /// A keyspace that may be changed.
    fn keyspace(&mut self, name: &str) -> Option<&mut Keyspace> {
        self.catalog.keyspaces.get_mut(name)
    }

    /// The table that a statement means, and its keyspace's name.
    fn find(&self, name: &TableName) -> Result<Arc<Table>> {
        let keyspace = keyspace_of(name)?;
        refuse_system(keyspace)?;
        crate::plan::find_table(&self.catalog, None, name)
    }

    /// All tables of all keyspaces.
    fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.catalog.keyspaces.values().flat_map(|keyspace| keyspace.tables.values())
    }

    /// A storage id that was never used.
    fn next_storage_id(&mut self) -> u32 {
        let id = self.catalog.next_storage_id;
        self.catalog.next_storage_id += 1;
        id
    }

    /// Puts a table in place.
    fn put(&mut self, table: Table) {
        self.touched = true;
        if let Some(keyspace) = self.catalog.keyspaces.get_mut(&table.keyspace) {
            keyspace.tables.insert(table.name.clone(), Arc::new(table));
        }
    }

    /// Takes a table out, with its rows.
    fn remove(&mut self, keyspace: &str, table: &str) {
        self.touched = true;
        let keyspace = self.catalog.keyspaces.get_mut(keyspace);
        if let Some(table) = keyspace.and_then(|keyspace| keyspace.tables.remove(table)) {
            self.dropped.push(table.storage_id);
        }
    }

    fn changed(&mut self, change: &'static str, keyspace: &str, table: Option<&str>) {
        self.touched = true;
        self.changes.push(SchemaChange {
            change,
            keyspace: keyspace.to_owned(),
            table: table.map(str::to_owned),
        });
    }
}

/// The keyspace of a table name; the planner has filled in the connection's.
fn keyspace_of(name: &TableName) -> Result<&str> {
    name.keyspace.as_deref().ok_or_else(|| CqlError::invalid("No keyspace has been specified"))
}

/// System keyspaces are not for clients to change.
fn refuse_system(keyspace: &str) -> Result<()> {
    if system_tables::keyspaces().contains_key(keyspace) {
        return Err(CqlError::new(
            ErrorKind::Unauthorized,
            format!("{keyspace} keyspace is not user-modifiable."),
        ));
    }
    Ok(())
}

/// Letters, digits and underscores, not too many.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
