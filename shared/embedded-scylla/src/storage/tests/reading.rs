//! Slices, partitions, tombstones as reads see them.

use crate::mutation::{RangeTombstone, Slice};
use crate::storage::testing::*;
use crate::storage::{PartitionPosition, ReadRows};
use bytes::Bytes;
use std::ops::Bound;

fn slice(start: Bound<i32>, end: Bound<i32>, reversed: bool) -> Slice {
    let bound = |bound: Bound<i32>| bound.map(|value| vec![int(value)]);
    Slice { start: bound(start), end: bound(end), reversed }
}

#[tokio::test]
async fn slices_keep_to_their_bounds_in_both_directions() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = open(dir.path());
    let table = table_of(&*storage.view());
    let changes = [-3, 0, 1, 2, 7].map(|c| insert(&table, 1, c, c * 10, 5));
    apply(&storage, changes.into()).await;
    apply(&storage, vec![insert(&table, 2, 1, 1, 5)]).await;
    let view = storage.view();
    let check = |slice: Slice, expected: &[i32]| {
        let found: Vec<i32> = rows(&*view, &table, 1, &slice).iter().map(|row| row.0).collect();
        assert_eq!(found, expected, "{slice:?}");
    };
    use Bound::{Excluded, Included, Unbounded};
    check(Slice::all(), &[-3, 0, 1, 2, 7]);
    check(Slice { reversed: true, ..Slice::all() }, &[7, 2, 1, 0, -3]);
    check(slice(Included(0), Excluded(2), false), &[0, 1]);
    check(slice(Excluded(0), Included(2), false), &[1, 2]);
    check(slice(Excluded(0), Unbounded, true), &[7, 2, 1]);
    check(slice(Unbounded, Excluded(0), false), &[-3]);
    check(slice(Included(3), Included(6), false), &[]);
    check(slice(Included(6), Included(3), false), &[]);
    check(slice(Excluded(2), Excluded(2), false), &[]);
    check(Slice::prefix(vec![int(2)]), &[2]);
    check(Slice::prefix(vec![int(3)]), &[]);
    check(Slice::prefix(Vec::new()), &[-3, 0, 1, 2, 7]);
}

#[tokio::test]
async fn partitions_come_in_token_order_and_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = open(dir.path());
    let table = table_of(&*storage.view());
    for p in 0..20 {
        // Some are large enough to be stepped over by a seek.
        let rows = if p % 3 == 0 { 40 } else { 1 };
        apply(&storage, (0..rows).map(|c| insert(&table, p, c, 0, 1)).collect()).await;
    }
    let view = storage.view();
    let mut expected: Vec<_> = (0..20).map(partition).collect();
    expected.sort_by_key(|key| key.token);
    let check = |start: Bound<PartitionPosition>, end: Bound<PartitionPosition>, from, to| {
        let found = view.partitions(&table, start.clone(), end.clone()).expect("readable");
        let found: Vec<_> = found.map(|key| key.expect("a key")).collect();
        assert_eq!(found, expected[from..to], "{start:?} to {end:?}");
    };
    let key = |index: usize| PartitionPosition::Key(expected[index].clone());
    let token = |index: usize| PartitionPosition::Token(expected[index].token);
    use Bound::{Excluded, Included, Unbounded};
    check(Unbounded, Unbounded, 0, 20);
    check(Included(key(3)), Included(key(5)), 3, 6);
    check(Excluded(key(3)), Excluded(key(5)), 4, 5);
    check(Included(token(3)), Included(token(5)), 3, 6);
    check(Excluded(token(3)), Excluded(token(5)), 4, 5);
    check(Excluded(PartitionPosition::Token(i64::MAX)), Unbounded, 20, 20);
    check(Excluded(PartitionPosition::Token(i64::MIN)), Unbounded, 0, 20);
}

#[tokio::test]
async fn a_partition_with_only_statics_or_tombstones_is_listed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = open(dir.path());
    let table = table_of(&*storage.view());
    let mut statics = change(&table, 1);
    statics.set_static(S, expiring(1, 7, 10, i64::MAX));
    let mut deleted = change(&table, 2);
    deleted.set_tombstone(tombstone(1, 1));
    apply(&storage, vec![statics, deleted]).await;
    let view = storage.view();
    let found = view.partitions(&table, Bound::Unbounded, Bound::Unbounded).expect("readable");
    assert_eq!(found.count(), 2);
    let live = view.statics(&table, &partition(1)).expect("readable");
    assert_eq!(live.get(&S).and_then(|cell| cell.value.clone()), Some(int(7)));
    assert_eq!(view.statics(&table, &partition(2)).expect("readable").len(), 0);
}

#[tokio::test]
async fn range_tombstones_hide_what_is_not_newer() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = open(dir.path());
    let table = table_of(&*storage.view());
    apply(&storage, (0..10).map(|c| insert(&table, 1, c, c, 10)).collect()).await;
    let mut delete = change(&table, 1);
    let mut hide = |start, end, timestamp| {
        delete.ranges.push(RangeTombstone { start, end, tombstone: tombstone(timestamp, 1) });
    };
    hide(Bound::Included(vec![int(2)]), Bound::Excluded(vec![int(5)]), 10);
    hide(Bound::Excluded(vec![int(7)]), Bound::Unbounded, 9);
    hide(Bound::Excluded(vec![int(8)]), Bound::Unbounded, 11);
    apply(&storage, vec![delete]).await;
    apply(&storage, vec![insert(&table, 1, 3, 33, 11)]).await;
    let found = rows(&*storage.view(), &table, 1, &Slice::all());
    let found: Vec<_> = found.into_iter().map(|row| (row.0, row.1)).collect();
    let plain = |c| (c, Some(c));
    assert_eq!(found, [plain(0), plain(1), (3, Some(33)), plain(5), plain(6), plain(7), plain(8)]);
}

#[tokio::test]
async fn keys_that_are_too_long_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = open(dir.path());
    let table = table_of(&*storage.view());
    let mut mutation = change(&table, 1);
    mutation.key.components = vec![Bytes::from(vec![1; 65_535])];
    mutation.row_mut(vec![int(1)]).set_cell(V, crate::mutation::Cell::live(1, int(1)));
    let result = storage.write(move |context| context.apply(&mutation)).await;
    let error = result.expect_err("the key is too long");
    assert_eq!(error.kind, crate::error::ErrorKind::Invalid, "{error}");
}
