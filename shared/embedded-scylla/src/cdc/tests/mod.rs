//! The log of every kind of change: worked examples, and what a real
//! ScyllaDB logged (golden script 08).

mod images;
mod log;
mod schema;

use super::{Generation, StreamId, augment, log_name, log_table};
use crate::error::{ErrorKind, Result};
use crate::metrics::Metrics;
use crate::mutation::{
    Cell, Expiry, Marker, Mutation, PartitionKey, RangeTombstone, RowChange, Slice,
};
use crate::schema::{CdcOptions, CqlType, Preimage, Table};
use crate::storage::testing::{self, S, V, W, as_int, catalog, int, partition, tombstone};
use crate::storage::{ReadRows, Storage};
use crate::types::timeuuid;
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

const OFF: CdcOptions = CdcOptions {
    enabled: true,
    preimage: Preimage::Off,
    postimage: false,
    full_delta: true,
    ttl_seconds: 86_400,
};

/// A storage with [`testing::table`] and its log.
struct Fixture {
    storage: Storage,
    base: Arc<Table>,
    log: Arc<Table>,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(options: CdcOptions) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let base = testing::table(1, Some(options));
        let log = log_table(&base, None, Uuid::from_u128(2), 2);
        let tables = [base.clone(), log.clone()];
        let metrics = Metrics::new().expect("metric names are unique");
        let storage = Storage::open(dir.path(), testing::options(), metrics, |_| catalog(tables))
            .expect("the directory opens");
        Self { storage, base: Arc::new(base), log: Arc::new(log), dir }
    }

    fn reopened(self) -> Self {
        let Self { storage, base, log, dir } = self;
        drop(storage);
        let storage = testing::open(dir.path());
        Self { storage, base, log, dir }
    }

    /// Logs and applies a change of partition 1, as a request does.
    async fn run(&self, build: impl FnOnce(&mut Mutation, i64) + Send + 'static) {
        self.try_run(1, build).await.expect("the write succeeds");
    }

    async fn try_run(
        &self,
        p: i32,
        build: impl FnOnce(&mut Mutation, i64) + Send + 'static,
    ) -> Result<()> {
        let mut mutation = testing::change(&self.base, p);
        self.storage
            .write(move |context| {
                build(&mut mutation, context.next_timestamp());
                let log = augment(context, std::slice::from_ref(&mutation))?;
                log.iter().chain([&mutation]).try_for_each(|mutation| context.apply(mutation))
            })
            .await
    }

    /// The log's rows of partition 1: one list per group, in the order of the stream.
    fn log(&self) -> Vec<Vec<String>> {
        let stream = self.storage.generation().stream(partition(1).token);
        self.log_of(stream).into_iter().map(|(_, rows)| rows).collect()
    }

    fn log_of(&self, stream: StreamId) -> Vec<(Uuid, Vec<String>)> {
        let view = self.storage.view();
        let key = PartitionKey {
            token: stream.token(),
            components: vec![Bytes::copy_from_slice(&stream.0)],
        };
        let mut groups: Vec<(Uuid, Vec<String>)> = Vec::new();
        for row in view.rows(&self.log, &key, &Slice::all()).expect("readable") {
            let row = row.expect("readable");
            assert_eq!(row.marker, None, "log rows have no marker");
            let time = Uuid::from_slice(&row.clustering[0]).expect("a uuid");
            let cells = self.log.columns.iter().filter_map(|column| {
                let value = row.cells.get(&column.id)?.value.as_ref()?;
                Some(match (column.name.as_str(), &column.ty) {
                    ("cdc$end_of_batch", _) => "end".to_owned(),
                    ("cdc$operation", _) => format!("op{}", value[0]),
                    ("p", _) => {
                        assert_eq!(as_int(value), 1);
                        return None;
                    }
                    (name, CqlType::Int) => format!("{name}={}", as_int(value)),
                    (name, CqlType::Boolean) => name.trim_start_matches("cdc$").to_owned(),
                    (name, _) => {
                        let number = value.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
                        format!("{}={number}", name.trim_start_matches("cdc$"))
                    }
                })
            });
            let number = as_int(&row.clustering[1]);
            let text = format!("{number}: {}", cells.collect::<Vec<_>>().join(" "));
            match groups.last_mut().filter(|group| group.0 == time) {
                Some(group) => group.1.push(text),
                None => groups.push((time, vec![text])),
            }
        }
        groups
    }
}

fn marked(mutation: &mut Mutation, c: i32, ts: i64) -> &mut RowChange {
    let row = mutation.row_mut(vec![int(c)]);
    row.set_marker(Marker { timestamp: ts, expiry: None });
    row
}

fn set(row: &mut RowChange, column: u16, value: Option<i32>, ts: i64) {
    let cell = value.map_or(Cell::dead(ts, 1), |value| Cell::live(ts, int(value)));
    row.set_cell(column, cell);
}

fn inserted(mutation: &mut Mutation, c: i32, v: i32, ts: i64) {
    set(marked(mutation, c, ts), V, Some(v), ts);
}

fn delete_row(mutation: &mut Mutation, c: i32, ts: i64) {
    mutation.row_mut(vec![int(c)]).set_tombstone(tombstone(ts, 1));
}

fn delete_range(mutation: &mut Mutation, start: Bound<i32>, end: Bound<i32>, ts: i64) {
    let bound = |bound: Bound<i32>| bound.map(|c| vec![int(c)]);
    let (start, end) = (bound(start), bound(end));
    mutation.ranges.push(RangeTombstone { start, end, tombstone: tombstone(ts, 1) });
}

fn check(found: &[Vec<String>], expected: &[&[&str]]) {
    let found: Vec<Vec<&str>> =
        found.iter().map(|group| group.iter().map(String::as_str).collect()).collect();
    assert_eq!(found, expected);
}
