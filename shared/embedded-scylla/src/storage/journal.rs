//! The storage crate's journal, as far as cutting and checking it goes: the fault port's power cut takes
//! back every batch that no device sync has covered, and a flipped bit must not do the same.
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

/// The value type of an item that is not a removal.
const VALUE: u64 = 0;
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

/// Refuses a data directory whose journals are damaged in the middle. To the storage crate a flipped
/// length or mark looks like the torn end of the last write, and it would forget every batch from there
/// on; but behind a torn end there is nothing.
///
/// The journals of closed files were synced, so they end with a whole batch. In the one that was written
/// to, a whole batch behind the first that is not tells damage from a torn end. Damage to the last batch
/// itself cannot be told. For directories that are synced at every commit: otherwise a power cut may
/// leave later batches whole and lose earlier ones.
pub(super) fn check(dir: &Path) -> anyhow::Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    let active = active(dir).ok();
    for (_, path) in journals(dir)? {
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let bytes = without_zeros(&bytes);
        let mut cursor = Cursor { bytes, at: 0 };
        let (mut end, mut number) = (0, 0);
        // What has another form is the end too; what is behind it tells of which kind.
        while let Ok(Some(batch)) = cursor.batch() {
            (end, number) = (batch.end, batch.number);
        }
        let damaged = if Some(&path) == active.as_ref() {
            batch_behind(bytes, end, number).is_some()
        } else {
            bytes[end..].iter().any(|byte| *byte != 0)
        };
        if damaged {
            bail!(
                "{} is damaged at byte {end}: what was written there and behind it would be lost; \
                 restore the directory from a backup, or accept the loss by starting once with \
                 --durability periodic",
                path.display()
            );
        }
    }
    Ok(())
}

/// What is in use of a file: all but the blocks of zeros at its end, which was set aside.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut end = bytes.len();
    while end > 0 {
        let start = end.saturating_sub(ZEROS.len());
        if bytes[start..end] != ZEROS[..end - start] {
            break;
        }
        end = start;
    }
    &bytes[..end]
}

/// A whole batch behind `end`, later than `number`.
fn batch_behind(bytes: &[u8], end: usize, number: u64) -> Option<Batch> {
    let starts = (end + 1..bytes.len()).filter(|at| bytes[*at] == START);
    starts
        .filter_map(|at| Cursor { bytes, at }.batch().ok().flatten())
        .find(|batch| batch.number > number)
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
    let newest = journals(dir)?.into_iter().max();
    newest.map(|(_, path)| path).context("there is no journal")
}

/// All journals of a directory, with their numbers.
fn journals(dir: &Path) -> anyhow::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl"));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            found.push((number, path));
        }
    }
    Ok(found)
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

    /// `None` also for an item that removes its key and has a value, and for one whose lengths are not
    /// those of its compression: these marks are not in the checksum.
    fn item(&mut self) -> Option<&'a [u8]> {
        let kind = self.number(1)?;
        let is_compressed = self.number(1)? != 0;
        self.take(8)?;
        let key = self.number(2)?;
        let value = self.number(4)?;
        let stored = self.number(4)?;
        if (kind != VALUE && stored > 0) || is_compressed == (value == stored) {
            return None;
        }
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
