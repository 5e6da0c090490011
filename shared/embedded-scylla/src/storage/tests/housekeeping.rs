//! What is dropped, expired and hidden goes, and nothing else.

use crate::mutation::{Cell, RangeTombstone, Slice};
use crate::storage::testing::*;
use crate::storage::{Clock, Storage, StorageOptions, key};
use fjall::Readable;
use std::ops::Bound;
use std::time::Duration;

fn quick(clock: Clock) -> StorageOptions {
    StorageOptions {
        sweep_interval: Duration::from_millis(1),
        step_interval: Duration::from_millis(1),
        // Small steps, so that a sweep takes many.
        step_keys_max: 3,
        clock,
        ..options()
    }
}

/// The number of stored entries of a table, whether anybody can see them or not.
fn stored(storage: &Storage, storage_id: u32) -> usize {
    let view = storage.view();
    let range = key::table_range(storage_id);
    view.snapshot.range::<Vec<u8>, _>(&view.rows, range.bounds()).count()
}

#[tokio::test]
async fn a_sweep_removes_what_nobody_can_see_any_more() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Clock::default();
    let storage = open_with(dir.path(), quick(clock.clone()));
    let table = table_of(&*storage.view());
    let now = clock.now_seconds();
    let mut kept = insert(&table, 1, 1, 1, 10);
    kept.row_mut(vec![int(1)]).set_cell(W, expiring(10, 1, 50, now + 50));
    let mut expired = change(&table, 1);
    for c in 2..8 {
        expired.row_mut(vec![int(c)]).set_cell(V, expiring(10, 1, 50, now + 50));
    }
    let mut deleted = insert(&table, 2, 1, 1, 10);
    deleted.row_mut(vec![int(1)]).set_tombstone(tombstone(11, now));
    deleted.row_mut(vec![int(2)]).set_cell(V, Cell::dead(11, now));
    deleted.set_static(S, Cell::dead(11, now));
    let mut hidden = insert(&table, 3, 1, 1, 10);
    hidden.row_mut(vec![int(2)]).set_cell(V, Cell::live(12, int(2)));
    hidden.ranges.push(RangeTombstone {
        start: Bound::Unbounded,
        end: Bound::Unbounded,
        tombstone: tombstone(11, now),
    });
    let mut gone = insert(&table, 4, 1, 1, 10);
    gone.set_tombstone(tombstone(11, now));
    apply(&storage, vec![kept, expired, deleted, hidden, gone]).await;

    // Hidden rows go at once, everything else stays for gc_grace_seconds: 3/1 and 4/1 are removed.
    let before = 7 + 3 + 3 + 2;
    wait_for("hidden rows", || stored(&storage, 1) == before - 2).await;
    clock.shift(99_000_000);
    assert_eq!(rows(&*storage.view(), &table, 1, &Slice::all()), [(1, Some(1), None)]);
    // Older versions are still hidden by what has expired and what was deleted.
    let mut late = insert(&table, 1, 2, 9, 9);
    late.rows[0].1.marker = None;
    apply(&storage, vec![late, insert(&table, 2, 1, 9, 9), insert(&table, 4, 1, 9, 9)]).await;
    for (p, expected) in [(1, vec![(1, Some(1), None)]), (2, vec![]), (4, vec![])] {
        assert_eq!(rows(&*storage.view(), &table, p, &Slice::all()), expected, "partition {p}");
    }

    clock.shift(100_000_000);
    // Left: 1/1 and 3/2.
    wait_for("expired and deleted rows", || stored(&storage, 1) == 2).await;
    assert_eq!(rows(&*storage.view(), &table, 1, &Slice::all()), [(1, Some(1), None)]);
    assert_eq!(rows(&*storage.view(), &table, 3, &Slice::all()), [(2, Some(2), None)]);
}

#[tokio::test]
async fn rows_of_a_dropped_table_are_removed_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    {
        // This one has no time for it.
        let slow = StorageOptions { step_interval: Duration::from_secs(3600), ..options() };
        let storage = open_with(dir.path(), slow);
        let old = table_of(&*storage.view());
        apply(&storage, (0..50).map(|c| insert(&old, 1, c, c, 1)).collect()).await;
        storage
            .write(move |context| {
                context.set_catalog(catalog([table(2, None)]));
                context.drop_storage(1);
                Ok(())
            })
            .await
            .expect("the write succeeds");
        let new = table_of(&*storage.view());
        assert_eq!(rows(&*storage.view(), &new, 1, &Slice::all()), []);
        apply(&storage, vec![insert(&new, 1, 7, 7, 1)]).await;
        assert_eq!(stored(&storage, 1), 50);
    }
    let storage = open_with(dir.path(), quick(Clock::default()));
    wait_for("rows of the dropped table", || stored(&storage, 1) == 0).await;
    let new = table_of(&*storage.view());
    assert_eq!(rows(&*storage.view(), &new, 1, &Slice::all()), [(7, Some(7), None)]);
    drop(storage);
    let storage = open(dir.path());
    assert_eq!((stored(&storage, 1), stored(&storage, 2)), (0, 1));
}
