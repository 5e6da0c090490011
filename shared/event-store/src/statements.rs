//! The texts of the append's statements, and how each is prepared: with the session's consistency
//! (QUORUM and SERIAL, or both local), a timeout of its own, and no retry by the driver, because the
//! append itself decides what may be sent again.

use crate::error::OpenError;
use scylla::client::session::Session;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use std::sync::Arc;
use std::time::Duration;

/// The columns of [`crate::outbox::Row`], in its order, then the fence.
const EVENT_COLUMNS: &str = "aggregate_id, sequence_number, event_id, aggregate_type, event_type, \
     schema_version, event_data, metadata, recorded_at, fence";

/// What an appended row sets; the keys follow in the condition.
const EVENT_ASSIGNMENTS: &str = "event_id = ?, command_id = ?, aggregate_type = ?, \
     event_type = ?, schema_version = ?, event_data = ?, metadata = ?, recorded_at = ?";

/// What one request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestBounds {
    pub(crate) timeout: Duration,
    pub(crate) announce_timeout: Duration,
    /// Rows per page, where a read is not bounded by a limit of its own.
    pub(crate) page_rows: i32,
}

/// The prepared statements.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) newest: PreparedStatement,
    pub(crate) newest_serial: PreparedStatement,
    pub(crate) from: PreparedStatement,
    pub(crate) from_serial: PreparedStatement,
    pub(crate) commit: PreparedStatement,
    pub(crate) commit_more: PreparedStatement,
    pub(crate) move_fence: PreparedStatement,
    pub(crate) write_intent: PreparedStatement,
    pub(crate) announce: PreparedStatement,
    pub(crate) create_writer: PreparedStatement,
    pub(crate) heartbeat: PreparedStatement,
    pub(crate) certify: PreparedStatement,
    pub(crate) writers: PreparedStatement,
    pub(crate) intents: PreparedStatement,
    pub(crate) remove_writer: PreparedStatement,
}

impl Statements {
    pub(crate) async fn prepare(
        session: &Session,
        bounds: RequestBounds,
    ) -> Result<Self, OpenError> {
        let read = |tail: &str| {
            format!("SELECT {EVENT_COLUMNS} FROM event_store WHERE aggregate_id = ?{tail}")
        };
        let append = format!(
            "UPDATE event_store SET {EVENT_ASSIGNMENTS} WHERE aggregate_id = ? AND sequence_number = ?"
        );
        let newest = read(" LIMIT ?");
        let from = read(" AND sequence_number >= ? ORDER BY sequence_number ASC LIMIT ?");
        let commit = format!("{append} IF event_id = null AND command_id = null AND fence = ?");
        let p = Preparer { session, timeout: bounds.timeout };
        let serial = serial_read(session);
        let mut announce = p.prepare("outbox_messages", ANNOUNCE).await?;
        announce.set_request_timeout(Some(bounds.announce_timeout));
        Ok(Self {
            newest: p.prepare("event_store", &newest).await?,
            newest_serial: serially(p.prepare("event_store", &newest).await?, serial),
            from: p.prepare("event_store", &from).await?,
            from_serial: serially(p.prepare("event_store", &from).await?, serial),
            commit: p.prepare("event_store", &commit).await?,
            commit_more: p.prepare("event_store", &append).await?,
            move_fence: p.prepare("event_store", MOVE_FENCE).await?,
            write_intent: p.prepare("append_intents", WRITE_INTENT).await?,
            announce,
            create_writer: p.prepare("writers", CREATE_WRITER).await?,
            heartbeat: p.prepare("writers", HEARTBEAT).await?,
            certify: p.prepare("writers", CERTIFY).await?,
            writers: paged(p.prepare("writers", WRITERS).await?, bounds.page_rows),
            intents: paged(p.prepare("append_intents", INTENTS).await?, bounds.page_rows),
            remove_writer: p.prepare("writers", REMOVE_WRITER).await?,
        })
    }
}

const MOVE_FENCE: &str = "UPDATE event_store SET fence = ? WHERE aggregate_id = ? IF fence = ?";

const WRITE_INTENT: &str = "INSERT INTO append_intents (writer, bucket, spread, aggregate_id, \
     after_version, aggregate_type, topic) VALUES (?, ?, ?, ?, ?, ?, ?)";

const ANNOUNCE: &str = "INSERT INTO outbox_messages (aggregate_id, sequence_number, event_id, \
     aggregate_type, event_type, schema_version, event_data, metadata, recorded_at, topic, \
     message_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const CREATE_WRITER: &str = "UPDATE writers SET state = 'alive', counter = 1, attempt = ?, \
     oldest_bucket = ?, newest_bucket = ?, intent_spread = ? WHERE spread = ? AND writer = ? \
     IF state = null AND counter = null AND attempt = null";

const HEARTBEAT: &str = "UPDATE writers SET counter = ?, attempt = ?, oldest_bucket = ?, \
     newest_bucket = ? WHERE spread = ? AND writer = ? \
     IF state = 'alive' AND counter = ? AND attempt = ?";

const CERTIFY: &str = "UPDATE writers SET state = 'dead', counter = ?, attempt = ? \
     WHERE spread = ? AND writer = ? IF state = 'alive' AND counter = ? AND attempt = ?";

const WRITERS: &str = "SELECT writer, state, counter, attempt, oldest_bucket, newest_bucket, \
     intent_spread FROM writers WHERE spread IN ?";

const INTENTS: &str = "SELECT aggregate_id, after_version, aggregate_type, topic \
     FROM append_intents WHERE writer = ? AND bucket = ? AND spread = ?";

const REMOVE_WRITER: &str = "DELETE FROM writers WHERE spread = ? AND writer = ? \
     IF state = ? AND counter = ? AND attempt = ?";

/// The level of a read that sees every decided lightweight transaction, matching the session's.
fn serial_read(session: &Session) -> Consistency {
    let profile = session.get_default_execution_profile_handle().to_profile();
    match profile.get_serial_consistency() {
        Some(SerialConsistency::LocalSerial) => Consistency::LocalSerial,
        _ => Consistency::Serial,
    }
}

fn serially(mut statement: PreparedStatement, level: Consistency) -> PreparedStatement {
    statement.set_consistency(level);
    statement
}

fn paged(mut statement: PreparedStatement, rows: i32) -> PreparedStatement {
    statement.set_page_size(rows);
    statement
}

struct Preparer<'a> {
    session: &'a Session,
    timeout: Duration,
}

impl Preparer<'_> {
    async fn prepare(
        &self,
        table: &'static str,
        text: &str,
    ) -> Result<PreparedStatement, OpenError> {
        let prepared = self.session.prepare(text).await;
        let mut prepared =
            prepared.map_err(|source| OpenError::Prepare { table, source: Box::new(source) })?;
        prepared.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        prepared.set_is_idempotent(false);
        prepared.set_request_timeout(Some(self.timeout));
        Ok(prepared)
    }
}
