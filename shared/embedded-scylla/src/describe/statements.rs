//! Keyspaces and tables as the statements that make them, all options written out.

use crate::ddl::options;
use crate::parser;
use crate::schema::{CdcOptions, Column, ColumnKind, Keyspace, Preimage, Table};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The options that every table has, in the order in which they are shown.
const OPTIONS: [&str; 14] = [
    "bloom_filter_fp_chance",
    "caching",
    "comment",
    "compaction",
    "compression",
    "crc_check_chance",
    "dclocal_read_repair_chance",
    "default_time_to_live",
    "gc_grace_seconds",
    "max_index_interval",
    "memtable_flush_period_in_ms",
    "min_index_interval",
    "read_repair_chance",
    "speculative_retry",
];

const SEPARATOR: &str = "\n    AND ";

/// A name as it is written in CQL: quoted if it must be.
pub(super) fn quoted(name: &str) -> String {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if starts && rest && !parser::is_reserved(name) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `CREATE KEYSPACE`; the clause about tablets only where releases know it.
pub(super) fn create_keyspace(keyspace: &Keyspace, with_tablets: bool) -> String {
    let class = keyspace.replication.get("class").map_or("", String::as_str);
    let mut replication = format!("'class': {}", literal(class));
    for (name, factor) in keyspace.replication.iter().filter(|(name, _)| *name != "class") {
        let _ = write!(replication, ", {}: {}", literal(name), literal(factor));
    }
    let tablets = match keyspace.tablets {
        _ if !with_tablets => String::new(),
        None => " AND tablets = {'enabled': false}".to_owned(),
        Some(0) => " AND tablets = {'enabled': true}".to_owned(),
        Some(initial) => format!(" AND tablets = {{'initial': {initial}}}"),
    };
    format!(
        "CREATE KEYSPACE {} WITH replication = {{{replication}}} AND durable_writes = {}{tablets};",
        quoted(&keyspace.name),
        keyspace.durable_writes
    )
}

/// `CREATE TABLE`; with its id if internals are asked for.
pub(super) fn create_table(table: &Table, internals: bool) -> String {
    let columns = table.columns.iter().map(|column| format!("    {},\n", definition(column)));
    let columns: String = columns.collect();
    let mut clauses = Vec::new();
    if internals {
        clauses.push(format!("ID = {}", table.id));
    }
    if table.clustering_len > 0 {
        let order = table.clustering().iter().map(|column| {
            let direction = if column.descending { "DESC" } else { "ASC" };
            format!("{} {direction}", quoted(&column.name))
        });
        clauses.push(format!("CLUSTERING ORDER BY ({})", joined(order)));
    }
    clauses.extend(options(table));
    format!(
        "CREATE TABLE {}.{} (\n{columns}    PRIMARY KEY ({})\n) WITH {};",
        quoted(&table.keyspace),
        quoted(&table.name),
        primary_key(table),
        clauses.join(SEPARATOR)
    )
}

/// `ALTER TABLE … WITH` all its options.
pub(super) fn alter_table(table: &Table) -> String {
    let (keyspace, name) = (quoted(&table.keyspace), quoted(&table.name));
    format!("ALTER TABLE {keyspace}.{name} WITH {};", options(table).join(SEPARATOR))
}

fn definition(column: &Column) -> String {
    let suffix = if column.kind == ColumnKind::Static { " static" } else { "" };
    format!("{} {}{suffix}", quoted(&column.name), column.ty)
}

fn primary_key(table: &Table) -> String {
    let names = |columns: &[Column]| joined(columns.iter().map(|column| quoted(&column.name)));
    let partition = names(table.partition_key());
    let partition = if table.partition_key_len > 1 { format!("({partition})") } else { partition };
    if table.clustering_len == 0 {
        return partition;
    }
    format!("{partition}, {}", names(table.clustering()))
}

fn options(table: &Table) -> Vec<String> {
    let stored = |name: &str| {
        table.options.get(name).and_then(|json| serde_json::from_str::<Value>(json).ok())
    };
    let mut shown: Vec<String> = OPTIONS
        .iter()
        .map(|name| {
            let value = match *name {
                "default_time_to_live" => Value::from(table.default_time_to_live),
                name => stored(name).unwrap_or_else(|| options::default(name)),
            };
            format!("{name} = {}", option(&value))
        })
        .collect();
    shown.extend(table.cdc.as_ref().map(|cdc| format!("cdc = {}", cdc_options(cdc))));
    let others = table.options.keys().filter(|name| !OPTIONS.contains(&name.as_str()));
    shown.extend(others.filter_map(|name| Some(format!("{name} = {}", option(&stored(name)?)))));
    shown
}

fn option(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (key.clone(), value)
            });
            map(&entries.collect())
        }
        Value::String(text) => literal(text),
        // A fraction that is whole is shown without a point.
        Value::Number(number) => {
            number.as_f64().map_or_else(|| number.to_string(), |n| n.to_string())
        }
        other => other.to_string(),
    }
}

fn cdc_options(options: &CdcOptions) -> String {
    let preimage = match options.preimage {
        Preimage::Off => "false",
        Preimage::Changed => "true",
        Preimage::Full => "full",
    };
    let delta = if options.full_delta { "full" } else { "keys" };
    let entries = [
        ("delta", delta.to_owned()),
        ("enabled", options.enabled.to_string()),
        ("postimage", options.postimage.to_string()),
        ("preimage", preimage.to_owned()),
        ("ttl", options.ttl_seconds.to_string()),
    ];
    map(&entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn map(entries: &BTreeMap<String, String>) -> String {
    let entries =
        entries.iter().map(|(key, value)| format!("{}: {}", literal(key), literal(value)));
    format!("{{{}}}", joined(entries))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
