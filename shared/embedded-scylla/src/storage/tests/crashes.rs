//! Killed processes and cut power: base and log agree, and what was acknowledged is there.

use crate::cdc::{augment, log_table};
use crate::metrics::Metrics;
use crate::mutation::{PartitionKey, Slice};
use crate::schema::{CdcOptions, Preimage, Table};
use crate::storage::commit::Sync as DeviceSync;
use crate::storage::journal::batches;
use crate::storage::testing::*;
use crate::storage::{ReadRows, Storage};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Bound;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;
use uuid::Uuid;

const DIRECTORY: &str = "EMBEDDED_SCYLLA_CRASH_DIRECTORY";
const FIRST: &str = "EMBEDDED_SCYLLA_CRASH_FIRST";

fn tables() -> [Table; 2] {
    let cdc = CdcOptions {
        enabled: true,
        preimage: Preimage::Off,
        postimage: false,
        full_delta: true,
        ttl_seconds: 0,
    };
    let base = table(1, Some(cdc));
    let log = log_table(&base, None, Uuid::from_u128(2), 2);
    [base, log]
}

fn open_logged(dir: &Path, sync: Option<DeviceSync>) -> Storage {
    let metrics = Metrics::new().expect("metric names are unique");
    let opened = match sync {
        Some(sync) => Storage::open_with(dir, options(), metrics, |_| catalog(tables()), sync),
        None => Storage::open(dir, options(), metrics, |_| catalog(tables())),
    };
    opened.unwrap_or_else(|error| panic!("{error:#}"))
}

/// Inserts row `c` of partition `c % 7`, and logs it.
async fn write(storage: &Storage, c: i32) {
    let base = table_of(&*storage.view());
    storage
        .write(move |context| {
            let mutation = insert(&base, c % 7, c, c, context.next_timestamp());
            let log = augment(context, std::slice::from_ref(&mutation))?;
            log.iter().chain([&mutation]).try_for_each(|mutation| context.apply(mutation))
        })
        .await
        .expect("the write succeeds");
}

/// The rows of the base table. Fails if the log says anything else.
fn rows_agreed_on(storage: &Storage) -> BTreeSet<i32> {
    let view = storage.view();
    let base = table_of(&*view);
    let found: BTreeSet<i32> =
        (0..7).flat_map(|p| rows(&*view, &base, p, &Slice::all())).map(|row| row.0).collect();
    let log = view.catalog().table("ks", "t_scylla_cdc_log").expect("the log exists");
    let value = log.column("v").expect("the log has the base's columns").id;
    let mut logged = BTreeSet::new();
    let streams = view.partitions(log, Bound::Unbounded, Bound::Unbounded).expect("readable");
    for stream in streams {
        let stream: PartitionKey = stream.expect("readable");
        for row in view.rows(log, &stream, &Slice::all()).expect("readable") {
            let row = row.expect("readable");
            let cell = row.cells.get(&value).and_then(|cell| cell.value.clone());
            let cell: Bytes = cell.expect("every log row has a value");
            assert!(logged.insert(as_int(&cell)), "{} was logged twice", as_int(&cell));
        }
    }
    assert_eq!(found, logged, "base and log disagree");
    found
}

/// Runs as a process of its own: writes until it is killed, and says what was acknowledged.
#[test]
#[ignore = "only run by killed_processes_lose_nothing"]
fn child() {
    let Ok(dir) = std::env::var(DIRECTORY) else { return };
    let first = std::env::var(FIRST).expect("the parent sets it").parse().expect("a number");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let storage = open_logged(Path::new(&dir), None);
        rows_agreed_on(&storage);
        let next = Arc::new(AtomicI32::new(first));
        let mut writers = JoinSet::new();
        for _ in 0..4 {
            writers.spawn(write_on(storage.clone(), Arc::clone(&next)));
        }
        writers.join_all().await;
    });
}

async fn write_on(storage: Storage, next: Arc<AtomicI32>) {
    loop {
        let c = next.fetch_add(1, Ordering::SeqCst);
        write(&storage, c).await;
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {c}").expect("the parent reads");
    }
}

#[tokio::test]
async fn killed_processes_lose_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged = BTreeSet::new();
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "storage::tests::crashes::child", "--ignored", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .env(FIRST, (round * 100_000).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        // Killed at an arbitrary moment, later in each round.
        let enough = 20 + 37 * round as usize;
        let mut count = 0;
        while count < enough {
            let line = lines.next().expect("the child writes on").expect("text");
            // The test harness's own words may stand before it.
            if let Some((_, c)) = line.split_once("acknowledged ") {
                acknowledged.insert(c.parse::<i32>().expect("a number"));
                count += 1;
            }
        }
        child.kill().expect("the child can be killed");
        child.wait().expect("the child ends");
        for line in lines.map_while(|line| line.ok()) {
            let number = line.split_once("acknowledged ").and_then(|(_, c)| c.parse::<i32>().ok());
            acknowledged.extend(number);
        }
        let storage = open_logged(dir.path(), None);
        let found = rows_agreed_on(&storage);
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "acknowledged but lost in round {round}: {lost:?}");
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

#[tokio::test]
async fn the_files_at_a_sync_hold_all_that_it_acknowledges() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copies = tempfile::tempdir().expect("a temporary directory");
    let count = Arc::new(AtomicUsize::new(0));
    // What a power cut right after this sync would leave.
    let latest = Arc::new(Mutex::new(None));
    let sync: DeviceSync = {
        let (from, to) = (dir.path().to_owned(), copies.path().to_owned());
        let (count, latest) = (Arc::clone(&count), Arc::clone(&latest));
        Box::new(move |database| {
            database.persist(fjall::PersistMode::SyncData)?;
            let number = count.fetch_add(1, Ordering::SeqCst);
            if number.is_multiple_of(4) {
                let target = to.join(number.to_string());
                copy(&from, &target);
                *latest.lock().expect("no panic") = Some(target);
            }
            Ok(())
        })
    };
    let storage = open_logged(dir.path(), Some(sync));
    for c in 0..9 {
        write(&storage, c).await;
        let copy = latest.lock().expect("no panic").take();
        if let Some(copy) = copy {
            let found = rows_agreed_on(&open_logged(&copy, None));
            assert_eq!(found, (0..=c).collect(), "in the files of the sync of write {c}");
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 9);
}

#[tokio::test]
async fn a_torn_journal_gives_a_prefix_of_the_commits() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let journal = |dir: &Path| dir.join("0.jnl");
    let ends = {
        let storage = open_logged(dir.path(), None);
        let mut ends = Vec::new();
        for c in 0..12 {
            write(&storage, c).await;
            // Space is set aside for more, all zeros.
            let file = std::fs::File::open(journal(dir.path())).expect("the journal is there");
            let mut bytes = Vec::new();
            file.take(64 * 1024).read_to_end(&mut bytes).expect("it can be read");
            ends.push(bytes.iter().rposition(|byte| *byte != 0).expect("not empty") + 1);
            let batches = batches(&bytes).expect("batches as this crate knows them");
            assert_eq!(batches.last().map(|batch| batch.end), ends.last().copied());
            assert!(
                batches
                    .windows(2)
                    .all(|two| { two[0].end == two[1].start && two[0].number < two[1].number })
            );
        }
        ends
    };
    let start = ends[0];
    let end = *ends.last().expect("commits were made");
    for cut in (start..=end).step_by((end - start) / 12) {
        let torn = tempfile::tempdir().expect("a temporary directory");
        copy(dir.path(), torn.path());
        // Blocks behind the cut never reached the device.
        let file = std::fs::OpenOptions::new().write(true).open(journal(torn.path()));
        let file = file.expect("the journal opens");
        let len = file.metadata().expect("it has a length").len();
        file.set_len(cut as u64).expect("cut");
        file.set_len(len).expect("filled with zeros");
        drop(file);
        let storage = open_logged(torn.path(), None);
        let found = rows_agreed_on(&storage);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert!(found.len() >= whole, "cut at {cut} of {end}: {found:?}, {whole} were whole");
        assert_eq!(found, (0..found.len() as i32).collect(), "cut at {cut}: not a prefix");
        // And it goes on from there.
        write(&storage, 100).await;
        assert!(rows_agreed_on(&storage).contains(&100));
    }
}
