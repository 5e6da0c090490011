//! Reads one row of a read model by the id of its aggregate.

use crate::projection::Table;
use crate::query_error::QueryError;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::PrepareError;
use scylla::statement::prepared::PreparedStatement;
use std::marker::PhantomData;
use std::sync::Arc;
use uuid::Uuid;

/// The prepared read of one row.
pub struct ById<R> {
    session: Arc<Session>,
    statement: PreparedStatement,
    row: PhantomData<fn() -> R>,
}

impl<R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>> ById<R> {
    /// Prepares the read of these columns; the table must be there, and its key the id.
    pub async fn open(
        session: Arc<Session>,
        table: &Table,
        columns: &str,
    ) -> Result<Self, PrepareError> {
        let text = format!("SELECT {columns} FROM {} WHERE {} = ?", table.name, table.aggregate);
        let mut statement = session.prepare(text).await?;
        statement.set_is_idempotent(true);
        Ok(Self { session, statement, row: PhantomData })
    }

    /// The row; `None` while no event of the aggregate was projected.
    pub async fn read(&self, id: Uuid) -> Result<Option<R>, QueryError> {
        let rows = self.session.execute_unpaged(&self.statement, (id,)).await?;
        Ok(rows.into_rows_result()?.maybe_first_row()?)
    }
}
