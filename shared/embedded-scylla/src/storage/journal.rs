//! The storage crate's journal, as far as cutting it goes: the fault port's power cut takes back
//! every batch that no device sync has covered.
//!
//! A journal is a file `<number>.jnl`; the one with the highest number is written to, all others were
//! synced when they were closed. It is a sequence of batches, little endian, then zeros:
//!
//! | part | bytes |
//! | --- | --- |
//! | start | `01`, number of items (4), number of the batch (8) |
//! | item | `02`, value type (1), compression (1), keyspace (8), length of key (2), of value (4), of value as stored (4), key, value |
//! | clear | `04`, keyspace (8); takes an item's place |
//! | end | `03`, checksum (8), `46 4a 4c 03` |

use anyhow::{Context, bail};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";

/// One batch of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Cuts the journal of an open database before its first batch with a number of `synced` or more.
/// `torn`: half of a batch stays behind the cut, as if its write had been under way.
pub(super) fn cut(dir: &Path, synced: u64, torn: bool) -> anyhow::Result<()> {
    let path = active(dir)?;
    let bytes = std::fs::read(&path).context("read the journal")?;
    let batches = batches(&bytes)?;
    let kept = batches.partition_point(|batch| batch.number < synced);
    let end = kept.checked_sub(1).map_or(0, |last| batches[last].end);
    let half = match batches.get(kept).or(batches.last()) {
        Some(batch) if torn => &bytes[batch.start..batch.start + (batch.end - batch.start) / 2],
        _ => &[],
    };
    let file = OpenOptions::new().write(true).open(&path).context("open the journal")?;
    cut_file(&file, end as u64, half).with_context(|| format!("cut {}", path.display()))
}

fn cut_file(file: &File, end: u64, half: &[u8]) -> std::io::Result<()> {
    let len = file.metadata()?.len();
    file.set_len(end)?;
    // As before: what is set aside reads as zeros.
    file.set_len(len)?;
    file.write_all_at(half, end)?;
    file.sync_all()
}

/// The journal that is written to.
pub(super) fn active(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut newest = None;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl"));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            newest = newest.max(Some((number, path)));
        }
    }
    newest.map(|(_, path)| path).context("there is no journal")
}

/// The whole batches of a journal; what is behind them is zeros or a batch that is not whole. Refuses
/// a batch of another form than this file knows.
pub(super) fn batches(bytes: &[u8]) -> anyhow::Result<Vec<Batch>> {
    let mut batches = Vec::new();
    let mut rest = Cursor { bytes, at: 0 };
    while let Some(batch) = rest.batch()? {
        batches.push(batch);
    }
    Ok(batches)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// `None` at the end, also when that is in the middle of a batch.
    fn batch(&mut self) -> anyhow::Result<Option<Batch>> {
        let start = self.at;
        match self.take(1) {
            Some([START]) => {}
            None | Some([0]) => return Ok(None),
            Some(other) => bail!("a batch begins with {other:?} at {start}"),
        }
        Ok(self.rest_of_batch()?.map(|number| Batch { number, start, end: self.at }))
    }

    fn rest_of_batch(&mut self) -> anyhow::Result<Option<u64>> {
        let Some(count) = self.number(4) else { return Ok(None) };
        let Some(number) = self.number(8) else { return Ok(None) };
        for _ in 0..count {
            let place = self.at;
            let item = match self.take(1) {
                Some([ITEM]) => self.item(),
                Some([CLEAR]) => self.take(8),
                None => None,
                Some(other) => bail!("an item begins with {other:?} at {place}"),
            };
            if item.is_none() {
                return Ok(None);
            }
        }
        match self.take(1 + 8 + TRAILER.len()) {
            Some([END, end @ ..]) if end.ends_with(TRAILER) => Ok(Some(number)),
            None => Ok(None),
            Some(other) => bail!("a batch ends with {other:?} at {}", self.at),
        }
    }

    fn item(&mut self) -> Option<&'a [u8]> {
        self.take(1 + 1 + 8)?;
        let key = self.number(2)?;
        self.number(4)?;
        let stored = self.number(4)?;
        self.take(usize::try_from(key + stored).ok()?)
    }

    fn number(&mut self, len: usize) -> Option<u64> {
        let bytes = self.take(len)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }
}
