//! Bits that flip while nobody looks: what is served is what was written, or an error.
//!
//! Rows and batches have checksums, which refuse to open or to read. Flips in the framing of the journal
//! look to the storage crate like the torn end of the last write; a check of our own tells them from that,
//! but for the very last batch. A few flips in its lists of files go unnoticed and look as if less had
//! been written; the test counts them and keeps their share small.

use super::crashes::copy;
use crate::mutation::Slice;
use crate::storage::testing::*;
use crate::storage::{ReadRows, Storage, StorageOptions, journal};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROWS: i32 = 3_000;
const FLIPS: usize = 50;

/// A value that no other row has.
fn value(c: i32) -> i32 {
    c.wrapping_mul(0x9E37_79B1_u32 as i32) ^ 0x55aa
}

/// Small memtables, so that there are table files besides the journal.
fn small() -> StorageOptions {
    StorageOptions { memtable_bytes: 64 * 1024, ..options() }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// How much of a file is in use; what is set aside behind it is zeros.
fn used(path: &Path) -> u64 {
    let bytes = std::fs::read(path).expect("readable");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

fn flip(random: &mut StdRng, path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("it opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("readable");
    byte[0] ^= 1 << random.random_range(0..8);
    file.write_all_at(&byte, at).expect("writable");
}

#[derive(Debug, Default)]
struct Counts {
    refused: usize,
    errors: usize,
    fewer: usize,
    unharmed: usize,
}

/// What a directory serves, by row; `Err` if a read fails.
fn served(storage: &Storage) -> crate::error::Result<BTreeMap<i32, Option<i32>>> {
    let view = storage.view();
    let table = table_of(&*view);
    let mut served = BTreeMap::new();
    for p in 0..7 {
        for row in view.rows(&table, &partition(p), &Slice::all())? {
            let row = row?;
            let value = row.cells.get(&V).and_then(|cell| cell.value.clone());
            let value = value.map(|bytes: Bytes| as_int(&bytes));
            assert!(served.insert(as_int(&row.clustering[0]), value).is_none(), "a row twice");
        }
    }
    Ok(served)
}

#[tokio::test]
async fn a_flip_in_the_framing_of_an_earlier_batch_takes_nothing_away() {
    const BATCHES: i32 = 6;
    let mut random = StdRng::seed_from_u64(7);
    let dir = tempfile::tempdir().expect("a temporary directory");
    {
        let storage = open_with(dir.path(), options());
        let table = table_of(&*storage.view());
        for c in 0..BATCHES {
            apply(&storage, vec![insert(&table, c % 7, c, value(c), 1_000 + i64::from(c))]).await;
        }
    }
    let path = journal::active(dir.path()).expect("a journal");
    let bytes = std::fs::read(&path).expect("readable");
    let batches = journal::batches(&bytes).expect("whole");
    let (_, earlier) = batches.split_last().expect("some");
    let (mut refused, mut lost) = (0, Vec::new());
    for batch in earlier {
        // Mark, count and number; mark and lengths of the first item; end mark, checksum, trailer.
        let framing = (0..13 + 1 + 10 + 10).map(|at| batch.start + at);
        for at in framing.chain(batch.end - 13..batch.end) {
            let rotten = tempfile::tempdir().expect("a temporary directory");
            copy(dir.path(), rotten.path());
            flip(&mut random, &rotten.path().join(path.file_name().expect("a name")), at as u64);
            let opened = catch_unwind(AssertUnwindSafe(|| {
                let metrics = crate::metrics::Metrics::new().expect("metric names are unique");
                Storage::open(rotten.path(), options(), metrics, |_| catalog([table(1, None)]))
            }));
            let Ok(Ok(storage)) = opened else {
                refused += 1;
                continue;
            };
            if let Ok(served) = served(&storage)
                && served.len() != BATCHES as usize
            {
                lost.push((at - batch.start, batch.number));
            }
        }
    }
    println!("{refused} flips were refused");
    assert!(lost.is_empty(), "offsets in batches whose flips took rows away: {lost:?}");
    assert!(refused > 100);
}

/// What became of a directory with a flipped bit.
#[derive(Debug, Clone, Copy)]
enum Found {
    /// It did not open.
    Refused,
    /// It opened, and a read failed.
    Failed,
    /// It served less than was written.
    Fewer,
    /// It served all that was written.
    Unharmed,
}

impl Found {
    const ALL: [Self; 4] = [Self::Refused, Self::Failed, Self::Fewer, Self::Unharmed];

    /// Its line in the output of [`one_flip`].
    fn mark(self) -> String {
        format!("found: {self:?}")
    }
}

/// Names the directory for [`one_flip`].
const ROTTEN: &str = "BIT_ROT_DIRECTORY";

/// Opens and reads a directory in a process of its own: a length that flipped may ask for more memory
/// than there is, which ends the process. That is a refusal too.
fn open_and_read(rotten: &Path, what: &str) -> Found {
    let name = "storage::tests::bit_rot::one_flip";
    let output = Command::new(std::env::current_exe().expect("the test program"))
        .args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROTTEN, rotten)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code().is_none() && complained.contains("memory allocation of") {
        return Found::Refused;
    }
    match Found::ALL.into_iter().find(|found| said.contains(&found.mark())) {
        Some(found) if output.status.success() => found,
        _ => panic!("{what}: {}\n{said}\n{complained}", output.status),
    }
}

/// One directory, named by the environment.
#[test]
#[ignore = "a process of flipped_bits_are_never_served"]
fn one_flip() {
    let rotten = PathBuf::from(std::env::var_os(ROTTEN).expect("run by another test"));
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let metrics = crate::metrics::Metrics::new().expect("metric names are unique");
        Storage::open(&rotten, small(), metrics, |_| catalog([table(1, None)]))
    }));
    let Ok(Ok(storage)) = opened else {
        println!("{}", Found::Refused.mark());
        return;
    };
    assert!(storage.view().catalog().table("ks", "t").is_some(), "another schema");
    let found = match served(&storage) {
        Ok(served) => {
            for (c, served) in &served {
                assert!((0..ROWS).contains(c), "row {c} was never written");
                assert_eq!(*served, Some(value(*c)), "another value of row {c}");
            }
            if served.len() == ROWS as usize { Found::Unharmed } else { Found::Fewer }
        }
        Err(_) => Found::Failed,
    };
    println!("{}", found.mark());
}

#[tokio::test]
async fn flipped_bits_are_never_served() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().next_u64());
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().expect("a temporary directory");
    {
        let storage = open_with(dir.path(), small());
        let table = table_of(&*storage.view());
        for first in (0..ROWS).step_by(50) {
            let changes = (first..first + 50)
                .map(|c| insert(&table, c % 7, c, value(c), 1_000 + i64::from(c)))
                .collect();
            apply(&storage, changes).await;
        }
    }
    let mut candidates: Vec<_> =
        files(dir.path()).into_iter().map(|path| (used(&path), path)).collect();
    candidates.retain(|(used, _)| *used > 0);
    let is_table = |path: &Path| path.components().any(|part| part.as_os_str() == "tables");
    assert!(candidates.iter().any(|(_, path)| is_table(path)), "all is in the journal");
    let mut counts = Counts::default();
    for number in 0..FLIPS {
        let rotten = tempfile::tempdir().expect("a temporary directory");
        copy(dir.path(), rotten.path());
        let (used, file) = &candidates[random.random_range(0..candidates.len())];
        let name = file.strip_prefix(dir.path()).expect("it is there");
        let at = random.random_range(0..*used);
        flip(&mut random, &rotten.path().join(name), at);
        let what = format!("flip {number} at {at} of {}", name.display());
        match open_and_read(rotten.path(), &what) {
            Found::Refused => counts.refused += 1,
            Found::Failed => counts.errors += 1,
            Found::Fewer => counts.fewer += 1,
            Found::Unharmed => counts.unharmed += 1,
        }
    }
    println!("{counts:?}");
    assert!(counts.refused + counts.errors > 0, "no flip was noticed: {counts:?}");
    assert!(counts.fewer * 6 < FLIPS, "many flips go unnoticed: {counts:?}");
}
