//! Random writes and deletes with colliding timestamps, compared with the model. The table is read
//! back in every way; and what its CDC log says, taken for a history, must lead to the same rows.

use crate::support::model::{
    Change, LogBound, PARTITIONS, Row, Step, create, execute, groups, partition, read, write,
};
use crate::support::random::{assert_no_panics, random};
use crate::support::server::TestServer;
use anyhow::{Context as _, bail, ensure};
use proptest::prelude::*;
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// One way of reading.
#[derive(Debug, Clone)]
struct Query {
    p: Option<i32>,
    /// `c >= low AND c < high`
    slice: Option<(i32, i32)>,
    reversed: bool,
    limit: Option<usize>,
    per_partition: Option<usize>,
    page_size: Option<i32>,
}

impl Query {
    const ALL: Self = Self {
        p: None,
        slice: None,
        reversed: false,
        limit: None,
        per_partition: None,
        page_size: None,
    };

    fn cql(&self) -> String {
        let mut text = "SELECT p, c, d, s, v, w, WRITETIME(v) FROM m.t".to_owned();
        if let Some(p) = self.p {
            text += &format!(" WHERE p = {p}");
            if let Some((low, high)) = self.slice {
                text += &format!(" AND c >= {low} AND c < {high}");
            }
            if self.reversed {
                text += " ORDER BY c ASC, d DESC";
            }
        }
        for (what, limit) in [(" PER PARTITION LIMIT", self.per_partition), (" LIMIT", self.limit)]
        {
            if let Some(limit) = limit {
                text += &format!("{what} {limit}");
            }
        }
        text
    }

    fn expected(&self, steps: &[Step]) -> Vec<Row> {
        let mut rows = Vec::new();
        for p in PARTITIONS.into_iter().filter(|p| self.p.is_none_or(|own| own == *p)) {
            let mut found = partition(steps, p);
            if let (Some(_), Some((low, high))) = (self.p, self.slice) {
                // The static row has no c, so no slice contains it.
                found.retain(|row| {
                    row[1].is_some_and(|c| (i64::from(low)..i64::from(high)).contains(&c))
                });
            }
            if self.p.is_some() && self.reversed {
                found.reverse();
            }
            found.truncate(self.per_partition.unwrap_or(usize::MAX));
            rows.extend(found);
        }
        rows.truncate(self.limit.unwrap_or(usize::MAX));
        rows
    }
}

fn query() -> impl Strategy<Value = Query> {
    (
        prop::option::of(prop::sample::select(PARTITIONS.to_vec())),
        prop::option::weighted(0.3, (0..4, 0..5)),
        any::<bool>(),
        prop::option::weighted(0.3, 1usize..6),
        prop::option::weighted(0.3, 1usize..4),
        prop::option::of(1i32..5),
    )
        .prop_map(|(p, slice, reversed, limit, per_partition, page_size)| Query {
            p,
            slice,
            reversed,
            limit,
            per_partition,
            page_size,
        })
}

fn history(steps: &[Step]) -> String {
    steps.iter().map(Step::cql).collect::<Vec<_>>().join("\n")
}

#[test]
fn reads_agree_with_the_definition() -> anyhow::Result<()> {
    let server = TestServer::start()?;
    let mut client = server.connect()?;
    create(&mut client, "")?;
    let client = RefCell::new(client);
    let strategy = (groups(1..6), prop::collection::vec(query(), 1..6));
    random(200, strategy, |(groups, queries)| {
        let mut client = client.borrow_mut();
        execute(&mut client, "TRUNCATE m.t")?;
        write(&mut client, &groups)?;
        let steps = groups.concat();
        for query in queries.iter().chain([&Query::ALL]) {
            let expected = query.expected(&steps);
            let got: Vec<Row> = read(&mut client, &query.cql(), query.page_size)?;
            ensure!(
                expected == got,
                "{} in pages of {:?}\nexpected {expected:?}\ngot      {got:?}\nafter\n{}",
                query.cql(),
                query.page_size,
                history(&steps)
            );
        }
        Ok(())
    })?;
    assert_no_panics(&server)
}

const LOG: &str = "SELECT \"cdc$time\", \"cdc$batch_seq_no\", \"cdc$operation\", \"cdc$end_of_batch\", p, c, d, \
     s, v, w, \"cdc$deleted_s\", \"cdc$deleted_v\", \"cdc$deleted_w\" FROM m.t_scylla_cdc_log";

/// What the log tells happened. Groups must be whole: numbered from 0, the last row marked.
fn told(rows: &[[Option<i64>; 13]]) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut expected_number = 0;
    let mut start = None;
    for row in rows {
        let [time, number, operation, end, p, c, d, s, v, w, no_s, no_v, no_w] = *row;
        ensure!(
            number == Some(expected_number),
            "row {row:?} is number {expected_number} of its group"
        );
        expected_number = if end == Some(1) { 0 } else { expected_number + 1 };
        let [p, c, d] = [p, c, d].map(|key| key.map(|key| key as i32));
        let touch = |value: Option<i64>, deleted: Option<i64>| match (value, deleted) {
            (Some(value), None) => Ok(Some(Some(value as i32))),
            (None, Some(1)) => Ok(Some(None)),
            (None, None) => Ok(None),
            _ => bail!("both a value and a deletion in {row:?}"),
        };
        let bound = |inclusive| LogBound { c, d, inclusive };
        let change = match (operation.context("an operation")?, c, d) {
            (1, None, None) => Change::Static(touch(s, no_s)?.context("a static change of s")?),
            (operation @ (1 | 2), Some(c), Some(d)) => {
                let (v, w) = (touch(v, no_v)?, touch(w, no_w)?);
                Change::Write { c, d, marker: operation == 2, v, w }
            }
            (3, Some(c), Some(d)) => Change::DeleteRow { c, d },
            (4, None, None) => Change::DeletePartition,
            (operation @ (5 | 6), ..) => {
                ensure!(
                    start.replace(bound(operation == 5)).is_none(),
                    "two starts before {row:?}"
                );
                continue;
            }
            (operation @ (7 | 8), ..) => {
                let start = start.take().with_context(|| format!("no start before {row:?}"))?;
                Change::DeleteBetween { start, end: bound(operation == 7) }
            }
            _ => bail!("what is {row:?}?"),
        };
        let timestamp = time.context("a time")?;
        steps.push(Step { p: p.context("a partition key")?, timestamp, change });
    }
    ensure!(expected_number == 0 && start.is_none(), "the last group has no end");
    Ok(steps)
}

#[test]
fn the_log_tells_what_happened() -> anyhow::Result<()> {
    let server = TestServer::start()?;
    let mut client = server.connect()?;
    create(&mut client, " AND cdc = {'enabled': true}")?;
    let client = RefCell::new(client);
    // After the start of the generation, and not in the future.
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
    let base = now - 30_000_000;
    random(200, groups(base..base + 5), |groups| {
        let mut client = client.borrow_mut();
        execute(&mut client, "TRUNCATE m.t")?;
        execute(&mut client, "TRUNCATE m.t_scylla_cdc_log")?;
        write(&mut client, &groups)?;
        let got: Vec<Row> = read(&mut client, &Query::ALL.cql(), None)?;
        let log = read(&mut client, LOG, Some(7))?;
        let told = told(&log)?;
        let expected = Query::ALL.expected(&told);
        ensure!(
            expected == got,
            "the log leads to {expected:?}\nthe table has {got:?}\nafter\n{}\nthe log tells\n{}",
            history(&groups.concat()),
            history(&told)
        );
        Ok(())
    })?;
    assert_no_panics(&server)
}
