//! Generations of streams on vnodes, from `system_distributed`, and which kind a keyspace has.
//!
//! The tables of vnodes are read at the level that the cluster's size allows, as the official reader does.

use crate::consumer::HandleError;
use crate::database::tablets::{TabletGenerations, is_on_tablets};
use crate::database::{failed, misread, prepare};
use crate::generation::StreamRange;
use crate::log_time::LogTime;
use crate::source::GenerationSource;
use async_trait::async_trait;
use database::session::distributed_read;
use futures::TryStreamExt;
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
    pub(crate) async fn open(session: Arc<Session>) -> Result<Self, HandleError> {
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

    async fn times(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<LogTime>, HandleError> {
        times_of(&self.session, &self.levelled(statement), values).await
    }
}

/// The generations of a table: those of its own if its keyspace is on tablets, else those of the
/// cluster.
pub(crate) async fn generations_of(
    session: Arc<Session>,
    keyspace: &str,
    table: &'static str,
) -> Result<Arc<dyn GenerationSource>, HandleError> {
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
) -> Result<Vec<LogTime>, HandleError> {
    const WHAT: &str = "read the CDC generations";
    let answer = session.execute_unpaged(statement, values).await;
    let rows = answer.map_err(|e| failed(WHAT, e))?.into_rows_result();
    let rows = rows.map_err(|e| misread(WHAT, e))?;
    let mut times = Vec::with_capacity(rows.rows_num());
    for row in rows.rows::<(CqlTimestamp,)>().map_err(|e| misread(WHAT, e))? {
        let (time,) = row.map_err(|e| misread(WHAT, e))?;
        times.push(LogTime::from_millis(time.0));
    }
    times.sort_unstable();
    Ok(times)
}

#[async_trait]
impl GenerationSource for VnodeGenerations {
    async fn starts(&self, after: Option<LogTime>) -> Result<Vec<LogTime>, HandleError> {
        match after {
            None => self.times(&self.all, ()).await,
            Some(after) => self.times(&self.newer, (CqlTimestamp(after.millis()),)).await,
        }
    }

    async fn streams(&self, start: LogTime) -> Result<Vec<StreamRange>, HandleError> {
        const WHAT: &str = "read the streams of a CDC generation";
        let statement = self.levelled(&self.streams);
        let rows = self.session.execute_iter(statement, (CqlTimestamp(start.millis()),)).await;
        let rows = rows.map_err(|e| HandleError {
            class: crate::ErrorClass::Transport,
            what: WHAT.to_owned(),
            source: Some(Box::new(e)),
        })?;
        let rows = rows.rows_stream::<(i64, Vec<StreamID>)>().map_err(|e| misread(WHAT, e))?;
        let ranges: Vec<_> = rows.try_collect().await.map_err(|e| HandleError {
            class: crate::ErrorClass::Transport,
            what: WHAT.to_owned(),
            source: Some(Box::new(e)),
        })?;
        Ok(ranges.into_iter().map(|(end, streams)| StreamRange { end, streams }).collect())
    }
}
