//! The streams of tables on tablets: each table has its own, one per tablet.

use super::VirtualReader;
use super::rows::{bigint, row, text, tinyint};
use crate::cdc::{Generation, History, StreamId};
use crate::mutation::Row;
use crate::schema::Table;
use bytes::Bytes;

/// When a table's stream sets begin.
pub(super) const TIMESTAMPS: &str = "cdc_timestamps";
/// The streams of each set, and how they differ from those of the set before.
pub(super) const STREAMS: &str = "cdc_streams";

const CURRENT: i8 = 0;
const CLOSED: i8 = 1;
const OPENED: i8 = 2;

/// Keyspace and table of all that have streams of their own.
pub(super) fn partition_keys(reader: &VirtualReader) -> Vec<Vec<Bytes>> {
    with_streams(reader).map(|(table, _)| key_of(table)).collect()
}

fn key_of(table: &Table) -> Vec<Bytes> {
    vec![text(&table.keyspace), text(&table.name)]
}

fn with_streams(reader: &VirtualReader) -> impl Iterator<Item = (&Table, &History)> {
    let keyspaces = reader.catalog.keyspaces.values();
    let tables = keyspaces.flat_map(|keyspace| keyspace.tables.values());
    tables.filter_map(|table| Some((&**table, reader.node.streams.tablets(table.id)?)))
}

fn sets<'a>(
    reader: &'a VirtualReader,
    key: &'a [Bytes],
) -> impl Iterator<Item = (&'a Generation, Option<&'a Generation>)> {
    let histories = with_streams(reader).filter(move |(table, _)| key_of(table) == key);
    histories.flat_map(|(_, history)| {
        let before = history.all().iter().map(|set| Some(&**set));
        history.all().iter().map(|set| &**set).zip(std::iter::once(None).chain(before))
    })
}

/// The rows of one table in [`TIMESTAMPS`].
pub(super) fn timestamps(reader: &VirtualReader, table: &Table, key: &[Bytes]) -> Vec<Row> {
    sets(reader, key)
        .map(|(set, _)| row(table, vec![("timestamp", bigint(set.time_millis))]))
        .collect()
}

/// The rows of one table in [`STREAMS`].
pub(super) fn streams(reader: &VirtualReader, table: &Table, key: &[Bytes]) -> Vec<Row> {
    let shown = |set: &Generation, state: i8, stream: &StreamId| {
        let values = vec![
            ("timestamp", bigint(set.time_millis)),
            ("stream_state", tinyint(state)),
            ("stream_id", Bytes::copy_from_slice(&stream.0)),
        ];
        row(table, values)
    };
    let mut rows = Vec::new();
    for (set, before) in sets(reader, key) {
        rows.extend(set.streams.iter().map(|stream| shown(set, CURRENT, stream)));
        let Some(before) = before else { continue };
        let closed = before.streams.iter().filter(|stream| !set.streams.contains(stream));
        rows.extend(closed.map(|stream| shown(set, CLOSED, stream)));
        let opened = set.streams.iter().filter(|stream| !before.streams.contains(stream));
        rows.extend(opened.map(|stream| shown(set, OPENED, stream)));
    }
    rows
}
