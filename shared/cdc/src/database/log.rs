//! The CDC log of `outbox_messages`, and the clocks of the nodes that stamp it.
//!
//! Rows are decoded by `scylla-cdc`, which takes for granted what the log table promises; the
//! operation is looked at first, so that rows which are no announcement never get there.

use crate::consumer::Change;
use crate::database::{misread, prepare, query, query_page};
use crate::error::StoreError;
use crate::log_time::{LogTime, Window};
use crate::source::{Announcement, Detail, LogPage, LogRow, LogSource, NextPage, NodeReading};
use async_trait::async_trait;
use event_store::outbox;
use futures::future::join_all;
use kernel::Version;
use runtime::chain;
use scylla::client::session::Session;
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue, Row};
use scylla_cdc::cdc_types::StreamID;
use scylla_cdc::consumer::{CDCRow, CDCRowSchema};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{debug, warn};

/// What every row has; in front, where the decoder looks for them by name.
const LOG_COLUMNS: &str = r#""cdc$stream_id", "cdc$time", "cdc$batch_seq_no", "cdc$end_of_batch", "cdc$operation", "cdc$ttl""#;
const OPERATION: &str = "cdc$operation";
/// `cdc$operation` of an update and an insert of a row. Nothing else announces an event: expired
/// rows leave no trace in the log, and nothing is deleted.
const ANNOUNCING: [i8; 2] = [1, 2];

/// The log of the outbox in one keyspace.
pub(crate) struct OutboxLog {
    session: Arc<Session>,
    rows: PreparedStatement,
    keys: PreparedStatement,
    clock: PreparedStatement,
}

impl OutboxLog {
    /// Prepares the statements; the table must be there.
    pub(crate) async fn open(
        session: Arc<Session>,
        keyspace: &str,
        page_rows: u32,
    ) -> Result<Self, StoreError> {
        use outbox::column::{
            AGGREGATE_ID, AGGREGATE_TYPE, EVENT_DATA, EVENT_ID, EVENT_TYPE, METADATA, RECORDED_AT,
            SCHEMA_VERSION, SEQUENCE_NUMBER, TOPIC,
        };
        let keys = [AGGREGATE_ID, SEQUENCE_NUMBER, AGGREGATE_TYPE];
        let content =
            [EVENT_ID, EVENT_TYPE, SCHEMA_VERSION, EVENT_DATA, METADATA, RECORDED_AT, TOPIC];
        let query = async |columns: &[&str]| {
            let cql = format!(
                r#"SELECT {LOG_COLUMNS}, {} FROM "{keyspace}"."{}_scylla_cdc_log" WHERE "cdc$stream_id" IN ? AND "cdc$time" > ? AND "cdc$time" < ?"#,
                columns.join(", "),
                outbox::TABLE,
            );
            let mut statement = prepare(&session, &cql).await?;
            statement.set_page_size(i32::try_from(page_rows).unwrap_or(i32::MAX));
            Ok::<_, StoreError>(statement)
        };
        let rows = query(&[&keys[..], &content[..]].concat()).await?;
        let keys = query(&keys).await?;
        let clock = "SELECT toTimestamp(now()) FROM system.local WHERE key = 'local'";
        let clock = prepare(&session, clock).await?;
        Ok(Self { session, rows, keys, clock })
    }

    /// What one node's clock shows.
    async fn clock_of(&self, node: NodeIdentifier) -> Result<NodeReading, StoreError> {
        const WHAT: &str = "read the database's clock";
        let mut statement = self.clock.clone();
        statement.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(node, None)));
        let sent = Instant::now();
        let shown =
            query::<(CqlTimestamp,)>(&self.session, &statement, (), || WHAT.to_owned()).await?;
        let received = Instant::now();
        let (now,) = shown.first().ok_or_else(|| StoreError::missing(WHAT))?;
        Ok(NodeReading { sent, received, value: LogTime::from_millis(now.0) })
    }
}

#[async_trait]
impl LogSource for OutboxLog {
    async fn read(
        &self,
        streams: &[StreamID],
        window: Window,
        detail: Detail,
        page: Option<NextPage>,
    ) -> Result<LogPage, StoreError> {
        const WHAT: &str = "read the CDC log";
        let statement = match detail {
            Detail::Full => &self.rows,
            Detail::Keys => &self.keys,
        };
        let (after, before) = window.bounds();
        let values = (streams, after, before);
        let (answer, next) = query_page(&self.session, statement, values, page, WHAT).await?;
        if answer.rows_num() == 0 {
            return Ok(LogPage { rows: Vec::new(), next });
        }
        let specs = answer.column_specs();
        let operation = specs.get_by_name(OPERATION).map(|(index, _)| index);
        let schema = CDCRowSchema::new(answer.column_specs());
        let mut rows = Vec::with_capacity(answer.rows_num());
        for row in answer.rows::<Row>().map_err(|e| misread(WHAT, e))? {
            let row = row.map_err(|e| misread(WHAT, e))?;
            if announces(&row, operation) {
                rows.extend(decode(CDCRow::from_row(row, &schema), detail));
            }
        }
        Ok(LogPage { rows, next })
    }

    async fn clocks(&self) -> Result<Vec<NodeReading>, StoreError> {
        let cluster = self.session.get_cluster_state();
        let nodes = cluster.get_nodes_info().iter();
        let connected = nodes.filter(|node| node.is_connected());
        let asked = connected.map(|node| self.clock_of(NodeIdentifier::Node(node.clone())));
        let mut readings = Vec::new();
        let mut last_error = None;
        for answer in join_all(asked).await {
            match answer {
                Ok(reading) => readings.push(reading),
                Err(error) => {
                    debug!(error = chain(&error).to_string(), "a node does not show its clock");
                    last_error = Some(error);
                }
            }
        }
        if readings.is_empty() {
            let nobody = "read the database's clock: no node is connected";
            return Err(last_error.unwrap_or_else(|| StoreError::missing(nobody)));
        }
        Ok(readings)
    }
}

fn announces(row: &Row, operation: Option<usize>) -> bool {
    let operation = operation.and_then(|index| row.columns.get(index));
    matches!(operation, Some(Some(CqlValue::TinyInt(code))) if ANNOUNCING.contains(code))
}

/// `None` when the row does not even say which event it announces; there is nothing to ask the event
/// store for then.
fn decode(mut row: CDCRow<'_>, detail: Detail) -> Option<LogRow> {
    use outbox::column::{AGGREGATE_ID, AGGREGATE_TYPE, SEQUENCE_NUMBER, TOPIC};
    let aggregate_id = row.get_value(AGGREGATE_ID).as_ref().and_then(CqlValue::as_uuid);
    let version = row.get_value(SEQUENCE_NUMBER).as_ref().and_then(CqlValue::as_bigint);
    let version = version.and_then(|version| u64::try_from(version).ok()).filter(|v| *v > 0);
    let (Some(aggregate_id), Some(version)) = (aggregate_id, version) else {
        warn!(stream = %row.stream_id, time = %row.time, "log row without a key");
        return None;
    };
    let aggregate_type =
        row.get_value(AGGREGATE_TYPE).as_ref().and_then(CqlValue::as_text).cloned();
    let announcement = Announcement { aggregate_id, aggregate_type, version: Version(version) };
    let change = if detail == Detail::Full {
        let topic = match row.take_value(TOPIC) {
            Some(CqlValue::Text(topic)) => Some(topic),
            _ => None,
        };
        let event = outbox::Row::take_from(|column| row.take_value(column))
            .and_then(outbox::Row::into_event);
        event
            .inspect_err(|error| {
                // The event store has the same event; if it cannot be read there either, it is poison.
                warn!(%aggregate_id, version, error = chain(error).to_string(), "log row not readable");
            })
            .ok()
            .map(|event| Change { event, topic })
    } else {
        None
    };
    Some(LogRow {
        stream: row.stream_id,
        time: row.time,
        end_of_group: row.end_of_batch,
        announcement,
        change,
    })
}
