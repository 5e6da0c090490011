//! Groups, durability, isolation, restarts.

#![expect(clippy::disallowed_methods, reason = "a test supervises its own tasks")]

use crate::error::CqlError;
use crate::metrics::Metrics;
use crate::mutation::Slice;
use crate::storage::testing::*;
use crate::storage::{Clock, Durability, ReadRows, Storage, StorageOptions};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::time::timeout;

/// A storage whose device syncs are announced, and go on when they are let.
struct Gated {
    storage: Storage,
    entered: mpsc::Receiver<()>,
    go_on: mpsc::Sender<bool>,
}

fn gated(dir: &Path) -> Gated {
    let (announce, entered) = mpsc::channel();
    let (go_on, gate) = mpsc::channel();
    let sync = Box::new(move |database: &fjall::Database| {
        announce.send(()).expect("the test listens");
        if gate.recv_timeout(Duration::from_secs(30)).expect("the test lets it go on") {
            database.persist(fjall::PersistMode::SyncData)
        } else {
            Err(fjall::Error::Io(std::io::Error::other("the device is gone")))
        }
    });
    let metrics = Metrics::new().expect("metric names are unique");
    let storage = Storage::open_with(dir, options(), metrics, |_| catalog([table(1, None)]), sync)
        .expect("the directory opens");
    Gated { storage, entered, go_on }
}

impl Gated {
    async fn sync_begins(&mut self) {
        let entered = std::mem::replace(&mut self.entered, mpsc::channel().1);
        let waited = tokio::task::spawn_blocking(move || {
            entered.recv_timeout(Duration::from_secs(30)).map(|()| entered)
        });
        self.entered = waited.await.expect("no panic").expect("a sync begins");
    }
}

#[tokio::test]
async fn a_write_is_neither_answered_nor_visible_before_its_sync() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut gated = gated(dir.path());
    let table = table_of(&*gated.storage.view());
    let storage = gated.storage.clone();
    let change = insert(&table, 1, 1, 5, 1);
    let write = tokio::spawn(async move { apply(&storage, vec![change]).await });
    gated.sync_begins().await;
    assert!(!write.is_finished(), "answered before the sync");
    assert_eq!(rows(&*gated.storage.view(), &table, 1, &Slice::all()), [], "visible too early");

    // A job that comes meanwhile sees it (it is earlier in the commit order) but is not answered
    // before the state that it saw is durable.
    let reader = {
        let (storage, table) = (gated.storage.clone(), Arc::clone(&table));
        tokio::spawn(async move {
            storage.write(move |context| Ok(rows(context, &table, 1, &Slice::all()))).await
        })
    };
    // A reader of the log waits for what already has a timestamp.
    let floor = {
        let storage = gated.storage.clone();
        tokio::spawn(async move { storage.raise_floor(i64::MAX).await })
    };
    let early = timeout(Duration::from_millis(50), floor).await;
    assert!(early.is_err(), "the floor settled before the sync");
    assert!(!reader.is_finished());

    gated.go_on.send(true).expect("the sync waits");
    write.await.expect("the write succeeds");
    assert_eq!(reader.await.expect("no panic"), Ok(vec![(1, Some(5), None)]));
    assert_eq!(rows(&*gated.storage.view(), &table, 1, &Slice::all()), [(1, Some(5), None)]);
}

#[tokio::test]
async fn writes_that_queue_up_during_a_sync_share_the_next_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut gated = gated(dir.path());
    let table = table_of(&*gated.storage.view());
    let write = |p| {
        let (storage, change) = (gated.storage.clone(), insert(&table, p, 1, 5, 1));
        tokio::spawn(async move { apply(&storage, vec![change]).await })
    };
    let first = write(0);
    let others: Vec<_> = {
        gated.sync_begins().await;
        (1..50)
            .map(|p| {
                let (storage, change) = (gated.storage.clone(), insert(&table, p, 1, 5, 1));
                tokio::spawn(async move { apply(&storage, vec![change]).await })
            })
            .collect()
    };
    // All are in the queue once each of their permits is taken.
    let free = options().queue_max - 50;
    while gated.storage.handle.queue.available_permits() > free {
        tokio::task::yield_now().await;
    }
    gated.go_on.send(true).expect("the first sync waits");
    first.await.expect("the write succeeds");
    // Everything else needs exactly one more.
    gated.go_on.send(true).expect("the second sync waits");
    for write in others {
        write.await.expect("the write succeeds");
    }
    gated.sync_begins().await;
    assert!(gated.entered.try_recv().is_err(), "a third sync was made");
}

#[tokio::test]
async fn a_failed_sync_acknowledges_nothing_ever_after() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let gated = gated(dir.path());
    let table = table_of(&*gated.storage.view());
    gated.go_on.send(false).expect("the storage runs");
    let change = insert(&table, 1, 1, 5, 1);
    let result = gated.storage.write(move |context| context.apply(&change)).await;
    let error = result.expect_err("nothing is durable");
    assert!(error.message.contains("the device is gone"), "{error}");
    assert_eq!(gated.storage.failed().await, error);
    assert_eq!(gated.storage.write(|_| Ok(())).await, Err(error));
    assert_eq!(rows(&*gated.storage.view(), &table, 1, &Slice::all()), []);
}

#[tokio::test]
async fn a_job_that_fails_or_panics_changes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = open(dir.path());
    let table = table_of(&*storage.view());
    let change = insert(&table, 1, 1, 5, 1);
    let failing = storage
        .write({
            let change = change.clone();
            move |context| {
                context.apply(&change)?;
                context.set_catalog(catalog([]));
                Err::<(), _>(CqlError::invalid("no"))
            }
        })
        .await;
    assert_eq!(failing, Err(CqlError::invalid("no")));
    let panicking = storage
        .write(move |context| -> crate::error::Result<()> {
            context.apply(&change)?;
            panic!("on purpose")
        })
        .await;
    assert!(panicking.is_err());
    apply(&storage, vec![insert(&table, 2, 1, 5, 1)]).await;
    let view = storage.view();
    assert_eq!(rows(&*view, &table, 1, &Slice::all()), []);
    assert_eq!(rows(&*view, &table, 2, &Slice::all()), [(1, Some(5), None)]);
    assert!(view.catalog().table("ks", "t").is_some());
}

#[tokio::test]
async fn a_view_does_not_change() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = open(dir.path());
    let table = table_of(&*storage.view());
    apply(&storage, vec![insert(&table, 1, 1, 1, 1)]).await;
    let old = storage.view();
    apply(&storage, vec![insert(&table, 1, 1, 2, 2), insert(&table, 1, 2, 2, 2)]).await;
    assert_eq!(rows(&*old, &table, 1, &Slice::all()), [(1, Some(1), None)]);
    assert_eq!(rows(&*storage.view(), &table, 1, &Slice::all()).len(), 2);
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Clock::default();
    let with_clock = || StorageOptions { clock: clock.clone(), ..options() };
    let (generation, last) = {
        let storage = open_with(dir.path(), with_clock());
        let table = table_of(&*storage.view());
        let mut wider = crate::storage::testing::table(7, None);
        wider.name = "u".into();
        let last = storage
            .write(move |context| {
                let timestamp = context.next_timestamp();
                context.apply(&insert(&table, 1, 1, 5, timestamp))?;
                context.set_catalog(catalog([crate::storage::testing::table(1, None), wider]));
                Ok(timestamp)
            })
            .await
            .expect("the write succeeds");
        (storage.generation(), last)
    };
    // The clock steps back while the server is down.
    clock.shift(-3_600_000_000);
    let storage = open_with(dir.path(), with_clock());
    assert_eq!(*storage.generation(), *generation);
    let view = storage.view();
    let table = table_of(&*view);
    assert_eq!(rows(&*view, &table, 1, &Slice::all()), [(1, Some(5), None)]);
    assert_eq!(view.catalog().table("ks", "u").map(|table| table.storage_id), Some(7));
    let next = storage.write(|context| Ok(context.next_timestamp())).await.expect("it runs");
    assert!(next > last, "{next} was given after {last}");
}

#[tokio::test]
async fn a_directory_has_one_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = open(dir.path());
    let metrics = Metrics::new().expect("metric names are unique");
    let second = Storage::open(dir.path(), options(), metrics, |_| catalog([]));
    let error = second.err().map(|error| format!("{error:#}")).expect("it is locked");
    assert!(error.contains("in use by another server"), "{error}");
    drop(storage);
    open(dir.path());
}

#[tokio::test]
async fn timestamps_rise_and_keep_above_the_floor() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = open(dir.path());
    let stamp = || async {
        storage
            .write(|context| Ok((context.now_micros(), context.next_timestamp())))
            .await
            .expect("it runs")
    };
    let (now, first) = stamp().await;
    assert!(first >= now);
    storage.raise_floor(first + 1_000_000).await;
    let (_, second) = stamp().await;
    assert!(second >= first + 1_000_000, "{second}");
    // A reader with a clock far ahead cannot take all others with it.
    storage.raise_floor(first + 3_600_000_000).await;
    let (now, third) = stamp().await;
    assert!(third > second && third <= now + 5_000_000, "{third} at {now}");
    let (_, fourth) = stamp().await;
    assert!(fourth > third);
}

#[tokio::test]
async fn a_write_goes_on_when_nobody_waits_for_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = open(dir.path());
    let table = table_of(&*storage.view());
    let ran = Arc::new(AtomicBool::new(false));
    let (change, flag) = (insert(&table, 1, 1, 5, 1), Arc::clone(&ran));
    let write = storage.write(move |context| {
        flag.store(true, Ordering::SeqCst);
        context.apply(&change)
    });
    // Polled once: handed over, then dropped.
    assert!(timeout(Duration::ZERO, write).await.is_err() || ran.load(Ordering::SeqCst));
    storage.write(|_| Ok(())).await.expect("the next one runs after it");
    assert_eq!(rows(&*storage.view(), &table, 1, &Slice::all()), [(1, Some(5), None)]);
}

/// A storage that syncs periodically, and the number of its syncs.
fn periodic_storage(dir: &Path, interval: Duration) -> (Storage, Arc<AtomicUsize>) {
    let syncs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&syncs);
    let sync = Box::new(move |database: &fjall::Database| {
        counter.fetch_add(1, Ordering::SeqCst);
        database.persist(fjall::PersistMode::SyncData)
    });
    let options = StorageOptions { durability: Durability::Periodic(interval), ..options() };
    let metrics = Metrics::new().expect("metric names are unique");
    let storage = Storage::open_with(dir, options, metrics, |_| catalog([table(1, None)]), sync)
        .expect("the directory opens");
    (storage, syncs)
}

#[tokio::test]
async fn periodic_durability_answers_before_the_sync() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (storage, syncs) = periodic_storage(dir.path(), Duration::from_secs(3600));
    let table = table_of(&*storage.view());
    apply(&storage, vec![insert(&table, 1, 1, 5, 1)]).await;
    assert_eq!(rows(&*storage.view(), &table, 1, &Slice::all()), [(1, Some(5), None)]);
    assert_eq!(syncs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn periodic_durability_syncs_once_for_all_writes_of_an_interval() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (storage, syncs) = periodic_storage(dir.path(), Duration::from_millis(300));
    let table = table_of(&*storage.view());
    let start = std::time::Instant::now();
    for c in 0..20 {
        apply(&storage, vec![insert(&table, 1, c, 5, 1)]).await;
    }
    wait_for("a sync", || syncs.load(Ordering::SeqCst) > 0).await;
    let intervals = start.elapsed().as_millis() as usize / 300;
    let syncs = syncs.load(Ordering::SeqCst);
    assert!(syncs <= intervals, "{syncs} syncs in {intervals} intervals");
}
