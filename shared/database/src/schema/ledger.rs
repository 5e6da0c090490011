//! The rows of `schema_migrations`: who works on a migration, and which are done.

use std::sync::Arc;

use anyhow::Context;
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::response::query_result::QueryResult;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::unprepared::Statement;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{Migration, MigrationId};
use crate::session::{serial_read, was_applied};

/// One row. `revision` grows with every change; `holder` is the attempt that works on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) holder: Uuid,
    pub(super) revision: i32,
    pub(super) done: bool,
    pub(super) fingerprint: i64,
}

/// Reads which migrations of some crates are done. By their keys, never by a scan: a scan waits for every replica of
/// every range, so that one dead node would hold up all who look.
#[derive(Debug, Clone)]
pub(super) struct DoneReader {
    session: Arc<Session>,
    crate_names: Vec<&'static str>,
    statement: Arc<OnceCell<PreparedStatement>>,
}

impl DoneReader {
    pub(super) fn new(session: Arc<Session>, crate_names: Vec<&'static str>) -> Self {
        Self { session, crate_names, statement: Arc::default() }
    }

    /// Crate and number of every migration that is done; empty when there is no ledger yet.
    pub(super) async fn read(&self) -> anyhow::Result<Vec<(String, u32)>> {
        let rows = match self.ask().await {
            Ok(rows) => rows.into_rows_result()?,
            Err(error) if table_is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error).context("read schema_migrations"),
        };
        let mut done = Vec::new();
        for row in rows.rows::<(String, i32, Option<bool>)>()? {
            let (crate_name, number, is_done) = row.context("decode schema_migrations")?;
            if is_done == Some(true) {
                done.push((crate_name, u32::try_from(number).context("number of a migration")?));
            }
        }
        Ok(done)
    }

    async fn ask(&self) -> Result<QueryResult, ExecutionError> {
        let statement = self.statement.get_or_try_init(|| self.prepare()).await?;
        self.session.execute_unpaged(statement, (&self.crate_names,)).await
    }

    async fn prepare(&self) -> Result<PreparedStatement, PrepareError> {
        let text = "SELECT crate_name, number, done FROM schema_migrations WHERE crate_name IN ?";
        let mut statement = self.session.prepare(text).await?;
        statement.set_is_idempotent(true);
        Ok(statement)
    }
}

fn table_is_missing(error: &ExecutionError) -> bool {
    let (ExecutionError::LastAttemptError(attempt)
    | ExecutionError::PrepareError(PrepareError::AllAttemptsFailed { first_attempt: attempt })) =
        error
    else {
        return false;
    };
    matches!(
        attempt,
        RequestAttemptError::DbError(DbError::Invalid, message)
            if message.contains("unconfigured table")
    )
}

/// The row at SERIAL, so that every decided change is seen.
pub(super) async fn claim(session: &Session, id: MigrationId) -> anyhow::Result<Option<Claim>> {
    let mut statement = Statement::new(
        "SELECT holder, revision, done, fingerprint FROM schema_migrations \
         WHERE crate_name = ? AND number = ?",
    );
    statement.set_consistency(serial_read(session));
    let rows = session
        .query_unpaged(statement, (id.crate_name, number(id)?))
        .await
        .with_context(|| format!("read the claim on {id}"))?
        .into_rows_result()?;
    let row = rows.maybe_first_row::<(Uuid, i32, bool, i64)>().context("decode a claim")?;
    Ok(row.map(|(holder, revision, done, fingerprint)| Claim {
        holder,
        revision,
        done,
        fingerprint,
    }))
}

/// Claims a migration that has no row yet. False when someone else was faster.
pub(super) async fn insert_claim(
    session: &Session,
    id: MigrationId,
    migration: &Migration,
    holder: Uuid,
) -> anyhow::Result<bool> {
    let result = session
        .query_unpaged(
            "INSERT INTO schema_migrations \
             (crate_name, number, name, fingerprint, holder, revision, done) \
             VALUES (?, ?, ?, ?, ?, 1, false) IF NOT EXISTS",
            (id.crate_name, number(id)?, id.name, fingerprint(migration.cql), holder),
        )
        .await;
    settle(session, id, holder, result).await
}

/// Changes a claim if it is still `seen`: to another holder, to done, or only its revision, which
/// tells others that the holder lives. False when it is not.
pub(super) async fn move_claim(
    session: &Session,
    id: MigrationId,
    seen: &Claim,
    holder: Uuid,
    done: bool,
) -> anyhow::Result<bool> {
    let result = session
        .query_unpaged(
            "UPDATE schema_migrations SET holder = ?, revision = ?, done = ? \
             WHERE crate_name = ? AND number = ? IF holder = ? AND revision = ?",
            (
                holder,
                seen.revision + 1,
                done,
                id.crate_name,
                number(id)?,
                seen.holder,
                seen.revision,
            ),
        )
        .await;
    settle(session, id, holder, result).await
}

/// Whether `holder` has the row now. After an unknown outcome the row itself says it: each attempt
/// has a holder id of its own, and a late change still needs the revision it was sent for.
async fn settle(
    session: &Session,
    id: MigrationId,
    holder: Uuid,
    result: Result<QueryResult, ExecutionError>,
) -> anyhow::Result<bool> {
    match result {
        Ok(result) => was_applied(result).with_context(|| format!("claim {id}")),
        Err(error) => {
            let row = claim(session, id).await.with_context(|| format!("after {error}"))?;
            match row {
                Some(row) if row.holder == holder => Ok(true),
                _ => Err(error).with_context(|| format!("claim {id}")),
            }
        }
    }
}

fn number(id: MigrationId) -> anyhow::Result<i32> {
    i32::try_from(id.number).with_context(|| format!("number of {id}"))
}

/// FNV-1a of the statements, so that comments and blank lines may change after the release.
pub(super) fn fingerprint(cql: &str) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for statement in super::split(cql) {
        for byte in statement.split_whitespace().flat_map(|word| word.bytes().chain([b' '])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_the_statements_only() {
        let stored = fingerprint("CREATE TABLE t (a int);");
        assert_eq!(stored, fingerprint("-- now explained\nCREATE  TABLE t\n  (a int);\n"));
        assert_ne!(stored, fingerprint("CREATE TABLE t (a text);"));
    }
}
