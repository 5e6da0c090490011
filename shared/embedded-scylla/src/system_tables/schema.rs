//! `system_schema`: the catalog as tables.

use super::rows::{boolean, double, int, map, row, set, text, uuid};
use crate::ddl::options;
use crate::mutation::Row;
use crate::schema::{Column, ColumnKind, CqlType, Keyspace, Partitioner, Table};
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;

const CDC_PARTITIONER: &str = "com.scylladb.dht.CDCPartitioner";

/// The rows that a table of `system_schema` has for one keyspace.
pub(super) fn rows(table: &Table, keyspace: &Keyspace) -> Vec<Row> {
    match table.name.as_str() {
        "keyspaces" => vec![row(
            table,
            vec![
                ("durable_writes", boolean(keyspace.durable_writes)),
                ("replication", map(&keyspace.replication)),
            ],
        )],
        "scylla_keyspaces" => match keyspace.tablets {
            Some(initial) => {
                let initial = i32::try_from(initial).unwrap_or(i32::MAX);
                vec![row(table, vec![("initial_tablets", int(initial))])]
            }
            None => Vec::new(),
        },
        "tables" => keyspace.tables.values().map(|shown| table_row(table, shown)).collect(),
        "scylla_tables" => keyspace
            .tables
            .values()
            .filter(|shown| shown.partitioner == Partitioner::Cdc)
            .map(|shown| {
                row(
                    table,
                    vec![("table_name", text(&shown.name)), ("partitioner", text(CDC_PARTITIONER))],
                )
            })
            .collect(),
        "columns" => keyspace
            .tables
            .values()
            .flat_map(|shown| shown.columns.iter().map(|column| column_row(table, shown, column)))
            .collect(),
        _ => Vec::new(),
    }
}

fn column_row(table: &Table, shown: &Table, column: &Column) -> Row {
    let (kind, position, order) = match column.kind {
        ColumnKind::PartitionKey => ("partition_key", column.position as i32, "NONE"),
        ColumnKind::Clustering => {
            ("clustering", column.position as i32, if column.descending { "DESC" } else { "ASC" })
        }
        ColumnKind::Static => ("static", -1, "NONE"),
        ColumnKind::Regular => ("regular", -1, "NONE"),
    };
    row(
        table,
        vec![
            ("table_name", text(&shown.name)),
            ("column_name", text(&column.name)),
            ("clustering_order", text(order)),
            ("column_name_bytes", text(&column.name)),
            ("kind", text(kind)),
            ("position", int(position)),
            ("type", text(&column.ty.to_string())),
        ],
    )
}

fn table_row(table: &Table, shown: &Table) -> Row {
    let mut values = vec![
        ("table_name", text(&shown.name)),
        ("default_time_to_live", int(i32::try_from(shown.default_time_to_live).unwrap_or(0))),
        ("extensions", map(&BTreeMap::new())),
        ("flags", set(&["compound"])),
        ("id", uuid(shown.id)),
    ];
    for column in &table.columns {
        let name = column.name.as_str();
        let fallback = options::default(name);
        if fallback.is_null() {
            continue;
        }
        let stored =
            shown.options.get(name).and_then(|json| serde_json::from_str::<Value>(json).ok());
        let value = option_value(&column.ty, &stored.unwrap_or(fallback));
        values.extend(value.map(|value| (name, value)));
    }
    row(table, values)
}

/// An option as a value of the column that shows it.
fn option_value(ty: &CqlType, value: &Value) -> Option<Bytes> {
    match ty {
        CqlType::Double => value.as_f64().map(double),
        CqlType::Int => value.as_i64().and_then(|value| i32::try_from(value).ok()).map(int),
        CqlType::Map(..) => {
            let entries = value.as_object()?.iter().map(|(key, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (key.clone(), value)
            });
            Some(map(&entries.collect()))
        }
        _ => value.as_str().map(text),
    }
}
