//! What the node says of itself and of its CDC generation.

use super::rows::{bigint, inet, row, set, text, uuid};
use super::{VirtualReader, tablets, traces};
use crate::ddl::DATA_CENTER;
use crate::mutation::Row;
use crate::schema::Table;
use bytes::Bytes;

/// The partitions of a table of `system`, `system_distributed` or `system_traces`.
pub(super) fn partition_keys(reader: &VirtualReader, table: &str) -> Vec<Vec<Bytes>> {
    match table {
        "local" | "versions" => vec![vec![text("local")]],
        "cdc_generation_timestamps" => vec![vec![text("timestamps")]],
        "cdc_streams_descriptions_v2" => {
            let generations = reader.node.streams.vnodes().all().iter();
            generations.map(|one| vec![bigint(one.time_millis)]).collect()
        }
        tablets::TIMESTAMPS | tablets::STREAMS => tablets::partition_keys(reader),
        traces::SESSIONS | traces::EVENTS => traces::partition_keys(reader),
        _ => Vec::new(),
    }
}

/// The rows of one of these partitions; none for any other key.
pub(super) fn rows(reader: &VirtualReader, table: &Table, key: &[Bytes]) -> Vec<Row> {
    if !partition_keys(reader, &table.name).iter().any(|present| present == key) {
        return Vec::new();
    }
    match table.name.as_str() {
        "local" => vec![local(reader, table)],
        "versions" => {
            let version = reader.node.release.version();
            vec![row(table, vec![("version", text(version)), ("build_mode", text("release"))])]
        }
        tablets::TIMESTAMPS => tablets::timestamps(reader, table, key),
        tablets::STREAMS => tablets::streams(reader, table, key),
        traces::SESSIONS | traces::EVENTS => traces::rows(reader, table, key),
        "cdc_generation_timestamps" => generations(reader, table),
        "cdc_streams_descriptions_v2" => descriptions(reader, table, key),
        _ => Vec::new(),
    }
}

/// Each generation expires when the next one begins.
fn generations(reader: &VirtualReader, table: &Table) -> Vec<Row> {
    let all = reader.node.streams.vnodes().all();
    let ends = all.iter().skip(1).map(|next| Some(next.time_millis)).chain([None]);
    all.iter()
        .zip(ends)
        .map(|(generation, end)| {
            let mut values = vec![("time", bigint(generation.time_millis))];
            values.extend(end.map(|end| ("expired", bigint(end))));
            row(table, values)
        })
        .collect()
}

fn descriptions(reader: &VirtualReader, table: &Table, key: &[Bytes]) -> Vec<Row> {
    let all = reader.node.streams.vnodes().all().iter();
    let described = all.filter(|one| key == [bigint(one.time_millis)]);
    described
        .flat_map(|generation| generation.tokens.iter().zip(&generation.streams))
        .map(|(token, stream)| {
            row(table, vec![("range_end", bigint(*token)), ("streams", set(&[stream.0]))])
        })
        .collect()
}

fn local(reader: &VirtualReader, table: &Table) -> Row {
    let node = &reader.node;
    // Later generations do not change the ring.
    let first = node.streams.vnodes().first();
    let mut tokens: Vec<String> = first.tokens.iter().map(ToString::to_string).collect();
    tokens.sort();
    let address = inet(node.rpc_address);
    row(
        table,
        vec![
            ("bootstrapped", text("COMPLETED")),
            ("broadcast_address", address.clone()),
            ("cluster_name", text(&node.cluster_name)),
            ("cql_version", text("3.3.1")),
            ("data_center", text(DATA_CENTER)),
            ("host_id", uuid(first.host_id)),
            ("listen_address", address.clone()),
            ("native_protocol_version", text("4")),
            ("partitioner", text("org.apache.cassandra.dht.Murmur3Partitioner")),
            ("rack", text("rack1")),
            ("release_version", text(&node.cassandra_version)),
            ("rpc_address", address),
            ("schema_version", uuid(reader.catalog.version)),
            ("tokens", set(&tokens)),
        ],
    )
}
