//! The system tables' names and columns, as ScyllaDB 5.4 has them, and those of streams on tablets as
//! 2025.4 has them.

use crate::schema::{Column, ColumnId, ColumnKind, CqlType, Keyspace, Partitioner, Table};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use uuid::Uuid;

/// A table in short: `name`, its partition key, clustering columns (a `-` before the type is
/// descending), other columns; each as `name type, …`.
struct Short(&'static str, &'static str, &'static str, &'static str);

const SYSTEM: [Short; 6] = [
    Short("cdc_timestamps", "keyspace_name text; table_name text", "timestamp -timestamp", ""),
    Short(
        "cdc_streams",
        "keyspace_name text; table_name text",
        "timestamp timestamp; stream_state tinyint; stream_id blob",
        "",
    ),
    Short(
        "local",
        "key text",
        "",
        "bootstrapped text; broadcast_address inet; cluster_name text; cql_version text; \
         data_center text; gossip_generation int; host_id uuid; listen_address inet; \
         native_protocol_version text; partitioner text; rack text; release_version text; \
         rpc_address inet; schema_version uuid; supported_features text; thrift_version text; \
         tokens set<text>; truncated_at map<uuid, blob>",
    ),
    Short(
        "peers",
        "peer inet",
        "",
        "data_center text; host_id uuid; preferred_ip inet; rack text; release_version text; \
         rpc_address inet; schema_version uuid; supported_features text; tokens set<text>",
    ),
    Short("scylla_local", "key text", "", "value text"),
    Short("versions", "key text", "", "build_id text; build_mode text; version text"),
];

const OPTION_COLUMNS: &str = "bloom_filter_fp_chance double; \
    caching frozen<map<text, text>>; comment text; compaction frozen<map<text, text>>; \
    compression frozen<map<text, text>>; crc_check_chance double; \
    dclocal_read_repair_chance double; default_time_to_live int; \
    extensions frozen<map<text, blob>>; gc_grace_seconds int; id uuid; max_index_interval int; \
    memtable_flush_period_in_ms int; min_index_interval int; read_repair_chance double; \
    speculative_retry text";

const SCHEMA: [Short; 12] = [
    Short(
        "aggregates",
        "keyspace_name text",
        "aggregate_name text; argument_types frozen<list<text>>",
        "final_func text; initcond text; return_type text; state_func text; state_type text",
    ),
    Short(
        "columns",
        "keyspace_name text",
        "table_name text; column_name text",
        "clustering_order text; column_name_bytes blob; kind text; position int; type text",
    ),
    Short(
        "dropped_columns",
        "keyspace_name text",
        "table_name text; column_name text",
        "dropped_time timestamp; kind text; type text",
    ),
    Short(
        "functions",
        "keyspace_name text",
        "function_name text; argument_types frozen<list<text>>",
        "argument_names frozen<list<text>>; body text; called_on_null_input boolean; \
         language text; return_type text",
    ),
    Short(
        "indexes",
        "keyspace_name text",
        "table_name text; index_name text",
        "kind text; options frozen<map<text, text>>",
    ),
    Short(
        "keyspaces",
        "keyspace_name text",
        "",
        "durable_writes boolean; replication frozen<map<text, text>>",
    ),
    Short(
        "scylla_keyspaces",
        "keyspace_name text",
        "",
        "initial_tablets int; storage_options frozen<map<text, text>>; storage_type text",
    ),
    Short(
        "scylla_tables",
        "keyspace_name text",
        "table_name text",
        "cdc frozen<map<text, text>>; committed_by_group0 boolean; in_memory boolean; \
         partitioner text; per_partition_rate_limit frozen<map<text, text>>; version uuid",
    ),
    Short("tables", "keyspace_name text", "table_name text", "flags frozen<set<text>>; "),
    Short(
        "triggers",
        "keyspace_name text",
        "table_name text; trigger_name text",
        "options frozen<map<text, text>>",
    ),
    Short(
        "types",
        "keyspace_name text",
        "type_name text",
        "field_names frozen<list<text>>; field_types frozen<list<text>>",
    ),
    Short(
        "views",
        "keyspace_name text",
        "view_name text",
        "base_table_id uuid; base_table_name text; include_all_columns boolean; \
         where_clause text; ",
    ),
];

const DISTRIBUTED: [Short; 2] = [
    Short("cdc_generation_timestamps", "key text", "time -timestamp", "expired timestamp"),
    Short(
        "cdc_streams_descriptions_v2",
        "time timestamp",
        "range_end bigint",
        "streams frozen<set<blob>>",
    ),
];

const TRACES: [Short; 2] = [
    Short(
        "events",
        "session_id uuid",
        "event_id timeuuid",
        "activity text; scylla_parent_id bigint; scylla_span_id bigint; source inet; \
         source_elapsed int; thread text",
    ),
    Short(
        "sessions",
        "session_id uuid",
        "",
        "client inet; command text; coordinator inet; duration int; \
         parameters frozen<map<text, text>>; request text; request_size int; response_size int; \
         started_at timestamp; username text",
    ),
];

static KEYSPACES: LazyLock<BTreeMap<String, Keyspace>> = LazyLock::new(|| {
    [
        keyspace("system", "LocalStrategy", None, &SYSTEM),
        keyspace("system_schema", "LocalStrategy", None, &SCHEMA),
        keyspace("system_distributed", "SimpleStrategy", Some("3"), &DISTRIBUTED),
        keyspace("system_traces", "SimpleStrategy", Some("2"), &TRACES),
    ]
    .into_iter()
    .map(|keyspace| (keyspace.name.clone(), keyspace))
    .collect()
});

/// The system keyspaces by name.
pub(crate) fn keyspaces() -> &'static BTreeMap<String, Keyspace> {
    &KEYSPACES
}

/// A table for statements that have none.
pub(crate) fn placeholder() -> Arc<Table> {
    KEYSPACES["system"].tables["local"].clone()
}

fn keyspace(
    name: &str,
    strategy: &str,
    factor: Option<&str>,
    tables: &'static [Short],
) -> Keyspace {
    let mut replication = BTreeMap::new();
    replication.insert("class".to_owned(), format!("org.apache.cassandra.locator.{strategy}"));
    if let Some(factor) = factor {
        replication.insert("replication_factor".to_owned(), factor.to_owned());
    }
    let tables =
        tables.iter().map(|short| (short.0.to_owned(), Arc::new(table(name, short)))).collect();
    Keyspace { name: name.to_owned(), replication, durable_writes: true, tablets: None, tables }
}

fn table(keyspace: &str, Short(name, partition, clustering, others): &Short) -> Table {
    let mut others = (*others).to_owned();
    if keyspace == "system_schema" && matches!(*name, "tables" | "views") {
        others.push_str(OPTION_COLUMNS);
    }
    let mut columns = columns(keyspace, partition, ColumnKind::PartitionKey);
    let partition_key_len = columns.len();
    columns.append(&mut self::columns(keyspace, clustering, ColumnKind::Clustering));
    let clustering_len = columns.len() - partition_key_len;
    let mut regular = self::columns(keyspace, &others, ColumnKind::Regular);
    regular.sort_by(|a, b| a.name.cmp(&b.name));
    columns.append(&mut regular);
    for (id, column) in columns.iter_mut().enumerate() {
        column.id = id as ColumnId;
    }
    Table {
        id: id(keyspace, name),
        storage_id: 0,
        keyspace: keyspace.to_owned(),
        name: (*name).to_owned(),
        next_column_id: columns.len() as ColumnId,
        columns,
        partition_key_len,
        clustering_len,
        partitioner: Partitioner::Murmur3,
        cdc: None,
        default_time_to_live: 0,
        options: BTreeMap::new(),
        is_virtual: true,
    }
}

/// The same on every server.
fn id(keyspace: &str, name: &str) -> Uuid {
    use md5::{Digest, Md5};
    let digest = Md5::digest(format!("{keyspace}.{name}"));
    uuid::Builder::from_md5_bytes(digest.into()).into_uuid()
}

fn columns(keyspace: &str, text: &str, kind: ColumnKind) -> Vec<Column> {
    let is_key = matches!(kind, ColumnKind::PartitionKey | ColumnKind::Clustering);
    text.split(';')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .enumerate()
        .map(|(position, text)| {
            let (name, ty) = text.split_once(' ').expect("a definition is a name and a type");
            let descending = ty.starts_with('-');
            let ty = CqlType::parse(ty.trim_start_matches('-'), keyspace)
                .expect("the types of system tables are known");
            let position = if is_key { position } else { 0 };
            Column { id: 0, name: name.to_owned(), ty, kind, position, descending }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_sound() {
        assert_eq!(keyspaces().len(), 4);
        let local = &keyspaces()["system"].tables["local"];
        assert_eq!(local.columns.len(), 19);
        let timestamps = &keyspaces()["system_distributed"].tables["cdc_generation_timestamps"];
        assert!(timestamps.clustering()[0].descending);
    }
}
