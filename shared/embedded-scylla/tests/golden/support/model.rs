//! A table by definition: all writes are kept, and the winner is looked for when it is asked.

use super::client::{Answer, Client};
use anyhow::{Context as _, bail, ensure};
use proptest::prelude::*;
use std::cmp::Ordering;
use std::ops::{Range, RangeInclusive};

/// Consistency ONE.
const ONE: u16 = 1;

/// 1582-10-15, where uuid time starts, in 100 ns ticks before 1970.
const UUID_EPOCH_TICKS: i64 = 0x01B2_1DD2_1381_4000;

/// The keyspace and the table of the model; with CDC where the log is read.
pub(crate) fn create(client: &mut Client, options: &str) -> anyhow::Result<()> {
    execute(
        client,
        "CREATE KEYSPACE m WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}",
    )?;
    execute(
        client,
        &format!(
            "CREATE TABLE m.t (p int, c int, d int, s int static, v int, w int, PRIMARY KEY (p, c, d)) \
             WITH CLUSTERING ORDER BY (c DESC, d ASC){options}"
        ),
    )
}

/// The partitions of the model, in the order of their tokens.
pub(crate) const PARTITIONS: [i32; 3] = [1, 0, 2];
pub(crate) const KEYS: RangeInclusive<i32> = 0..=3;

/// A cell of a write: not touched, deleted or set.
type Touch = Option<Option<i32>>;

#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// INSERT if `marker`, else UPDATE.
    Write {
        c: i32,
        d: i32,
        marker: bool,
        v: Touch,
        w: Touch,
    },
    Static(Option<i32>),
    DeleteRow {
        c: i32,
        d: i32,
    },
    /// `c` and in it from `d` on; without `d` all of it.
    DeleteIn {
        c: i32,
        from_d: Option<i32>,
    },
    /// `low < c <= high`
    DeleteRange {
        low: i32,
        high: i32,
    },
    DeletePartition,
    /// Between two bounds in clustering order; only from a log.
    DeleteBetween {
        start: LogBound,
        end: LogBound,
    },
}

/// A bound as the log has it: the columns that are given, and whether rows with just these are in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogBound {
    pub(crate) c: Option<i32>,
    pub(crate) d: Option<i32>,
    pub(crate) inclusive: bool,
}

impl LogBound {
    /// How a row compares with the columns given, in clustering order (c descending).
    fn order(&self, c: i32, d: i32) -> Ordering {
        let by_c = self.c.map_or(Ordering::Equal, |own| own.cmp(&c));
        by_c.then_with(|| self.d.map_or(Ordering::Equal, |own| d.cmp(&own)))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) p: i32,
    pub(crate) timestamp: i64,
    pub(crate) change: Change,
}

impl Step {
    /// The statement on the table `m.t`.
    pub(crate) fn cql(&self) -> String {
        let Self { p, timestamp, change } = self;
        let value =
            |value: &Option<i32>| value.map_or("null".to_owned(), |value| value.to_string());
        let delete = |what: String| {
            format!("DELETE FROM m.t USING TIMESTAMP {timestamp} WHERE p = {p}{what}")
        };
        match change {
            Change::Write { c, d, marker: true, v, w } => {
                let touched = [("v", v), ("w", w)].map(|(name, touch)| {
                    let touch = touch.as_ref();
                    (
                        touch.map(|_| format!(", {name}")),
                        touch.map(|cell| format!(", {}", value(cell))),
                    )
                });
                let names: String = touched.iter().filter_map(|(name, _)| name.clone()).collect();
                let values: String =
                    touched.iter().filter_map(|(_, value)| value.clone()).collect();
                format!(
                    "INSERT INTO m.t (p, c, d{names}) VALUES ({p}, {c}, {d}{values}) USING TIMESTAMP {timestamp}"
                )
            }
            Change::Write { c, d, marker: false, v, w } => {
                let mut sets: Vec<String> = [("v", v), ("w", w)]
                    .iter()
                    .filter_map(|(name, touch)| {
                        touch.as_ref().map(|cell| format!("{name} = {}", value(cell)))
                    })
                    .collect();
                if sets.is_empty() {
                    sets.push("v = null".to_owned());
                }
                format!(
                    "UPDATE m.t USING TIMESTAMP {timestamp} SET {} WHERE p = {p} AND c = {c} AND d = {d}",
                    sets.join(", ")
                )
            }
            Change::Static(cell) => format!(
                "UPDATE m.t USING TIMESTAMP {timestamp} SET s = {} WHERE p = {p}",
                value(cell)
            ),
            Change::DeleteRow { c, d } => delete(format!(" AND c = {c} AND d = {d}")),
            Change::DeleteIn { c, from_d: None } => delete(format!(" AND c = {c}")),
            Change::DeleteIn { c, from_d: Some(d) } => delete(format!(" AND c = {c} AND d >= {d}")),
            Change::DeleteRange { low, high } => delete(format!(" AND c > {low} AND c <= {high}")),
            Change::DeletePartition => delete(String::new()),
            Change::DeleteBetween { .. } => format!("{change:?}"),
        }
    }

    /// Whether the step deletes the whole row.
    fn covers(&self, c: i32, d: i32) -> bool {
        match self.change {
            Change::DeleteRow { c: own, d: own_d } => (own, own_d) == (c, d),
            Change::DeleteIn { c: own, from_d } => own == c && from_d.is_none_or(|from| d >= from),
            Change::DeleteRange { low, high } => low < c && c <= high,
            Change::DeletePartition => true,
            Change::DeleteBetween { start, end } => {
                let within = |bound: LogBound, outside: Ordering| match bound.order(c, d) {
                    Ordering::Equal => bound.inclusive,
                    order => order != outside,
                };
                within(start, Ordering::Less) && within(end, Ordering::Greater)
            }
            Change::Write { .. } | Change::Static(_) => false,
        }
    }
}

/// The winner of all versions of a cell that no tombstone hides: the latest; of equals a deletion,
/// else the larger value.
fn winner(
    versions: impl Iterator<Item = (i64, Option<i32>)>,
    hidden_to: i64,
) -> Option<(i32, i64)> {
    let (timestamp, _, value) = versions
        .filter(|(timestamp, _)| *timestamp > hidden_to)
        // Values win by their unsigned bytes.
        .map(|(timestamp, value)| (timestamp, value.is_none(), value.map(|value| value as u32)))
        .max()?;
    value.map(|value| (value as i32, timestamp))
}

/// p, c, d, s, v, w, writetime(v)
pub(crate) type Row = [Option<i64>; 7];

/// The rows of one partition in clustering order; the static row alone has no c.
pub(crate) fn partition(steps: &[Step], p: i32) -> Vec<Row> {
    let steps: Vec<&Step> = steps.iter().filter(|step| step.p == p).collect();
    let hidden = |covers: &dyn Fn(&Step) -> bool| {
        let timestamps = steps.iter().filter(|step| covers(step)).map(|step| step.timestamp);
        timestamps.max().unwrap_or(i64::MIN)
    };
    let statics = steps.iter().filter_map(|step| match step.change {
        Change::Static(cell) => Some((step.timestamp, cell)),
        _ => None,
    });
    let partition_hidden = hidden(&|step| matches!(step.change, Change::DeletePartition));
    let s = winner(statics, partition_hidden).map(|(s, _)| i64::from(s));
    let mut rows = Vec::new();
    for (c, d) in KEYS.rev().flat_map(|c| KEYS.map(move |d| (c, d))) {
        let hidden_to = hidden(&|step| step.covers(c, d));
        let writes = || {
            steps.iter().filter_map(move |step| match step.change {
                Change::Write { c: own, d: own_d, marker, v, w } if (own, own_d) == (c, d) => {
                    // An UPDATE that touches nothing is written as a deletion of v.
                    let v = if marker || v.is_some() || w.is_some() { v } else { Some(None) };
                    Some((step.timestamp, marker, v, w))
                }
                _ => None,
            })
        };
        let cell = |pick: fn(&(i64, bool, Touch, Touch)) -> Touch| {
            let versions = writes().filter_map(|write| pick(&write).map(|cell| (write.0, cell)));
            winner(versions, hidden_to)
        };
        let (v, w) = (cell(|write| write.2), cell(|write| write.3));
        let is_marked = writes().any(|(timestamp, marker, ..)| marker && timestamp > hidden_to);
        if is_marked || v.is_some() || w.is_some() {
            let number = |cell: Option<(i32, i64)>| cell.map(|(value, _)| i64::from(value));
            let key = [p, c, d].map(|part| Some(i64::from(part)));
            rows.push([key[0], key[1], key[2], s, number(v), number(w), v.map(|(_, at)| at)]);
        }
    }
    if rows.is_empty() && s.is_some() {
        rows.push([Some(p.into()), None, None, s, None, None, None]);
    }
    rows
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let cell = prop::option::weighted(0.8, prop::sample::select(vec![-1, 0, 1, 2]));
    let touch = prop::option::weighted(0.6, cell.clone());
    prop_oneof![
        6 => (KEYS, KEYS, any::<bool>(), touch.clone(), touch)
            .prop_map(|(c, d, marker, v, w)| Change::Write { c, d, marker, v, w }),
        2 => cell.prop_map(Change::Static),
        2 => (KEYS, KEYS).prop_map(|(c, d)| Change::DeleteRow { c, d }),
        1 => (KEYS, prop::option::of(KEYS)).prop_map(|(c, from_d)| Change::DeleteIn { c, from_d }),
        1 => (-1..4, -1..4).prop_map(|(low, high)| Change::DeleteRange { low, high }),
        1 => Just(Change::DeletePartition),
    ]
}

/// Groups of steps, each to be sent as one batch; `timestamps` are few, so that they collide.
pub(crate) fn groups(timestamps: Range<i64>) -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (prop::sample::select(PARTITIONS.to_vec()), timestamps, change())
        .prop_map(|(p, timestamp, change)| Step { p, timestamp, change });
    prop::collection::vec(prop::collection::vec(step, 1..4), 1..12)
}

/// Sends them.
pub(crate) fn write(client: &mut Client, groups: &[Vec<Step>]) -> anyhow::Result<()> {
    for group in groups {
        let texts: Vec<String> = group.iter().map(Step::cql).collect();
        match &texts[..] {
            [single] => execute(client, single)?,
            several => {
                execute(
                    client,
                    &format!("BEGIN UNLOGGED BATCH {}; APPLY BATCH", several.join("; ")),
                )?;
            }
        }
    }
    Ok(())
}

/// A statement that answers nothing.
pub(crate) fn execute(client: &mut Client, text: &str) -> anyhow::Result<()> {
    let answer = client.query(text, ONE, None, None)?;
    ensure!(answer == Answer::Done, "{text}: {answer:?}");
    Ok(())
}

/// All rows of a result, whatever its pages; nulls and integers of any size.
pub(crate) fn read<const N: usize>(
    client: &mut Client,
    text: &str,
    page_size: Option<i32>,
) -> anyhow::Result<Vec<[Option<i64>; N]>> {
    let mut rows = Vec::new();
    let mut state: Option<Vec<u8>> = None;
    loop {
        let page = match client.query(text, ONE, page_size, state.as_deref())? {
            Answer::Rows(page) => page,
            other => bail!("{text}: {other:?}"),
        };
        for row in &page.rows {
            ensure!(row.len() == N, "{text}: {} columns", row.len());
            let mut numbers = [None; N];
            for (number, cell) in numbers.iter_mut().zip(row) {
                *number = cell.as_deref().map(integer).transpose()?;
            }
            rows.push(numbers);
        }
        match page.paging_state {
            Some(next) => state = Some(next),
            None => return Ok(rows),
        }
    }
}

/// An integer of any size; of a timeuuid its microseconds since 1970.
fn integer(cell: &[u8]) -> anyhow::Result<i64> {
    Ok(match cell.len() {
        1 => i8::from_be_bytes(cell.try_into()?).into(),
        4 => i32::from_be_bytes(cell.try_into()?).into(),
        8 => i64::from_be_bytes(cell.try_into()?),
        _ => {
            let time = uuid::Uuid::from_slice(cell)?.get_timestamp().context("a timeuuid")?;
            (time.to_gregorian().0 as i64 - UUID_EPOCH_TICKS) / 10
        }
    })
}
