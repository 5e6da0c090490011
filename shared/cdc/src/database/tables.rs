//! The tables of this crate: `consumer_cursors` and `catch_ups`.

use crate::database::{execute, misread, prepare, query};
use crate::error::StoreError;
use crate::log_time::LogTime;
use crate::source::{CatchUpRow, CatchUpStore, Cursor, CursorStore};
use async_trait::async_trait;
use kernel::Version;
use leases::Slot;
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

const READ_CURSOR: &str =
    "SELECT last_version, folded FROM consumer_cursors WHERE aggregate_id = ? AND consumer = ?";
const WRITE_CURSOR: &str = "INSERT INTO consumer_cursors (aggregate_id, consumer, last_version, folded) \
     VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
const READ_CATCH_UPS: &str =
    "SELECT slot, log_from_us, position, done FROM catch_ups WHERE consumer = ?";
const WRITE_CATCH_UP: &str =
    "INSERT INTO catch_ups (consumer, slot, log_from_us, position, done) VALUES (?, ?, ?, ?, ?)";

/// `consumer_cursors`.
pub(crate) struct Cursors {
    session: Arc<Session>,
    read: PreparedStatement,
    write: PreparedStatement,
}

impl Cursors {
    /// Prepares the statements; the table must be there.
    pub(crate) async fn open(session: Arc<Session>) -> Result<Self, StoreError> {
        let read = prepare(&session, READ_CURSOR).await?;
        let write = prepare(&session, WRITE_CURSOR).await?;
        Ok(Self { session, read, write })
    }
}

#[async_trait]
impl CursorStore for Cursors {
    async fn read(&self, aggregate_id: Uuid, consumer: &str) -> Result<Cursor, StoreError> {
        let what = || format!("read the cursor of {consumer} for aggregate {aggregate_id}");
        let values = (aggregate_id, consumer);
        let mut rows: Vec<(Option<i64>, Option<String>)> =
            query(&self.session, &self.read, values, what).await?;
        let Some((version, view)) = rows.pop() else { return Ok(Cursor::default()) };
        let version = u64::try_from(version.unwrap_or(0)).map_err(|e| misread(what(), e))?;
        Ok(Cursor { version: Version(version), view: view.map(Into::into) })
    }

    async fn write(
        &self,
        aggregate_id: Uuid,
        consumer: &str,
        cursor: &Cursor,
    ) -> Result<(), StoreError> {
        let what = || format!("write the cursor of {consumer} for aggregate {aggregate_id}");
        let version = i64::try_from(cursor.version.0).map_err(|e| misread(what(), e))?;
        let values = (aggregate_id, consumer, version, cursor.view.as_deref(), version);
        execute(&self.session, &self.write, values, what).await
    }
}

/// `catch_ups`.
pub(crate) struct CatchUps {
    session: Arc<Session>,
    read: PreparedStatement,
    write: PreparedStatement,
}

impl CatchUps {
    /// Prepares the statements; the table must be there.
    pub(crate) async fn open(session: Arc<Session>) -> Result<Self, StoreError> {
        let read = prepare(&session, READ_CATCH_UPS).await?;
        let write = prepare(&session, WRITE_CATCH_UP).await?;
        Ok(Self { session, read, write })
    }
}

#[async_trait]
impl CatchUpStore for CatchUps {
    async fn load(&self, consumer: &str) -> Result<BTreeMap<Slot, CatchUpRow>, StoreError> {
        let what = || format!("read the catch-ups of {consumer}");
        type Stored = (i32, i64, Option<i64>, bool);
        let rows = query::<Stored>(&self.session, &self.read, (consumer,), what).await?;
        let mut found = BTreeMap::new();
        for (slot, log_from, position, is_done) in rows {
            let slot = u32::try_from(slot).map_err(|e| misread(what(), e))?;
            let log_from = LogTime::from_micros(log_from);
            found.insert(Slot(slot), CatchUpRow { log_from, position, is_done });
        }
        Ok(found)
    }

    async fn save(&self, consumer: &str, slot: Slot, row: CatchUpRow) -> Result<(), StoreError> {
        let what = || format!("write the catch-up of {consumer} in slot {slot}");
        let values = (consumer, slot.column(), row.log_from.micros(), row.position, row.is_done);
        execute(&self.session, &self.write, values, what).await
    }
}
