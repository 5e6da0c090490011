//! Generations of streams on vnodes, from `system_distributed`, and which kind a keyspace has.
//!
//! The tables of vnodes are read at the level that the cluster's size allows, as the official reader does.

use crate::database::tablets::{TabletGenerations, is_on_tablets};
use crate::database::{prepare, query, query_all};
use crate::error::StoreError;
use crate::log_time::LogTime;
use crate::reading::generation::StreamRange;
use crate::source::GenerationSource;
use async_trait::async_trait;
use database::session::distributed_read;
use scylla::client::session::Session;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use scylla_cdc::cdc_types::StreamID;
use std::sync::Arc;

const ALL: &str =
    "SELECT time FROM system_distributed.cdc_generation_timestamps WHERE key = 'timestamps'";
const NEWER: &str = "SELECT time FROM system_distributed.cdc_generation_timestamps \
     WHERE key = 'timestamps' AND time > ?";
const STREAMS: &str = "SELECT range_end, streams \
     FROM system_distributed.cdc_streams_descriptions_v2 WHERE time = ?";

/// The generations of a cluster's vnodes.
pub(crate) struct VnodeGenerations {
    session: Arc<Session>,
    all: PreparedStatement,
    newer: PreparedStatement,
    streams: PreparedStatement,
}

impl VnodeGenerations {
    /// Prepares the statements.
    pub(crate) async fn open(session: Arc<Session>) -> Result<Self, StoreError> {
        Ok(Self {
            all: prepare(&session, ALL).await?,
            newer: prepare(&session, NEWER).await?,
            streams: prepare(&session, STREAMS).await?,
            session,
        })
    }

    /// The statement at the level that the cluster's size allows.
    fn levelled(&self, statement: &PreparedStatement) -> PreparedStatement {
        let mut statement = statement.clone();
        statement.set_consistency(distributed_read(&self.session));
        statement
    }
}

/// The generations of a table: those of its own if its keyspace is on tablets, else those of the
/// cluster.
pub(crate) async fn generations_of(
    session: Arc<Session>,
    keyspace: &str,
    table: &'static str,
) -> Result<Arc<dyn GenerationSource>, StoreError> {
    if is_on_tablets(&session, keyspace).await? {
        return Ok(Arc::new(TabletGenerations::open(session, keyspace, table).await?));
    }
    Ok(Arc::new(VnodeGenerations::open(session).await?))
}

/// The times that a statement gives, ascending.
pub(super) async fn times_of(
    session: &Session,
    statement: &PreparedStatement,
    values: impl SerializeRow,
) -> Result<Vec<LogTime>, StoreError> {
    const WHAT: &str = "read the CDC generations";
    let rows = query::<(CqlTimestamp,)>(session, statement, values, || WHAT.to_owned()).await?;
    let mut times: Vec<_> = rows.iter().map(|(time,)| LogTime::from_millis(time.0)).collect();
    times.sort_unstable();
    Ok(times)
}

#[async_trait]
impl GenerationSource for VnodeGenerations {
    async fn starts(&self, after: Option<LogTime>) -> Result<Vec<LogTime>, StoreError> {
        let Some(after) = after else {
            return times_of(&self.session, &self.levelled(&self.all), ()).await;
        };
        let values = (CqlTimestamp(after.millis()),);
        times_of(&self.session, &self.levelled(&self.newer), values).await
    }

    async fn streams(&self, start: LogTime) -> Result<Vec<StreamRange>, StoreError> {
        const WHAT: &str = "read the streams of a CDC generation";
        let statement = self.levelled(&self.streams);
        let values = (CqlTimestamp(start.millis()),);
        let ranges: Vec<(i64, Vec<StreamID>)> =
            query_all(&self.session, statement, values, WHAT).await?;
        Ok(ranges.into_iter().map(|(end, streams)| StreamRange { end, streams }).collect())
    }
}
