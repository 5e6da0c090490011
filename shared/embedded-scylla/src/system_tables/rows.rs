//! From values by column name to rows.

use crate::mutation::{Cell, Row};
use crate::schema::{ColumnKind, Table};
use crate::types::collection::{encode_list, encode_map};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::IpAddr;
use uuid::Uuid;

/// A row of a virtual table; columns that are not named are null, and the partition key is left
/// out.
pub(super) fn row(table: &Table, values: Vec<(&str, Bytes)>) -> Row {
    let mut values: BTreeMap<&str, Bytes> = values.into_iter().collect();
    let mut row = Row { clustering: Vec::new(), marker: None, cells: BTreeMap::new() };
    for column in &table.columns {
        let Some(value) = values.remove(column.name.as_str()) else { continue };
        match column.kind {
            ColumnKind::PartitionKey => {}
            ColumnKind::Clustering => row.clustering.push(value),
            ColumnKind::Static | ColumnKind::Regular => {
                row.cells.insert(column.id, Cell::live(0, value));
            }
        }
    }
    debug_assert!(values.is_empty(), "{} has no columns {values:?}", table.name);
    row
}

pub(super) fn text(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

pub(super) fn int(value: i32) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

pub(super) fn tinyint(value: i8) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

pub(super) fn bigint(value: i64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

pub(super) fn double(value: f64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

pub(super) fn boolean(value: bool) -> Bytes {
    Bytes::copy_from_slice(&[u8::from(value)])
}

pub(super) fn uuid(value: Uuid) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

pub(super) fn inet(value: IpAddr) -> Bytes {
    match value {
        IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
        IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
    }
}

/// A set; the values come sorted.
pub(super) fn set<T: AsRef<[u8]>>(values: &[T]) -> Bytes {
    encode_list(values)
}

/// A map of texts.
pub(super) fn map(values: &BTreeMap<String, String>) -> Bytes {
    let entries: Vec<(&str, &str)> =
        values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    encode_map(&entries)
}
