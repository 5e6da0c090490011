//! Row writes: what a projection wants to stand in its tables.

use kernel::{Timestamp, Version};
use scylla::value::{CqlTimestamp, CqlValue};
use uuid::Uuid;

/// One write of one row, addressed by its full primary key, setting absolute values.
///
/// The projector writes it under a timestamp made of the event's version ([`WriteTimes`]). So a
/// row deleted and rewritten by one event survives, and a write that comes again, late or from a
/// process that should be gone changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct RowWrite {
    pub(crate) table: &'static str,
    pub(crate) kind: RowWriteKind,
    pub(crate) key: Vec<(&'static str, CqlValue)>,
    pub(crate) values: Vec<(&'static str, Option<CqlValue>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowWriteKind {
    Upsert,
    Delete,
}

/// The timestamps of one event's writes: `2·version` for deletes, `2·version + 1` for upserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteTimes {
    delete: i64,
    upsert: i64,
}

impl WriteTimes {
    /// `None` for a version so large that its timestamps would not be its own.
    pub(crate) fn of(version: Version) -> Option<Self> {
        let delete = i64::try_from(version.0).ok()?.checked_mul(2)?;
        Some(Self { delete, upsert: delete.checked_add(1)? })
    }

    pub(crate) fn of_kind(self, kind: RowWriteKind) -> i64 {
        match kind {
            RowWriteKind::Upsert => self.upsert,
            RowWriteKind::Delete => self.delete,
        }
    }
}

impl RowWrite {
    /// Sets columns of a row, and makes the row if it is not there.
    pub fn upsert(table: &'static str) -> Self {
        Self { table, kind: RowWriteKind::Upsert, key: Vec::new(), values: Vec::new() }
    }

    /// Deletes a row.
    pub fn delete(table: &'static str) -> Self {
        Self { table, kind: RowWriteKind::Delete, key: Vec::new(), values: Vec::new() }
    }

    /// One column of the primary key; all of them must be named.
    #[must_use]
    pub fn key(mut self, column: &'static str, value: impl IntoCell) -> Self {
        self.key.push((column, value.into_cell()));
        self
    }

    /// Sets a column.
    #[must_use]
    pub fn set(mut self, column: &'static str, value: impl IntoCell) -> Self {
        self.values.push((column, Some(value.into_cell())));
        self
    }

    /// Sets a column, or makes it null.
    #[must_use]
    pub fn set_or_clear(mut self, column: &'static str, value: Option<impl IntoCell>) -> Self {
        self.values.push((column, value.map(IntoCell::into_cell)));
        self
    }

    /// Makes a column null.
    #[must_use]
    pub fn clear(mut self, column: &'static str) -> Self {
        self.values.push((column, None));
        self
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &'static str {
        self.table
    }

    /// The columns of its primary key, as they were named.
    #[must_use]
    pub fn key_columns(&self) -> &[(&'static str, CqlValue)] {
        &self.key
    }

    /// The other columns that it sets, or clears.
    #[must_use]
    pub fn values(&self) -> &[(&'static str, Option<CqlValue>)] {
        &self.values
    }

    /// Whether it deletes the row.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        self.kind == RowWriteKind::Delete
    }

    /// The statement; its last marker (upsert) or first marker (delete) is the timestamp.
    pub(crate) fn statement(&self) -> String {
        let table = self.table;
        match self.kind {
            RowWriteKind::Upsert => {
                let columns: Vec<&str> = self.columns().collect();
                let markers = vec!["?"; columns.len()].join(", ");
                let columns = columns.join(", ");
                format!("INSERT INTO {table} ({columns}) VALUES ({markers}) USING TIMESTAMP ?")
            }
            RowWriteKind::Delete => {
                let relations: Vec<String> =
                    self.key.iter().map(|(column, _)| format!("{column} = ?")).collect();
                let relations = relations.join(" AND ");
                format!("DELETE FROM {table} USING TIMESTAMP ? WHERE {relations}")
            }
        }
    }

    /// The values of [`RowWrite::statement`]'s markers.
    pub(crate) fn bind(&self, times: WriteTimes) -> Vec<Option<CqlValue>> {
        let timestamp = Some(CqlValue::BigInt(times.of_kind(self.kind)));
        let key = self.key.iter().map(|(_, value)| Some(value.clone()));
        match self.kind {
            RowWriteKind::Upsert => {
                let values = self.values.iter().map(|(_, value)| value.clone());
                key.chain(values).chain([timestamp]).collect()
            }
            RowWriteKind::Delete => [timestamp].into_iter().chain(key).collect(),
        }
    }

    fn columns(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.key.iter().map(|(column, _)| *column).chain(self.values.iter().map(|(c, _)| *c))
    }
}

/// Writes a `timestamp` as all answers have it, for `#[serde(serialize_with = "projection::as_rfc3339")]`. Errs beyond
/// the year 9999.
pub fn as_rfc3339<S: serde::Serializer>(
    at: &CqlTimestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&Timestamp(at.0), serializer)
}

/// What a cell can be made of.
pub trait IntoCell {
    /// The cell.
    fn into_cell(self) -> CqlValue;
}

impl IntoCell for Uuid {
    fn into_cell(self) -> CqlValue {
        CqlValue::Uuid(self)
    }
}

impl IntoCell for &str {
    fn into_cell(self) -> CqlValue {
        CqlValue::Text(self.to_owned())
    }
}

impl IntoCell for String {
    fn into_cell(self) -> CqlValue {
        CqlValue::Text(self)
    }
}

impl IntoCell for i32 {
    fn into_cell(self) -> CqlValue {
        CqlValue::Int(self)
    }
}

impl IntoCell for i64 {
    fn into_cell(self) -> CqlValue {
        CqlValue::BigInt(self)
    }
}

impl IntoCell for Timestamp {
    fn into_cell(self) -> CqlValue {
        CqlValue::Timestamp(CqlTimestamp(self.0))
    }
}

impl IntoCell for Version {
    /// A version without [`WriteTimes`] is never written.
    fn into_cell(self) -> CqlValue {
        CqlValue::BigInt(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(version: u64) -> WriteTimes {
        WriteTimes::of(Version(version)).expect("a version with timestamps")
    }

    #[test]
    fn an_upsert_binds_key_values_and_an_odd_timestamp() {
        let write = RowWrite::upsert("t").key("id", 1_i32).set("a", "x").clear("b");
        assert_eq!(
            write.statement(),
            "INSERT INTO t (id, a, b) VALUES (?, ?, ?) USING TIMESTAMP ?"
        );
        assert_eq!(
            write.bind(times(3)),
            [
                Some(CqlValue::Int(1)),
                Some(CqlValue::Text("x".to_owned())),
                None,
                Some(CqlValue::BigInt(7))
            ]
        );
    }

    #[test]
    fn a_delete_of_the_same_version_comes_before_the_upsert() {
        let write = RowWrite::delete("t").key("a", 1_i32).key("b", "x");
        assert_eq!(write.statement(), "DELETE FROM t USING TIMESTAMP ? WHERE a = ? AND b = ?");
        assert_eq!(write.bind(times(3))[0], Some(CqlValue::BigInt(6)));
    }

    #[test]
    fn no_two_versions_share_a_timestamp() {
        let last = Version((1 << 62) - 1);
        let times = WriteTimes::of(last).expect("the last version with timestamps of its own");
        assert_eq!(times.of_kind(RowWriteKind::Upsert), i64::MAX);
        assert_eq!(WriteTimes::of(last.next()), None);
        assert_eq!(WriteTimes::of(Version(u64::MAX)), None);
    }
}
