//! The paging state: where a page ended, as opaque bytes that survive a restart.
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | version of this layout |
//! | 16 | id of the table |
//! | 8 | rows that LIMIT still allows; all ones without a limit |
//! | 8 | rows already given of this partition |
//! | 2, then 4 + n each | the partition key's components |
//! | 1 | whether rows of the partition may be left |
//! | 2, then 4 + n each | in that case the last row's clustering key |

use crate::error::{CqlError, ErrorKind, Result};
use crate::mutation::{ClusteringKey, PartitionKey};
use crate::plan::terms::token;
use crate::schema::{Column, Table};
use bytes::{Buf, BufMut, Bytes, BytesMut};

const VERSION: u8 = 1;

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PagingState {
    /// Rows that LIMIT still allows.
    pub(crate) remaining: u64,
    /// Rows already given of the partition.
    pub(crate) in_partition: u64,
    /// The last partition looked at.
    pub(crate) key: PartitionKey,
    /// Its last row looked at; `None` when the partition is done with.
    pub(crate) last: Option<ClusteringKey>,
}

impl PagingState {
    /// The opaque form.
    pub(crate) fn encode(&self, table: &Table) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_slice(table.id.as_bytes());
        out.put_u64(self.remaining);
        out.put_u64(self.in_partition);
        put_components(&mut out, &self.key.components);
        out.put_u8(u8::from(self.last.is_some()));
        if let Some(last) = &self.last {
            put_components(&mut out, last);
        }
        out.freeze()
    }

    /// Reads the opaque form back; Invalid for anything that is not a state of this table.
    pub(crate) fn decode(table: &Table, state: &Bytes) -> Result<Self> {
        let mut rest = state.clone();
        let found = Self::read(table, &mut rest);
        found
            .filter(|_| rest.is_empty())
            .ok_or_else(|| CqlError::new(ErrorKind::Protocol, "Invalid value for the paging state"))
    }

    fn read(table: &Table, rest: &mut Bytes) -> Option<Self> {
        if rest.remaining() < 33 || rest.get_u8() != VERSION {
            return None;
        }
        if rest.split_to(16)[..] != table.id.as_bytes()[..] {
            return None;
        }
        let (remaining, in_partition) = (rest.get_u64(), rest.get_u64());
        let components = take_components(table.partition_key(), rest)?;
        if rest.is_empty() {
            return None;
        }
        let last = match rest.get_u8() {
            0 => None,
            1 => Some(take_components(table.clustering(), rest)?),
            _ => return None,
        };
        let key = PartitionKey { token: token(table.partitioner, &components), components };
        Some(Self { remaining, in_partition, key, last })
    }
}

fn put_components(out: &mut BytesMut, components: &[Bytes]) {
    // A key has as many components as a table has columns, and they are at most 64 KiB long.
    out.put_u16(u16::try_from(components.len()).unwrap_or(u16::MAX));
    for component in components {
        out.put_u32(u32::try_from(component.len()).unwrap_or(u32::MAX));
        out.put_slice(component);
    }
}

/// One valid value for each column, else nothing.
fn take_components(columns: &[Column], rest: &mut Bytes) -> Option<Vec<Bytes>> {
    if rest.remaining() < 2 || usize::from(rest.get_u16()) != columns.len() {
        return None;
    }
    columns
        .iter()
        .map(|column| {
            if rest.remaining() < 4 {
                return None;
            }
            let length = rest.get_u32() as usize;
            if rest.remaining() < length {
                return None;
            }
            // A copy, so that the state does not keep the frame it came in alive.
            let component = Bytes::copy_from_slice(&rest.split_to(length));
            column.ty.validate(&component).is_ok().then_some(component)
        })
        .collect()
}
