//! Any order of the same changes gives the same rows, and the rows are those of a naive model that
//! keeps every version and looks at all of them.

use crate::mutation::{
    Cell, Expiry, Marker, Mutation, RangeTombstone, RowChange, Slice, Tombstone,
};
use crate::schema::{ColumnId, Table};
use crate::storage::testing::*;
use crate::storage::{ReadRows, StorageOptions};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// One thing that a statement does to a partition.
#[derive(Debug, Clone)]
enum Op {
    Marker { c: i32, timestamp: i64, expiry: Option<Expiry> },
    Cell { c: i32, column: ColumnId, cell: Cell },
    Static { cell: Cell },
    Row { c: i32, tombstone: Tombstone },
    Range { start: Option<(i32, bool)>, end: Option<(i32, bool)>, tombstone: Tombstone },
    Partition { tombstone: Tombstone },
}

const ROWS: i32 = 5;
const PAST: i64 = 1_000;
const FUTURE: i64 = 4_000_000_000;

fn expiry() -> impl Strategy<Value = Option<Expiry>> {
    let at = prop_oneof![Just(PAST), Just(PAST + 1), Just(FUTURE), Just(FUTURE + 1)];
    prop::option::weighted(0.3, (1u32..3, at).prop_map(|(ttl, at)| Expiry { ttl, at }))
}

fn cell() -> impl Strategy<Value = Cell> {
    let live = (0i64..5, 0i32..3, expiry()).prop_map(|(timestamp, value, expiry)| Cell {
        expiry,
        ..Cell::live(timestamp, int(value))
    });
    prop_oneof![3 => live, 1 => (0i64..5, 0i64..2).prop_map(|(ts, at)| Cell::dead(ts, at))]
}

fn op() -> impl Strategy<Value = Op> {
    let c = 0..ROWS;
    let dead = || (0i64..5, 0i64..2).prop_map(|(ts, at)| tombstone(ts, at));
    let bound = || prop::option::of((0..ROWS, any::<bool>()));
    prop_oneof![
        4 => (c.clone(), 0i64..5, expiry())
            .prop_map(|(c, timestamp, expiry)| Op::Marker { c, timestamp, expiry }),
        8 => (c.clone(), prop_oneof![Just(V), Just(W)], cell())
            .prop_map(|(c, column, cell)| Op::Cell { c, column, cell }),
        2 => cell().prop_map(|cell| Op::Static { cell }),
        2 => (c, dead()).prop_map(|(c, tombstone)| Op::Row { c, tombstone }),
        2 => (bound(), bound(), dead())
            .prop_map(|(start, end, tombstone)| Op::Range { start, end, tombstone }),
        1 => dead().prop_map(|tombstone| Op::Partition { tombstone }),
    ]
}

impl Op {
    fn add_to(&self, mutation: &mut Mutation) {
        match self.clone() {
            Self::Marker { c, timestamp, expiry } => {
                mutation.row_mut(vec![int(c)]).set_marker(Marker { timestamp, expiry });
            }
            Self::Cell { c, column, cell } => mutation.row_mut(vec![int(c)]).set_cell(column, cell),
            Self::Static { cell } => mutation.set_static(S, cell),
            Self::Row { c, tombstone } => mutation.row_mut(vec![int(c)]).set_tombstone(tombstone),
            Self::Range { start, end, tombstone } => {
                let bound = |bound: Option<(i32, bool)>| match bound {
                    None => Bound::Unbounded,
                    Some((c, true)) => Bound::Included(vec![int(c)]),
                    Some((c, false)) => Bound::Excluded(vec![int(c)]),
                };
                mutation.ranges.push(RangeTombstone {
                    start: bound(start),
                    end: bound(end),
                    tombstone,
                });
            }
            Self::Partition { tombstone } => mutation.set_tombstone(tombstone),
        }
    }

    /// The timestamp up to which it hides row `c` (the static row: `None`).
    fn hides(&self, row: Option<i32>) -> Option<i64> {
        match (self, row) {
            (Self::Partition { tombstone }, _) => Some(tombstone.timestamp),
            (Self::Row { c, tombstone }, Some(row)) if *c == row => Some(tombstone.timestamp),
            (Self::Range { start, end, tombstone }, Some(row)) => {
                let from = start.is_none_or(|(c, within)| c < row || within && c == row);
                let to = end.is_none_or(|(c, within)| row < c || within && c == row);
                (from && to).then_some(tombstone.timestamp)
            }
            _ => None,
        }
    }
}

/// The value that a read sees of the versions of one cell.
fn seen<'a>(versions: impl Iterator<Item = &'a Cell>, hidden: i64, now: i64) -> Option<i32> {
    let preferred = versions.max_by_key(|cell| {
        let expiry = cell.expiry;
        (
            cell.timestamp,
            cell.value.is_none(),
            cell.deleted_at,
            expiry.is_some(),
            expiry.map(|expiry| (expiry.at, std::cmp::Reverse(expiry.ttl))),
            cell.value.clone(),
        )
    })?;
    let expired = preferred.expiry.is_some_and(|expiry| expiry.at <= now);
    let value = preferred.value.as_ref().filter(|_| !expired && preferred.timestamp > hidden)?;
    Some(as_int(value))
}

type Rows = Vec<(i32, Option<i32>, Option<i32>)>;

fn model(ops: &[Op], now: i64) -> (Rows, Option<i32>) {
    let hidden = |row| ops.iter().filter_map(|op| op.hides(row)).max().unwrap_or(i64::MIN);
    let statics = ops.iter().filter_map(|op| match op {
        Op::Static { cell } => Some(cell),
        _ => None,
    });
    let mut rows = Rows::new();
    for row in 0..ROWS {
        let hidden = hidden(Some(row));
        let value = |wanted| {
            let versions = ops.iter().filter_map(move |op| match op {
                Op::Cell { c, column, cell } if *c == row && *column == wanted => Some(cell),
                _ => None,
            });
            seen(versions, hidden, now)
        };
        // A marker is a cell without a value.
        let markers: Vec<Cell> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Marker { c, timestamp, expiry } if *c == row => {
                    Some(Cell { expiry: *expiry, ..Cell::live(*timestamp, int(0)) })
                }
                _ => None,
            })
            .collect();
        let (v, w) = (value(V), value(W));
        if v.is_some() || w.is_some() || seen(markers.iter(), hidden, now).is_some() {
            rows.push((row, v, w));
        }
    }
    (rows, seen(statics, hidden(None), now))
}

/// Mutations of `p` with up to `size` changes each.
fn mutations(table: &Arc<Table>, p: i32, ops: &[Op], size: usize) -> Vec<Mutation> {
    let merge = |ops: &[Op]| {
        let mut whole = change(table, p);
        for op in ops {
            let mut one = change(table, p);
            op.add_to(&mut one);
            whole.merge(one);
        }
        whole
    };
    ops.chunks(size).map(merge).collect()
}

#[test]
fn merging_follows_the_model_in_any_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a temporary directory");
    // Small, so that rows are also read from files.
    let storage = open_with(dir.path(), StorageOptions { memtable_bytes: 16 * 1024, ..periodic() });
    let table = table_of(&*storage.view());
    let next = AtomicI32::new(0);
    let strategy = (prop::collection::vec(op(), 1..25), 1usize..6)
        .prop_flat_map(|(ops, size)| (Just(ops.clone()), Just(ops).prop_shuffle(), Just(size)));
    let mut runner = TestRunner::new(Config { cases: 400, ..Config::default() });
    let outcome = runner.run(&strategy, |(ops, shuffled, size)| {
        let [first, second] = [(); 2].map(|()| next.fetch_add(1, Ordering::Relaxed));
        let mut changes = mutations(&table, first, &ops, size);
        // In another order, in one piece or many, and part of it twice.
        changes.extend(mutations(&table, second, &shuffled, 7 - size));
        changes.extend(mutations(&table, second, &ops[..ops.len() / 2], 3));
        runtime.block_on(async {
            for change in changes {
                apply(&storage, vec![change]).await;
            }
        });
        let view = storage.view();
        let expected = model(&ops, view.now_seconds());
        for p in [first, second] {
            let statics = view.statics(&table, &partition(p)).expect("readable");
            let statics = statics.get(&S).and_then(|cell| cell.value.as_deref()).map(as_int);
            let found = (rows(&*view, &table, p, &Slice::all()), statics);
            prop_assert_eq!(&found, &expected);
            for row in 0..ROWS {
                let one = rows(&*view, &table, p, &Slice::prefix(vec![int(row)]));
                let expected: Rows =
                    expected.0.iter().filter(|found| found.0 == row).copied().collect();
                prop_assert_eq!(one, expected, "row {} read alone", row);
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn ties_go_as_scylladb_decides_them() {
    let live = |value: i32| Cell::live(5, int(value));
    let check = |winner: Cell, loser: Cell| {
        for (first, second) in [(&winner, &loser), (&loser, &winner)] {
            let mut row = RowChange { cells: BTreeMap::new(), ..RowChange::default() };
            row.set_cell(V, first.clone());
            row.set_cell(V, second.clone());
            assert_eq!(row.cells[&V], winner, "{first:?} then {second:?}");
        }
    };
    check(Cell::live(6, int(0)), live(9));
    check(Cell::dead(5, 0), live(9));
    check(expiring(5, 0, 10, 100), live(9));
    check(expiring(5, 0, 10, 101), expiring(5, 9, 10, 100));
    check(expiring(5, 0, 9, 100), expiring(5, 9, 10, 100));
    check(expiring(5, 9, 10, 100), expiring(5, 0, 10, 100));
    check(live(9), live(0));
    // Unsigned bytes: -1 is the largest int.
    check(live(-1), live(i32::MAX));
    check(Cell::dead(5, 8), Cell::dead(5, 7));
}
