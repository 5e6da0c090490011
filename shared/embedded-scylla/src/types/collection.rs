//! The layout of lists, sets, maps and tuples.
//!
//! | type | bytes |
//! | --- | --- |
//! | list, set | i32 count, then per element i32 length and bytes |
//! | map | i32 count, then per entry key and value, each i32 length and bytes |
//! | tuple | per component i32 length (-1 is null) and bytes; trailing components may be missing |

use crate::error::{CqlError, Result};
use bytes::{BufMut, Bytes, BytesMut};

/// The elements of a list or set.
pub fn decode_list(value: &[u8]) -> Result<Vec<&[u8]>> {
    let mut reader = Reader { rest: value };
    let count = reader.count(4)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(reader.item()?.ok_or_else(null_element)?);
    }
    reader.end()?;
    Ok(items)
}

/// The entries of a map.
pub fn decode_map(value: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
    let mut reader = Reader { rest: value };
    let count = reader.count(8)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let key = reader.item()?.ok_or_else(null_entry)?;
        entries.push((key, reader.item()?.ok_or_else(null_entry)?));
    }
    reader.end()?;
    Ok(entries)
}

/// The components of a tuple, as many as there are.
pub fn decode_tuple(value: &[u8]) -> Result<Vec<Option<&[u8]>>> {
    let mut reader = Reader { rest: value };
    let mut items = Vec::new();
    while !reader.rest.is_empty() {
        items.push(reader.item()?);
    }
    Ok(items)
}

/// A list or set of these elements, in this order.
pub fn encode_list<T: AsRef<[u8]>>(items: &[T]) -> Bytes {
    let size: usize = items.iter().map(|item| 4 + item.as_ref().len()).sum();
    let mut out = BytesMut::with_capacity(4 + size);
    out.put_i32(length(items.len()));
    for item in items {
        put_item(&mut out, Some(item.as_ref()));
    }
    out.freeze()
}

/// A map of these entries, in this order.
pub fn encode_map<K: AsRef<[u8]>, V: AsRef<[u8]>>(entries: &[(K, V)]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32(length(entries.len()));
    for (key, value) in entries {
        put_item(&mut out, Some(key.as_ref()));
        put_item(&mut out, Some(value.as_ref()));
    }
    out.freeze()
}

/// A tuple of these components.
pub fn encode_tuple<T: AsRef<[u8]>>(items: &[Option<T>]) -> Bytes {
    let mut out = BytesMut::new();
    for item in items {
        put_item(&mut out, item.as_ref().map(AsRef::as_ref));
    }
    out.freeze()
}

fn put_item(out: &mut BytesMut, item: Option<&[u8]>) {
    match item {
        Some(item) => {
            out.put_i32(length(item.len()));
            out.put_slice(item);
        }
        None => out.put_i32(-1),
    }
}

/// Frames are far below 2 GiB, so lengths fit.
fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn null_element() -> CqlError {
    CqlError::invalid("Cannot store NULL in list or set")
}

fn null_entry() -> CqlError {
    CqlError::invalid("Cannot store NULL in map")
}

fn truncated() -> CqlError {
    CqlError::invalid("marshaling error: Not enough bytes to read a collection")
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn int(&mut self) -> Result<i32> {
        let (head, rest) = self.rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*head))
    }

    /// A count whose elements of at least `size_min` bytes can be there at all, so that it is safe
    /// to reserve memory for.
    fn count(&mut self, size_min: usize) -> Result<usize> {
        let count = usize::try_from(self.int()?).map_err(|_| truncated())?;
        if count > self.rest.len() / size_min { Err(truncated()) } else { Ok(count) }
    }

    fn item(&mut self) -> Result<Option<&'a [u8]>> {
        let Ok(length) = usize::try_from(self.int()?) else { return Ok(None) };
        let (item, rest) = self.rest.split_at_checked(length).ok_or_else(truncated)?;
        self.rest = rest;
        Ok(Some(item))
    }

    fn end(&self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(CqlError::invalid(format!(
                "marshaling error: Validation failed - {} unexpected bytes left",
                self.rest.len()
            )))
        }
    }
}
