//! For tests of projections without a database: what it would make of row writes, of each cell the write with the
//! newest timestamp, and of a delete everything that is not newer.
//!
//! ```text
//! let rows = tables_of(&writes(&Accounts, &life)).seen();
//! ```
//!
//! [`golden`] holds the rows that every event leaves to files.

use crate::projection::Projection;
use crate::read_model::ReadModels;
use crate::row::{RowWrite, RowWriteKind, WriteTimes};
use kernel::testing::{AGGREGATE_ID, NOW, tally};
use kernel::{Aggregates, EventEnvelope, EventKind, RecordedEvent, Timestamp, Version};
use scylla::value::CqlValue;
use std::collections::BTreeMap;
use std::path::Path;

/// Table and full primary key, as text: values of a key have no order of their own here.
pub type RowKey = (&'static str, String);

/// Tables in memory.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Tables {
    rows: BTreeMap<RowKey, Row>,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Row {
    made_at: Option<i64>,
    deleted_at: Option<i64>,
    cells: BTreeMap<&'static str, (i64, Option<CqlValue>)>,
}

/// What a reader sees: rows that are there, with the columns that are not null.
pub type Seen = BTreeMap<RowKey, BTreeMap<&'static str, CqlValue>>;

impl Tables {
    /// Takes a write in, under the timestamp of its version.
    ///
    /// # Panics
    ///
    /// If a cell gets two values at one timestamp: the projection is not a function of its events.
    pub fn write(&mut self, write: &RowWrite, version: Version) {
        let times = WriteTimes::of(version).expect("a version with timestamps");
        let at = times.of_kind(write.kind);
        let row = self.rows.entry((write.table, format!("{:?}", write.key))).or_default();
        match write.kind {
            RowWriteKind::Delete => row.deleted_at = row.deleted_at.max(Some(at)),
            RowWriteKind::Upsert => {
                row.made_at = row.made_at.max(Some(at));
                for (column, value) in &write.values {
                    let cell = row.cells.entry(column).or_insert((at, value.clone()));
                    if cell.0 < at {
                        *cell = (at, value.clone());
                    }
                    assert!(cell.0 > at || cell.1 == *value, "two values for {column} at {at}");
                }
            }
        }
    }

    /// What a reader sees.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let live = self.rows.iter().filter_map(|(key, row)| {
            let is_live = |at: i64| row.deleted_at.is_none_or(|deleted| at > deleted);
            row.made_at.filter(|made| is_live(*made))?;
            let cells = row.cells.iter().filter(|(_, (at, _))| is_live(*at));
            let cells = cells.filter_map(|(column, (_, value))| Some((*column, value.clone()?)));
            Some((key.clone(), cells.collect()))
        });
        live.collect()
    }

    /// The keys of the rows of a table.
    #[must_use]
    pub fn keys_of(&self, table: &str) -> Vec<String> {
        let seen = self.seen();
        seen.into_keys().filter(|(name, _)| *name == table).map(|(_, key)| key).collect()
    }
}

/// Every write of a life, in order, with the version that makes it.
///
/// # Panics
///
/// If an event cannot follow what came before it.
pub fn writes<P: Projection>(
    projection: &P,
    events: &[EventEnvelope<P::Event>],
) -> Vec<(RowWrite, Version)> {
    let mut view = None;
    let mut all = Vec::new();
    for event in events {
        let (after, writes) = projection.project(view, event).expect("a life that fits together");
        all.extend(writes.into_iter().map(|write| (write, event.version)));
        // As the cursor's row has it.
        let text = serde_json::to_string(&after).expect("a view can be stored");
        view = Some(serde_json::from_str(&text).expect("a stored view can be read"));
    }
    all
}

/// What a database has after these writes.
pub fn tables_of<'a>(writes: impl IntoIterator<Item = &'a (RowWrite, Version)>) -> Tables {
    let mut tables = Tables::default();
    for (write, version) in writes {
        tables.write(write, *version);
    }
    tables
}

/// Holds what every projection makes of every sample of an event, next after the first one of its aggregate, to a file
/// in `folder`: `<projection>.v<code version>/<event>.v<schema version>.txt`. With `BLESS` set, missing files are added.
///
/// # Panics
///
/// If a file is missing, or the rows are others: a change of the rows is a new [`Projection::CODE_VERSION`].
pub fn golden(aggregates: Aggregates, models: ReadModels, folder: &Path) {
    for model in models.iter() {
        let known = aggregates.get(model.aggregate_type).expect("a registered aggregate");
        let samples = known.samples().expect("a sample can be stored");
        let folder = folder.join(format!("{}.v{}", model.name, model.code_version));
        for (place, sample) in samples.iter().enumerate() {
            let first = samples.first().filter(|_| place > 0);
            let life = first.into_iter().chain([sample]).zip(1..).map(|(sample, version)| {
                recorded(known.name, version, sample.kind, sample.data.clone())
            });
            let life: Vec<_> = life.collect();
            let rows = model.history(&life).unwrap_or_else(|error| {
                panic!("{} does not fold {}: {error:?}", model.name, sample.kind.name)
            });
            let file = format!("{}.v{}.txt", sample.kind.name, sample.kind.schema_version);
            kernel::testing::golden::hold(&folder.join(file), &rows.to_string());
        }
    }
}

fn recorded(aggregate_type: &str, version: u64, kind: EventKind, payload: String) -> RecordedEvent {
    let second = i64::try_from(version).expect("one of the first versions");
    RecordedEvent {
        aggregate_type: aggregate_type.to_owned(),
        event_type: kind.name.to_owned(),
        schema_version: kind.schema_version,
        recorded_at: Timestamp(NOW.0 + second * 1_000),
        payload,
        ..tally::event(AGGREGATE_ID, version)
    }
}
