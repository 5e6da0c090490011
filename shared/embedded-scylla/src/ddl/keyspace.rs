//! Keyspaces. One node satisfies every replication factor; it is kept for clients to read.

use super::tablets::{self, Clause};
use super::{Editor, NAME_MAX, is_name, refuse_system};
use crate::ast::Property;
use crate::error::{CqlError, ErrorKind, Result};
use crate::release::Release;
use crate::schema::Keyspace;
use std::collections::BTreeMap;

const PACKAGE: &str = "org.apache.cassandra.locator.";
pub(super) const NETWORK_TOPOLOGY: &str = "NetworkTopologyStrategy";
const STRATEGIES: [&str; 4] =
    ["SimpleStrategy", NETWORK_TOPOLOGY, "LocalStrategy", "EverywhereStrategy"];

/// The data centre that `NetworkTopologyStrategy` may name.
pub(crate) const DATA_CENTER: &str = "datacenter1";

pub(super) fn create(
    editor: &mut Editor,
    name: &str,
    if_not_exists: bool,
    properties: &[(String, Property)],
) -> Result<()> {
    if !is_name(name) {
        return Err(CqlError::invalid(format!("\"{name}\" is not a valid keyspace name")));
    }
    if name.len() > NAME_MAX {
        return Err(CqlError::invalid(format!(
            "Keyspace names shouldn't be more than {NAME_MAX} characters long (got \"{name}\")"
        )));
    }
    refuse_system(name)?;
    let properties = Properties::read(name, properties, editor.rules.release)?;
    if editor.keyspace(name).is_some() {
        if if_not_exists {
            return Ok(());
        }
        let kind = ErrorKind::AlreadyExists { keyspace: name.to_owned(), table: String::new() };
        return Err(CqlError::new(kind, format!("Cannot add existing keyspace \"{name}\"")));
    }
    let Some(replication) = properties.replication else {
        return Err(CqlError::config("Missing mandatory replication strategy class"));
    };
    let tablets = tablets::of_new_keyspace(editor, name, &replication, properties.tablets)?;
    let keyspace = Keyspace {
        name: name.to_owned(),
        tablets,
        replication,
        durable_writes: properties.durable_writes.unwrap_or(true),
        tables: BTreeMap::new(),
    };
    editor.catalog.keyspaces.insert(name.to_owned(), keyspace);
    editor.changed("CREATED", name, None);
    Ok(())
}

pub(super) fn alter(
    editor: &mut Editor,
    name: &str,
    properties: &[(String, Property)],
) -> Result<()> {
    refuse_system(name)?;
    let properties = Properties::read(name, properties, editor.rules.release)?;
    let Some(keyspace) = editor.keyspace(name) else {
        return Err(CqlError::invalid(format!("Unknown keyspace {name}")));
    };
    tablets::check_altered(keyspace, properties.tablets)?;
    if let Some(replication) = properties.replication {
        keyspace.replication = replication;
    }
    if let Some(durable_writes) = properties.durable_writes {
        keyspace.durable_writes = durable_writes;
    }
    editor.changed("UPDATED", name, None);
    Ok(())
}

pub(super) fn drop(editor: &mut Editor, name: &str, if_exists: bool) -> Result<()> {
    refuse_system(name)?;
    let Some(keyspace) = editor.catalog.keyspaces.remove(name) else {
        if if_exists {
            return Ok(());
        }
        return Err(CqlError::config(format!("Cannot drop non existing keyspace '{name}'.")));
    };
    editor.dropped.extend(keyspace.tables.values().map(|table| table.storage_id));
    editor.changed("DROPPED", name, None);
    Ok(())
}

#[derive(Default)]
struct Properties {
    replication: Option<BTreeMap<String, String>>,
    durable_writes: Option<bool>,
    tablets: Option<Clause>,
}

impl Properties {
    fn read(keyspace: &str, given: &[(String, Property)], release: Release) -> Result<Self> {
        let mut properties = Self::default();
        for (name, value) in given {
            match (name.to_ascii_lowercase().as_str(), value) {
                ("replication", Property::Map(options)) => {
                    properties.replication = Some(replication(keyspace, options)?);
                }
                ("durable_writes", Property::Simple(value)) => {
                    properties.durable_writes = Some(boolean("durable_writes", value)?);
                }
                ("tablets", Property::Map(options)) if release.knows_clause() => {
                    properties.tablets = tablets::clause(options)?;
                }
                ("storage", Property::Map(_)) => {}
                ("tablets", _) if !release.knows_clause() => return Err(unknown(name)),
                ("replication" | "durable_writes" | "tablets" | "storage", _) => {
                    return Err(CqlError::new(
                        ErrorKind::Syntax,
                        format!("Invalid value for property '{name}'"),
                    ));
                }
                _ => return Err(unknown(name)),
            }
        }
        Ok(properties)
    }
}

fn unknown(property: &str) -> CqlError {
    CqlError::new(ErrorKind::Syntax, format!("Unknown property '{property}'"))
}

/// `true` and `false`, as properties have them.
pub(super) fn boolean(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(CqlError::new(
            ErrorKind::Syntax,
            format!("Invalid boolean value {value} for '{name}'"),
        )),
    }
}

fn replication(keyspace: &str, options: &[(String, String)]) -> Result<BTreeMap<String, String>> {
    let mut options: BTreeMap<String, String> = options.iter().cloned().collect();
    let Some(class) = options.remove("class") else {
        return Err(CqlError::config("Missing mandatory replication strategy class"));
    };
    let class = class.strip_prefix(PACKAGE).unwrap_or(&class).to_owned();
    if !STRATEGIES.contains(&class.as_str()) {
        return Err(CqlError::config(format!("unable to find class '{class}'")));
    }
    let full_name = format!("{PACKAGE}{class}");
    for factor in options.values().filter(|_| class != "LocalStrategy") {
        if factor.parse::<u16>().is_err() {
            return Err(CqlError::config(format!(
                "Replication factor must be numeric and non-negative, found '{factor}'"
            )));
        }
    }
    if class == NETWORK_TOPOLOGY {
        if let Some(factor) = options.remove("replication_factor") {
            options.entry(DATA_CENTER.to_owned()).or_insert(factor);
        }
        if let Some(unknown) = options.keys().find(|name| *name != DATA_CENTER) {
            return Err(CqlError::config(format!(
                "Unrecognized strategy option {{{unknown}}} passed to {full_name} for keyspace {keyspace}"
            )));
        }
    }
    if class == "SimpleStrategy" {
        if !options.contains_key("replication_factor") {
            return Err(CqlError::config(
                "SimpleStrategy requires a replication_factor strategy option.",
            ));
        }
        if let Some(unknown) = options.keys().find(|name| *name != "replication_factor") {
            return Err(CqlError::config(format!(
                "Unrecognized strategy option {{{unknown}}} passed to {full_name} for keyspace {keyspace}"
            )));
        }
    }
    options.insert("class".to_owned(), full_name);
    Ok(options)
}
