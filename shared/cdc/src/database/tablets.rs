//! Generations of streams on tablets, from each node's `system` tables (ScyllaDB 2025.4 and later).
//!
//! A table has generations of its own, with one stream per tablet; a split or merge of its tablets
//! begins a new one. A stream's id begins with its tablet's last token, so it covers what lies behind
//! the last token before. These tables are the node's own: any node can be asked, one is enough.

use crate::consumer::ErrorClass;
use crate::database::generations::times_of;
use crate::database::{misread, prepare, query, query_all};
use crate::error::StoreError;
use crate::log_time::LogTime;
use crate::reading::generation::StreamRange;
use crate::source::GenerationSource;
use async_trait::async_trait;
use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use scylla_cdc::cdc_types::StreamID;
use std::sync::Arc;

const ALL: &str =
    "SELECT timestamp FROM system.cdc_timestamps WHERE keyspace_name = ? AND table_name = ?";
const NEWER: &str = "SELECT timestamp FROM system.cdc_timestamps \
     WHERE keyspace_name = ? AND table_name = ? AND timestamp > ?";
/// State 0 are the streams that the generation has; the others say what changed with it.
const STREAMS: &str = "SELECT stream_id FROM system.cdc_streams \
     WHERE keyspace_name = ? AND table_name = ? AND timestamp = ? AND stream_state = 0";

/// The generations of one table's tablets.
pub(crate) struct TabletGenerations {
    session: Arc<Session>,
    keyspace: String,
    table: &'static str,
    all: PreparedStatement,
    newer: PreparedStatement,
    streams: PreparedStatement,
}

impl TabletGenerations {
    /// Prepares the statements.
    pub(crate) async fn open(
        session: Arc<Session>,
        keyspace: &str,
        table: &'static str,
    ) -> Result<Self, StoreError> {
        let local = async |cql| {
            let mut statement = prepare(&session, cql).await?;
            statement.set_consistency(Consistency::One);
            Ok::<_, StoreError>(statement)
        };
        Ok(Self {
            all: local(ALL).await?,
            newer: local(NEWER).await?,
            streams: local(STREAMS).await?,
            keyspace: keyspace.to_owned(),
            table,
            session,
        })
    }
}

#[async_trait]
impl GenerationSource for TabletGenerations {
    async fn starts(&self, after: Option<LogTime>) -> Result<Vec<LogTime>, StoreError> {
        let (keyspace, table) = (&self.keyspace, self.table);
        match after {
            None => times_of(&self.session, &self.all, (keyspace, table)).await,
            Some(after) => {
                let values = (keyspace, table, CqlTimestamp(after.millis()));
                times_of(&self.session, &self.newer, values).await
            }
        }
    }

    async fn streams(&self, start: LogTime) -> Result<Vec<StreamRange>, StoreError> {
        const WHAT: &str = "read the streams of a table's tablets";
        let values = (&self.keyspace, self.table, CqlTimestamp(start.millis()));
        let ids: Vec<(Vec<u8>,)> =
            query_all(&self.session, self.streams.clone(), values, WHAT).await?;
        ids.into_iter().map(|(id,)| range_of(id).map_err(|e| misread(WHAT, e))).collect()
    }
}

/// A stream's id is too short to have a token in it.
#[derive(Debug, thiserror::Error)]
#[error("a stream id of {0} bytes")]
struct ShortId(usize);

fn range_of(id: Vec<u8>) -> Result<StreamRange, ShortId> {
    let token = id.first_chunk().ok_or(ShortId(id.len()))?;
    let end = i64::from_be_bytes(*token);
    Ok(StreamRange { end, streams: vec![StreamID::new(id)] })
}

/// Whether a keyspace is on tablets. Releases that have none do not know the question.
pub(crate) async fn is_on_tablets(session: &Session, keyspace: &str) -> Result<bool, StoreError> {
    const WHAT: &str = "ask whether the keyspace is on tablets";
    const INITIAL: &str =
        "SELECT initial_tablets FROM system_schema.scylla_keyspaces WHERE keyspace_name = ?";
    let mut statement = match prepare(session, INITIAL).await {
        Err(error) if error.class == ErrorClass::Fatal => return Ok(false),
        statement => statement?,
    };
    statement.set_consistency(Consistency::One);
    let initial = query(session, &statement, (keyspace,), || WHAT.to_owned()).await?;
    Ok(matches!(initial[..], [(Some::<i32>(_),)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_with_the_token_of_its_id() {
        let mut id = (-7_i64).to_be_bytes().to_vec();
        id.extend([1; 8]);
        let range = range_of(id.clone()).expect("long enough");
        assert_eq!(range, StreamRange { end: -7, streams: vec![StreamID::new(id)] });
        assert!(range_of(vec![0; 7]).is_err());
    }
}
