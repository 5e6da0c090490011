//! The bytes of stored rows and partition headers.
//!
//! | record | bytes |
//! | --- | --- |
//! | row | version, flags, base timestamp, clustering components, \[marker\], \[tombstone\], cells |
//! | header | version, flags, base timestamp, \[tombstone\], static cells, range tombstones |
//! | cell | column, flags, \[timestamp\], then \[deletion time\] or \[expiry\] and value |
//!
//! Numbers are varints (signed ones zigzag), timestamps differences to the base timestamp, byte
//! strings and lists have their length in front. Decoding checks every bound: damaged bytes are an
//! error, never a panic.

use super::ranges::{Edge, Span, Spans};
use crate::error::{CqlError, Result};
use crate::mutation::{Cell, ClusteringKey, Expiry, Marker, RowChange, Tombstone};
use crate::schema::ColumnId;
use bytes::Bytes;
use std::collections::BTreeMap;

/// The first byte of every record of this layout.
const VERSION: u8 = 1;

const HAS_MARKER: u8 = 1;
const HAS_TOMBSTONE: u8 = 2;
const HAS_EXPIRY: u8 = 4;

const CELL_DEAD: u8 = 1;
const CELL_EXPIRES: u8 = 2;
/// Its timestamp is not the base timestamp.
const CELL_TIMESTAMP: u8 = 4;
/// Its expiry is that of the marker or cell before it.
const CELL_SAME_EXPIRY: u8 = 8;

/// Everything of a partition that is not a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// Of the whole partition.
    pub(super) tombstone: Option<Tombstone>,
    /// By column.
    pub(super) statics: BTreeMap<ColumnId, Cell>,
    /// Range tombstones.
    pub(super) ranges: Spans<Edge>,
}

impl Header {
    /// Whether there is nothing to store.
    pub(super) fn is_empty(&self) -> bool {
        self.tombstone.is_none() && self.statics.is_empty() && self.ranges.is_empty()
    }
}

/// The bytes of a row.
pub(super) fn encode_row(clustering: &ClusteringKey, row: &RowChange) -> Vec<u8> {
    let first = row.cells.values().next().map(|cell| cell.timestamp);
    let base = row.marker.map(|marker| marker.timestamp).or(first).unwrap_or_default();
    let mut out = Writer::new(base);
    let mut flags = 0;
    flags |= if row.marker.is_some() { HAS_MARKER } else { 0 };
    flags |= if row.tombstone.is_some() { HAS_TOMBSTONE } else { 0 };
    flags |= if row.marker.is_some_and(|m| m.expiry.is_some()) { HAS_EXPIRY } else { 0 };
    out.head(flags);
    out.number(clustering.len() as u64);
    clustering.iter().for_each(|component| out.bytes(component));
    if let Some(marker) = row.marker {
        out.timestamp(marker.timestamp);
        if let Some(expiry) = marker.expiry {
            out.expiry(expiry);
        }
    }
    if let Some(tombstone) = row.tombstone {
        out.tombstone(tombstone);
    }
    out.cells(&row.cells);
    out.bytes
}

/// A row from its bytes.
pub(super) fn decode_row(record: &[u8]) -> Result<(ClusteringKey, RowChange)> {
    let mut input = Reader::new(record);
    read_row(&mut input).ok_or_else(|| corrupt("row"))
}

fn read_row(input: &mut Reader) -> Option<(ClusteringKey, RowChange)> {
    let flags = input.head()?;
    let count = input.count()?;
    let clustering = (0..count).map(|_| input.bytes()).collect::<Option<ClusteringKey>>()?;
    let mut row = RowChange::default();
    if flags & HAS_MARKER != 0 {
        let timestamp = input.timestamp()?;
        let expiry = if flags & HAS_EXPIRY != 0 { Some(input.expiry()?) } else { None };
        row.marker = Some(Marker { timestamp, expiry });
    }
    if flags & HAS_TOMBSTONE != 0 {
        row.tombstone = Some(input.tombstone()?);
    }
    row.cells = input.cells()?;
    input.is_at_end().then_some((clustering, row))
}

/// The bytes of a header.
pub(super) fn encode_header(header: &Header) -> Vec<u8> {
    let first = header.statics.values().next().map(|cell| cell.timestamp);
    let mut out = Writer::new(first.unwrap_or_default());
    out.head(if header.tombstone.is_some() { HAS_TOMBSTONE } else { 0 });
    if let Some(tombstone) = header.tombstone {
        out.tombstone(tombstone);
    }
    out.cells(&header.statics);
    let ranges = header.ranges.as_slice();
    out.number(ranges.len() as u64);
    for range in ranges {
        out.edge(&range.start);
        out.edge(&range.end);
        out.tombstone(range.tombstone);
    }
    out.bytes
}

/// A header from its bytes.
pub(super) fn decode_header(record: &[u8]) -> Result<Header> {
    let mut input = Reader::new(record);
    read_header(&mut input).ok_or_else(|| corrupt("partition header"))
}

fn read_header(input: &mut Reader) -> Option<Header> {
    let flags = input.head()?;
    let tombstone = if flags & HAS_TOMBSTONE != 0 { Some(input.tombstone()?) } else { None };
    let statics = input.cells()?;
    let count = input.count()?;
    let mut ranges = Vec::new();
    for _ in 0..count {
        let (start, end) = (input.edge()?, input.edge()?);
        ranges.push(Span { start, end, tombstone: input.tombstone()? });
    }
    let ranges = Spans::from_stored(ranges)?;
    input.is_at_end().then_some(Header { tombstone, statics, ranges })
}

fn corrupt(what: &str) -> CqlError {
    CqlError::server(format!("storage is corrupt: malformed {what}"))
}

/// Writes one record.
struct Writer {
    bytes: Vec<u8>,
    base: i64,
    expiry: Option<Expiry>,
}

impl Writer {
    fn new(base: i64) -> Self {
        Self { bytes: Vec::with_capacity(128), base, expiry: None }
    }

    fn head(&mut self, flags: u8) {
        self.bytes.extend([VERSION, flags]);
        self.signed(self.base);
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)) as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend(bytes);
    }

    fn timestamp(&mut self, timestamp: i64) {
        self.signed(timestamp.wrapping_sub(self.base));
    }

    fn expiry(&mut self, expiry: Expiry) {
        self.number(u64::from(expiry.ttl));
        self.signed(expiry.at);
        self.expiry = Some(expiry);
    }

    fn tombstone(&mut self, tombstone: Tombstone) {
        self.timestamp(tombstone.timestamp);
        self.signed(tombstone.deleted_at);
    }

    fn edge(&mut self, edge: &Edge) {
        match edge {
            Edge::At(bytes) => {
                self.bytes.push(1);
                self.bytes(bytes);
            }
            Edge::Open => self.bytes.push(0),
        }
    }

    fn cells(&mut self, cells: &BTreeMap<ColumnId, Cell>) {
        self.number(cells.len() as u64);
        for (column, cell) in cells {
            self.number(u64::from(*column));
            let same_expiry = cell.expiry.is_some() && cell.expiry == self.expiry;
            let mut flags = 0;
            flags |= if cell.value.is_none() { CELL_DEAD } else { 0 };
            flags |= if cell.expiry.is_some() { CELL_EXPIRES } else { 0 };
            flags |= if same_expiry { CELL_SAME_EXPIRY } else { 0 };
            flags |= if cell.timestamp == self.base { 0 } else { CELL_TIMESTAMP };
            self.bytes.push(flags);
            if flags & CELL_TIMESTAMP != 0 {
                self.timestamp(cell.timestamp);
            }
            if let Some(expiry) = cell.expiry.filter(|_| !same_expiry) {
                self.expiry(expiry);
            }
            match &cell.value {
                Some(value) => self.bytes(value),
                None => self.signed(cell.deleted_at),
            }
        }
    }
}

/// Reads one record. `None`: the bytes are not a record.
struct Reader {
    record: Bytes,
    at: usize,
    base: i64,
    expiry: Option<Expiry>,
}

impl Reader {
    fn new(record: &[u8]) -> Self {
        Self { record: Bytes::copy_from_slice(record), at: 0, base: 0, expiry: None }
    }

    fn is_at_end(&self) -> bool {
        self.at == self.record.len()
    }

    fn head(&mut self) -> Option<u8> {
        if self.byte()? != VERSION {
            return None;
        }
        let flags = self.byte()?;
        self.base = self.signed()?;
        Some(flags)
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.record.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number of items, each of which takes at least one byte.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.record.len() - self.at).then_some(count)
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let len = self.count()?;
        let bytes = self.record.slice(self.at..self.at + len);
        self.at += len;
        Some(bytes)
    }

    fn timestamp(&mut self) -> Option<i64> {
        Some(self.base.wrapping_add(self.signed()?))
    }

    fn expiry(&mut self) -> Option<Expiry> {
        let ttl = u32::try_from(self.number()?).ok()?;
        let expiry = Expiry { ttl, at: self.signed()? };
        self.expiry = Some(expiry);
        Some(expiry)
    }

    fn tombstone(&mut self) -> Option<Tombstone> {
        Some(Tombstone { timestamp: self.timestamp()?, deleted_at: self.signed()? })
    }

    fn edge(&mut self) -> Option<Edge> {
        match self.byte()? {
            0 => Some(Edge::Open),
            1 => Some(Edge::At(self.bytes()?.to_vec())),
            _ => None,
        }
    }

    fn cells(&mut self) -> Option<BTreeMap<ColumnId, Cell>> {
        let count = self.count()?;
        let mut cells = BTreeMap::new();
        for _ in 0..count {
            let column = ColumnId::try_from(self.number()?).ok()?;
            let flags = self.byte()?;
            let timestamp = if flags & CELL_TIMESTAMP != 0 { self.timestamp()? } else { self.base };
            let expiry = match (flags & CELL_EXPIRES != 0, flags & CELL_SAME_EXPIRY != 0) {
                (false, _) => None,
                (true, true) => Some(self.expiry?),
                (true, false) => Some(self.expiry()?),
            };
            let (value, deleted_at) = if flags & CELL_DEAD != 0 {
                (None, self.signed()?)
            } else {
                (Some(self.bytes()?), 0)
            };
            cells.insert(column, Cell { timestamp, value, expiry, deleted_at });
        }
        Some(cells)
    }
}
