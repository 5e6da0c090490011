//! What the rows of one aggregate are after each of its versions.

use super::tables::{Columns, RowKey, shown};
use crate::projection::{FoldError, Projection};
use crate::row::{RowWrite, RowWriteKind};
use kernel::codec::{CodecError, decode_recorded};
use kernel::{RecordedEvent, Version};
use std::collections::BTreeSet;
use std::fmt;

/// Why events cannot be folded.
#[derive(Debug, thiserror::Error)]
#[error("version {version} cannot be folded")]
pub struct Unfoldable {
    version: Version,
    #[source]
    source: UnfoldableCause,
}

#[derive(Debug, thiserror::Error)]
enum UnfoldableCause {
    #[error(transparent)]
    Decode(CodecError),
    #[error(transparent)]
    Fold(FoldError),
}

/// The rows as they are after the last event, a column a line.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for RowHistory { key, states } in &self.rows {
            writeln!(f, "{} {key}", key.table)?;
            match states.last().and_then(|(_, columns)| columns.as_ref()) {
                None => writeln!(f, "  is gone")?,
                Some(columns) => {
                    for (name, value) in columns {
                        writeln!(f, "  {name} = {}", shown(value))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What the rows of an aggregate are after each of its events: all of them, from version 1 on.
pub(crate) fn history_of<P: Projection>(events: &[RecordedEvent]) -> Result<History, Unfoldable> {
    let projection = P::default();
    let mut history = History::default();
    let mut view = None;
    for event in events {
        let version = event.version;
        let failed = |source| Unfoldable { version, source };
        let decoded = decode_recorded::<P::Event>(event)
            .map_err(|error| failed(UnfoldableCause::Decode(error)))?;
        let folded = projection.project(view, &decoded);
        let (after, writes) = folded.map_err(|error| failed(UnfoldableCause::Fold(error)))?;
        view = Some(after);
        history.apply(version, writes);
    }
    Ok(history)
}

/// Every row that an aggregate has or had.
#[derive(Debug, Default)]
pub struct History {
    newest: Version,
    rows: Vec<RowHistory>,
}

#[derive(Debug)]
struct RowHistory {
    key: RowKey,
    /// What the row was from a version on, ascending; `None`: it was not there.
    states: Vec<(Version, Option<Columns>)>,
}

impl History {
    /// Every place where the aggregate has or had a row.
    pub fn keys(&self) -> impl Iterator<Item = &RowKey> {
        self.rows.iter().map(|row| &row.key)
    }

    /// One event's writes: deletes first, as their timestamps say.
    fn apply(&mut self, version: Version, mut writes: Vec<RowWrite>) {
        self.newest = version;
        writes.sort_by_key(|write| write.kind == RowWriteKind::Upsert);
        for write in writes {
            let key = RowKey { table: write.table, columns: write.key };
            let row = self.row(key);
            let before = row.states.last().and_then(|(_, columns)| columns.clone());
            let after = match write.kind {
                RowWriteKind::Delete => None,
                RowWriteKind::Upsert => {
                    let mut columns = before.unwrap_or_default();
                    for (name, value) in write.values {
                        match value {
                            Some(value) => columns.insert(name.to_owned(), value),
                            None => columns.remove(name),
                        };
                    }
                    Some(columns)
                }
            };
            row.states.push((version, after));
        }
    }

    fn row(&mut self, key: RowKey) -> &mut RowHistory {
        let at = self.rows.iter().position(|row| row.key == key).unwrap_or_else(|| {
            self.rows.push(RowHistory { key, states: Vec::new() });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// What is wrong with a row, unless it is as it was after one of the versions from `at_least` on.
    pub(super) fn compare(
        &self,
        key: &RowKey,
        row: Option<&Columns>,
        at_least: Version,
    ) -> Option<String> {
        let known = self.rows.iter().find(|known| known.key == *key);
        let states = known.map_or(&[][..], |known| &known.states);
        let newest = states.last().and_then(|(_, columns)| columns.as_ref());
        let first = states.iter().rposition(|(version, _)| *version <= at_least);
        let is_absent_at_first = first.is_none() && row.is_none();
        let mut possible = states[first.unwrap_or(0)..].iter();
        if is_absent_at_first || possible.any(|(_, columns)| columns.as_ref() == row) {
            return None;
        }
        Some(match (row, newest) {
            (None, _) => "is missing".to_owned(),
            (Some(_), None) => "should be gone".to_owned(),
            (Some(row), Some(newest)) => self.differing(row, newest),
        })
    }

    fn differing(&self, row: &Columns, expected: &Columns) -> String {
        let names: BTreeSet<_> = row.keys().chain(expected.keys()).collect();
        let value = |columns: &Columns, name| columns.get(name).map_or("null".to_owned(), shown);
        let differing = names.into_iter().filter(|name| row.get(*name) != expected.get(*name));
        let listed: Vec<_> = differing
            .map(|name| format!("{name} is {}, not {}", value(row, name), value(expected, name)))
            .collect();
        listed.join("; ")
    }
}
