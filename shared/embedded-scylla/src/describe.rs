//! `DESCRIBE`: the schema as the statements that make it.
//!
//! Answers have the columns and the order that ScyllaDB gives them. A keyspace is described with its
//! tables, a table with CDC together with what its log is set to: the log itself comes with the table,
//! so that all statements can be given to another server as they are. There are no types, functions,
//! aggregates, views and indexes here: lists of them are empty, and one by name is not found.
//!
//! | file | subject |
//! | --- | --- |
//! | `statements` | `CREATE KEYSPACE`, `CREATE TABLE`, … as text |

mod statements;
#[cfg(test)]
mod tests;

use crate::ast::{Describe, Described, ElementKind, TableName};
use crate::error::{CqlError, Result};
use crate::protocol::{ColumnSpec, Rows};
use crate::schema::{CqlType, Keyspace, Table};
use crate::system_tables::{self, VirtualReader};
use crate::types::collection::{encode_list, encode_map};
use bytes::Bytes;
use statements::quoted;
use std::sync::Arc;

const PARTITIONER: &str = "org.apache.cassandra.dht.Murmur3Partitioner";
const SNITCH: &str = "org.apache.cassandra.locator.SimpleSnitch";

/// A DESCRIBE for a connection that uses `keyspace`.
#[derive(Debug)]
pub(crate) struct DescribePlan {
    statement: Describe,
    keyspace: Option<String>,
    /// Of the answer.
    pub(crate) columns: Arc<[ColumnSpec]>,
}

impl DescribePlan {
    pub(crate) fn new(statement: Describe, keyspace: Option<&str>) -> Self {
        let keyspace = keyspace.map(str::to_owned);
        let names: &[&str] = match &statement.what {
            Described::Cluster => &["cluster", "partitioner", "snitch"],
            Described::Names(_) => &["keyspace_name", "type", "name"],
            _ => &["keyspace_name", "type", "name", "create_statement"],
        };
        let mut columns: Vec<_> = names.iter().map(|name| column(name, CqlType::Text)).collect();
        if statement.what == Described::Cluster && in_user_keyspace(keyspace.as_deref()) {
            let addresses = CqlType::List(Box::new(CqlType::Text), false);
            let owners = CqlType::Map(Box::new(CqlType::Text), Box::new(addresses), false);
            columns.push(column("range_ownership", owners));
        }
        Self { statement, keyspace, columns: columns.into() }
    }

    /// The answer for the schema and the node as the reader sees them.
    pub(crate) fn run(&self, reader: &VirtualReader) -> Result<Rows> {
        let used = self.keyspace.as_deref();
        let described = match &self.statement.what {
            Described::Cluster => {
                let rows = vec![self.cluster(reader)];
                return Ok(Rows { columns: Arc::clone(&self.columns), rows, paging_state: None });
            }
            Described::Names(kind) => self.names(reader, *kind)?,
            Described::Schema { full } => self.schema(reader, *full),
            Described::Keyspace { name, only } => {
                let keyspace = keyspace(reader, name.as_deref().or(used).ok_or_else(nowhere)?)?;
                let mut all = self.whole(reader, keyspace);
                if *only {
                    all.truncate(1);
                }
                all
            }
            Described::Element(kind, name) => {
                let inside = name.keyspace.as_deref().or(used).ok_or_else(nowhere)?;
                self.element(keyspace(reader, inside)?, *kind, &name.name)?
            }
            Described::Anything(name) => self.anything(reader, name)?,
        };
        let rows = described.iter().map(Description::row).collect();
        Ok(Rows { columns: Arc::clone(&self.columns), rows, paging_state: None })
    }

    /// In a keyspace also which node has which part of the ring: always the only one.
    fn cluster(&self, reader: &VirtualReader) -> Vec<Option<Bytes>> {
        let mut row = vec![text(&reader.node.cluster_name), text(PARTITIONER), text(SNITCH)];
        if in_user_keyspace(self.keyspace.as_deref()) {
            let owner = encode_list(&[reader.node.rpc_address.to_string()]);
            let ranges = reader.node.streams.vnodes().first().tokens.iter();
            let owners: Vec<_> = ranges.map(|end| (end.to_string(), owner.clone())).collect();
            row.push(Some(encode_map(&owners)));
        }
        row
    }

    fn names(&self, reader: &VirtualReader, kind: ElementKind) -> Result<Vec<Description>> {
        let keyspaces = match &self.keyspace {
            Some(name) => vec![keyspace(reader, name)?],
            None => sorted(reader.keyspaces()),
        };
        let of_one = |keyspace: &&Keyspace| match kind {
            ElementKind::Keyspace => vec![Description::name(keyspace, "keyspace", &keyspace.name)],
            ElementKind::Table => {
                let tables = keyspace.tables.keys();
                tables.map(|table| Description::name(keyspace, "table", table)).collect()
            }
            _ => Vec::new(),
        };
        Ok(keyspaces.iter().flat_map(of_one).collect())
    }

    fn schema(&self, reader: &VirtualReader, full: bool) -> Vec<Description> {
        let shown =
            |keyspace: &&Keyspace| full || !system_tables::keyspaces().contains_key(&keyspace.name);
        let keyspaces = sorted(reader.keyspaces().filter(shown));
        keyspaces.into_iter().flat_map(|keyspace| self.whole(reader, keyspace)).collect()
    }

    /// A keyspace and all that is in it. Logs are described with their tables.
    fn whole(&self, reader: &VirtualReader, keyspace: &Keyspace) -> Vec<Description> {
        let create = statements::create_keyspace(keyspace, reader.node.release.has_tablets());
        let mut all = vec![Description::new(keyspace, "keyspace", &keyspace.name, create)];
        let tables = keyspace.tables.values().filter(|table| base_of(keyspace, table).is_none());
        all.extend(tables.flat_map(|table| self.table(keyspace, table)));
        all
    }

    fn table(&self, keyspace: &Keyspace, table: &Table) -> Vec<Description> {
        let create = statements::create_table(table, self.statement.internals);
        if base_of(keyspace, table).is_some() {
            let told = format!(
                "/* Not to be run: a CDC log comes and goes with its base table.\n\n{create}\n*/"
            );
            return vec![Description::new(keyspace, "table", &table.name, told)];
        }
        let mut all = vec![Description::new(keyspace, "table", &table.name, create)];
        let log = keyspace.tables.get(&crate::cdc::log_name(&table.name));
        if let Some(log) = log.filter(|log| base_of(keyspace, log).is_some()) {
            let alter = statements::alter_table(log);
            all.push(Description::new(keyspace, "table", &log.name, alter));
        }
        all
    }

    fn element(
        &self,
        keyspace: &Keyspace,
        kind: ElementKind,
        name: &str,
    ) -> Result<Vec<Description>> {
        let inside = &keyspace.name;
        let what = match kind {
            ElementKind::Table | ElementKind::Keyspace => match keyspace.tables.get(name) {
                Some(table) => return Ok(self.table(keyspace, table)),
                None => "Table",
            },
            ElementKind::Type => "Type",
            ElementKind::Function => "Function",
            ElementKind::Aggregate => "Aggregate",
            ElementKind::View => "Materialized view",
            ElementKind::Index => {
                return Err(CqlError::invalid(format!(
                    "Table for existing index '{name}' not found in '{inside}'"
                )));
            }
        };
        Err(CqlError::invalid(format!("{what} '{name}' not found in keyspace '{inside}'")))
    }

    fn anything(&self, reader: &VirtualReader, name: &TableName) -> Result<Vec<Description>> {
        let TableName { keyspace: inside, name } = name;
        if inside.is_none()
            && let Ok(keyspace) = keyspace(reader, name)
        {
            return Ok(self.whole(reader, keyspace));
        }
        let Some(inside) = inside.as_deref().or(self.keyspace.as_deref()) else {
            return Err(CqlError::invalid(format!("'{name}' not found in keyspaces")));
        };
        let keyspace = keyspace(reader, inside)?;
        let table = keyspace.tables.get(name).map(|table| self.table(keyspace, table));
        table.ok_or_else(|| CqlError::invalid(format!("'{name}' not found in keyspace '{inside}'")))
    }
}

/// One row of an answer.
struct Description {
    keyspace: String,
    kind: &'static str,
    name: String,
    statement: Option<String>,
}

impl Description {
    fn name(keyspace: &Keyspace, kind: &'static str, name: &str) -> Self {
        Self { keyspace: quoted(&keyspace.name), kind, name: quoted(name), statement: None }
    }

    fn new(keyspace: &Keyspace, kind: &'static str, name: &str, statement: String) -> Self {
        Self { statement: Some(statement), ..Self::name(keyspace, kind, name) }
    }

    fn row(&self) -> Vec<Option<Bytes>> {
        let mut row = vec![text(&self.keyspace), text(self.kind), text(&self.name)];
        row.extend(self.statement.as_deref().map(text));
        row
    }
}

/// The table whose changes a log gets, or got.
fn base_of<'a>(keyspace: &'a Keyspace, log: &Table) -> Option<&'a Arc<Table>> {
    let base = log.name.strip_suffix(crate::cdc::LOG_SUFFIX)?;
    let is_log = log.partitioner == crate::schema::Partitioner::Cdc;
    keyspace.tables.get(base).filter(|_| is_log)
}

fn keyspace<'a>(reader: &'a VirtualReader, name: &str) -> Result<&'a Keyspace> {
    let mut keyspaces = reader.keyspaces();
    let found = keyspaces.find(|keyspace| keyspace.name == name);
    found.ok_or_else(|| CqlError::invalid(format!("'{name}' not found in keyspaces")))
}

fn sorted<'a>(keyspaces: impl Iterator<Item = &'a Keyspace>) -> Vec<&'a Keyspace> {
    let mut keyspaces: Vec<_> = keyspaces.collect();
    keyspaces.sort_by(|a, b| a.name.cmp(&b.name));
    keyspaces
}

fn in_user_keyspace(keyspace: Option<&str>) -> bool {
    keyspace.is_some_and(|name| !system_tables::keyspaces().contains_key(name))
}

fn nowhere() -> CqlError {
    CqlError::invalid("No keyspace specified and no current keyspace")
}

fn column(name: &str, ty: CqlType) -> ColumnSpec {
    ColumnSpec { keyspace: "system".into(), table: "describe".into(), name: name.into(), ty }
}

fn text(value: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(value.as_bytes()))
}
