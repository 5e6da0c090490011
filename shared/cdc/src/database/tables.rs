//! The tables of this crate: `consumer_cursors` and `catch_ups`.

use crate::consumer::HandleError;
use crate::database::{failed, misread, prepare};
use crate::log_time::LogTime;
use crate::source::{CatchUpRow, CatchUpStore, Cursor, CursorStore};
use async_trait::async_trait;
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
    pub(crate) async fn open(session: Arc<Session>) -> Result<Self, HandleError> {
        let read = prepare(&session, READ_CURSOR).await?;
        let write = prepare(&session, WRITE_CURSOR).await?;
        Ok(Self { session, read, write })
    }
}

#[async_trait]
impl CursorStore for Cursors {
    async fn read(&self, aggregate_id: Uuid, consumer: &str) -> Result<Cursor, HandleError> {
        let what = || format!("read the cursor of {consumer} for aggregate {aggregate_id}");
        let answer = self.session.execute_unpaged(&self.read, (aggregate_id, consumer)).await;
        let rows = answer.map_err(|e| failed(what(), e))?.into_rows_result();
        let row = rows
            .map_err(|e| misread(what(), e))?
            .maybe_first_row::<(Option<i64>, Option<String>)>()
            .map_err(|e| misread(what(), e))?;
        let Some((version, view)) = row else { return Ok(Cursor::default()) };
        let version = u64::try_from(version.unwrap_or(0)).map_err(|e| misread(what(), e))?;
        Ok(Cursor { version, view: view.map(Into::into) })
    }

    async fn write(
        &self,
        aggregate_id: Uuid,
        consumer: &str,
        cursor: &Cursor,
    ) -> Result<(), HandleError> {
        let what = || format!("write the cursor of {consumer} for aggregate {aggregate_id}");
        let version = i64::try_from(cursor.version).map_err(|e| misread(what(), e))?;
        let values = (aggregate_id, consumer, version, cursor.view.as_deref(), version);
        self.session
            .execute_unpaged(&self.write, values)
            .await
            .map(drop)
            .map_err(|e| failed(what(), e))
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
    pub(crate) async fn open(session: Arc<Session>) -> Result<Self, HandleError> {
        let read = prepare(&session, READ_CATCH_UPS).await?;
        let write = prepare(&session, WRITE_CATCH_UP).await?;
        Ok(Self { session, read, write })
    }
}

#[async_trait]
impl CatchUpStore for CatchUps {
    async fn load(&self, consumer: &str) -> Result<BTreeMap<u32, CatchUpRow>, HandleError> {
        let what = || format!("read the catch-ups of {consumer}");
        let answer = self.session.execute_unpaged(&self.read, (consumer,)).await;
        let rows = answer.map_err(|e| failed(what(), e))?.into_rows_result();
        let rows = rows.map_err(|e| misread(what(), e))?;
        let mut found = BTreeMap::new();
        type Stored = (i32, i64, Option<i64>, bool);
        for row in rows.rows::<Stored>().map_err(|e| misread(what(), e))? {
            let (slot, log_from, position, is_done) = row.map_err(|e| misread(what(), e))?;
            let slot = u32::try_from(slot).map_err(|e| misread(what(), e))?;
            let log_from = LogTime::from_micros(log_from);
            found.insert(slot, CatchUpRow { log_from, position, is_done });
        }
        Ok(found)
    }

    async fn save(&self, consumer: &str, slot: u32, row: CatchUpRow) -> Result<(), HandleError> {
        let what = || format!("write the catch-up of {consumer} in slot {slot}");
        let slot = i32::try_from(slot).map_err(|e| misread(what(), e))?;
        let values = (consumer, slot, row.log_from.micros(), row.position, row.is_done);
        self.session
            .execute_unpaged(&self.write, values)
            .await
            .map(drop)
            .map_err(|e| failed(what(), e))
    }
}
