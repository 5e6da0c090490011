//! Storage keys: how tables, partitions and rows lie beside each other.
//!
//! | part | bytes |
//! | --- | --- |
//! | table | storage id, 4 bytes |
//! | token | 8 bytes, sign bit flipped |
//! | partition key | each component escaped: `00` as `00 ff`, closed by `00 00` |
//! | kind | `00` the partition's header, `01` a row |
//! | clustering key | each component by [`encode_ordered`], which closes itself |
//!
//! Byte order is the order of table, signed token, partition key and clustering key, and the
//! encoding of a prefix of a clustering key is a prefix of the encodings it begins.
//!
//! A storage key has at most 65,535 bytes. ScyllaDB allows as much for the partition key and for the
//! clustering key each; here it is for both together, and more is refused.

use super::PartitionPosition;
use crate::error::{CqlError, Result};
use crate::mutation::PartitionKey;
use crate::schema::Table;
use crate::types::ordered::encode_ordered;
use bytes::Bytes;
use std::ops::Bound;

/// The longest key that the storage takes.
const KEY_BYTES_MAX: usize = 65_535;

const TABLE_BYTES: usize = 4;
const TOKEN_BYTES: usize = 8;
const HEADER: u8 = 0;
const ROW: u8 = 1;
/// Behind all kinds of one partition.
const BEHIND: u8 = 2;

/// A half-open range of keys, or of encoded clustering keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRange {
    /// First key within.
    pub(super) start: Vec<u8>,
    /// First key behind.
    pub(super) end: Vec<u8>,
}

impl KeyRange {
    /// As the storage crate takes it.
    pub(super) fn bounds(&self) -> std::ops::Range<&Vec<u8>> {
        &self.start..&self.end
    }

    /// As maps take it.
    pub(super) fn slices(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Included(&self.start), Bound::Excluded(&self.end))
    }
}

/// All keys of a table.
pub(super) fn table_range(storage_id: u32) -> KeyRange {
    // Ids are given in ascending order from a small start and never reach the last one.
    let end = storage_id.saturating_add(1).to_be_bytes().to_vec();
    KeyRange { start: storage_id.to_be_bytes().to_vec(), end }
}

fn token_prefix(storage_id: u32, token: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.extend(storage_id.to_be_bytes());
    key.extend((token ^ i64::MIN).to_be_bytes());
    key
}

/// What all keys of a partition begin with.
pub(super) fn partition_prefix(storage_id: u32, partition: &PartitionKey) -> Vec<u8> {
    let mut key = token_prefix(storage_id, partition.token);
    for component in &partition.components {
        for byte in component.iter() {
            key.push(*byte);
            if *byte == 0 {
                key.push(0xff);
            }
        }
        key.extend([0, 0]);
    }
    key
}

/// The key of the partition's header.
pub(super) fn header_key(prefix: &[u8]) -> Vec<u8> {
    with(prefix, HEADER)
}

/// The first key behind the partition.
pub(super) fn behind(prefix: &[u8]) -> Vec<u8> {
    with(prefix, BEHIND)
}

fn with(prefix: &[u8], kind: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 1);
    key.extend(prefix);
    key.push(kind);
    key
}

/// The key of a row.
pub(super) fn row_key(table: &Table, prefix: &[u8], clustering: &[Bytes]) -> Vec<u8> {
    let mut key = with(prefix, ROW);
    encode_clustering(table, clustering, &mut key);
    key
}

/// Refuses keys that the storage cannot take.
pub(super) fn check(key: &[u8]) -> Result<()> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(CqlError::invalid(format!("Key length of {} is longer than maximum of 65535", key.len())))
}

fn encode_clustering(table: &Table, clustering: &[Bytes], key: &mut Vec<u8>) {
    for (column, component) in table.clustering().iter().zip(clustering) {
        encode_ordered(&column.ty, component, column.descending, key);
    }
}

/// The part of a row's key behind the partition's prefix and the kind.
pub(super) fn clustering_part<'a>(key: &'a [u8], prefix: &[u8]) -> &'a [u8] {
    key.get(prefix.len() + 1..).unwrap_or_default()
}

/// Whether this key of the partition is a row's.
pub(super) fn is_row(key: &[u8], prefix: &[u8]) -> bool {
    key.get(prefix.len()) == Some(&ROW)
}

/// A clustering key in its own order.
pub(crate) fn encoded_clustering(table: &Table, clustering: &[Bytes]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_clustering(table, clustering, &mut out);
    out
}

/// A slice's bounds as encoded clustering keys. An open end is `None`.
pub(crate) fn clustering_bounds(
    table: &Table,
    start: &Bound<Vec<Bytes>>,
    end: &Bound<Vec<Bytes>>,
) -> (Vec<u8>, Option<Vec<u8>>) {
    let encode = |prefix: &Vec<Bytes>| encoded_clustering(table, prefix);
    let start = match start {
        Bound::Unbounded => Some(Vec::new()),
        Bound::Included(prefix) => Some(encode(prefix)),
        Bound::Excluded(prefix) => successor(encode(prefix)),
    };
    let end = match end {
        Bound::Unbounded => None,
        Bound::Included(prefix) => successor(encode(prefix)),
        Bound::Excluded(prefix) => Some(encode(prefix)),
    };
    match start {
        Some(start) => (start, end),
        // Behind everything: an empty range.
        None => (Vec::new(), Some(Vec::new())),
    }
}

/// The rows of a partition between encoded bounds.
pub(super) fn row_range(prefix: &[u8], start: &[u8], end: Option<&[u8]>) -> KeyRange {
    let mut from = with(prefix, ROW);
    let to = match end {
        Some(end) => {
            let mut to = from.clone();
            to.extend(end);
            to
        }
        None => behind(prefix),
    };
    from.extend(start);
    KeyRange { start: from, end: to }
}

/// The first byte string behind all that begin with `prefix`; `None` if there is none.
fn successor(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < 0xff {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

/// The partitions of a table between two places.
pub(super) fn partition_range(
    storage_id: u32,
    start: &Bound<PartitionPosition>,
    end: &Bound<PartitionPosition>,
) -> KeyRange {
    let before = |position: &PartitionPosition| match position {
        PartitionPosition::Token(token) => token_prefix(storage_id, *token),
        PartitionPosition::Key(partition) => partition_prefix(storage_id, partition),
    };
    let after = |position: &PartitionPosition| match position {
        PartitionPosition::Token(i64::MAX) => table_range(storage_id).end,
        PartitionPosition::Token(token) => token_prefix(storage_id, token + 1),
        PartitionPosition::Key(partition) => behind(&partition_prefix(storage_id, partition)),
    };
    let table = table_range(storage_id);
    let start = match start {
        Bound::Unbounded => table.start,
        Bound::Included(position) => before(position),
        Bound::Excluded(position) => after(position),
    };
    let end = match end {
        Bound::Unbounded => table.end,
        Bound::Included(position) => after(position),
        Bound::Excluded(position) => before(position),
    };
    KeyRange { start, end }
}

/// The partition that a key belongs to, and the length of its prefix.
pub(super) fn decode_partition(table: &Table, key: &[u8]) -> Result<(PartitionKey, usize)> {
    decode_components(table.partition_key_len, key).ok_or_else(|| {
        CqlError::server(format!(
            "storage is corrupt: malformed key in {}.{}",
            table.keyspace, table.name
        ))
    })
}

fn decode_components(count: usize, key: &[u8]) -> Option<(PartitionKey, usize)> {
    let token = key.get(TABLE_BYTES..TABLE_BYTES + TOKEN_BYTES)?;
    let token = i64::from_be_bytes(token.try_into().ok()?) ^ i64::MIN;
    let mut at = TABLE_BYTES + TOKEN_BYTES;
    let mut components = Vec::with_capacity(count);
    for _ in 0..count {
        let mut component = Vec::new();
        loop {
            let byte = *key.get(at)?;
            at += 1;
            if byte == 0 {
                let mark = *key.get(at)?;
                at += 1;
                match mark {
                    0 => break,
                    0xff => {}
                    _ => return None,
                }
            }
            component.push(byte);
        }
        components.push(Bytes::from(component));
    }
    Some((PartitionKey { token, components }, at))
}

/// The storage id that a key begins with.
pub(super) fn storage_id(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(..TABLE_BYTES)?.try_into().ok()?))
}
