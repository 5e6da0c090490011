//! Follows one event through the system, hop by hop, looking at the stores themselves.

use super::Doors;
use super::topics::{Arrival, TopicFollower};
use crate::http::HttpClient;
use crate::wait::wait_for;
use anyhow::{Context, ensure};
use database::session::{distributed_read, use_keyspace};
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::statement::Statement;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlTimeuuid};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// As many partitions as ScyllaDB takes in one query.
const STREAMS_PER_QUERY: usize = 100;

/// How long one hop may take before it counts as broken.
const HOP_LIMIT: Duration = Duration::from_secs(15);

/// The stores, opened for looking.
pub struct Hops {
    session: Session,
    stored: PreparedStatement,
    logged: PreparedStatement,
    streams: Vec<Vec<u8>>,
    since: CqlTimestamp,
    topics: TopicFollower,
    http: HttpClient,
    query_url: String,
}

/// An event that a command's answer named.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    /// Its aggregate.
    pub aggregate_id: Uuid,
    /// Its version.
    pub version: u64,
    /// Its id.
    pub event_id: Uuid,
    /// When the answer arrived.
    pub answered_at: Instant,
}

/// What was seen at each hop, with milliseconds since the answer.
#[derive(Debug)]
pub struct Seen {
    /// Event type in `event_store`.
    pub event_type: String,
    /// Time of the CDC row.
    pub cdc_time: CqlTimeuuid,
    /// The read model's answer.
    pub read_model: serde_json::Value,
    /// When the read model showed the version.
    pub read_model_ms: f64,
    /// The record on the topic.
    pub arrival: Arrival,
    /// When the record was received.
    pub topic_ms: f64,
}

impl Hops {
    /// Opens the stores of a running system.
    pub async fn open(doors: &Doors) -> anyhow::Result<Self> {
        let session = doors.scylla.connect().await.context("open a session")?;
        let keyspace = &doors.scylla.keyspace;
        let is_there = use_keyspace(&session, keyspace).await?;
        ensure!(is_there, "scylla.keyspace {keyspace} does not exist");
        let stored = session
            .prepare("SELECT event_id, event_type FROM event_store WHERE aggregate_id = ? AND sequence_number = ?")
            .await?;
        let logged = session
            .prepare(
                "SELECT event_id, \"cdc$time\" FROM outbox_messages_scylla_cdc_log \
                 WHERE \"cdc$stream_id\" IN ? AND \"cdc$time\" >= minTimeuuid(?)",
            )
            .await?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let streams = streams(&session, keyspace).await.context("find the streams of the log")?;
        Ok(Self {
            session,
            stored,
            logged,
            streams,
            since: CqlTimestamp(i64::try_from(since)?),
            topics: TopicFollower::start(doors.kafka.clone(), &doors.topics, doors.is_shared)
                .await?,
            http: doors.http.clone(),
            query_url: doors.queries.clone(),
        })
    }

    /// The topics as far as they were read.
    pub fn topics(&self) -> &TopicFollower {
        &self.topics
    }

    /// Follows an event of a command that was answered. `read_model` is the path before the aggregate's id,
    /// for example `/v1/orders`.
    pub async fn follow(&self, read_model: &str, event: Committed) -> anyhow::Result<Seen> {
        let (event_type, cdc_time, (row, visible_at), arrival) = futures::try_join!(
            self.event_stored(event),
            self.event_logged(event),
            self.visible(read_model, event),
            self.topics.arrival(event.event_id, HOP_LIMIT),
        )?;
        let since_answer =
            |at: Instant| at.saturating_duration_since(event.answered_at).as_secs_f64() * 1000.0;
        Ok(Seen {
            event_type,
            cdc_time,
            read_model: row,
            read_model_ms: since_answer(visible_at),
            topic_ms: since_answer(arrival.at),
            arrival,
        })
    }

    async fn event_stored(&self, event: Committed) -> anyhow::Result<String> {
        let version = i64::try_from(event.version)?;
        let (event_id, event_type) = self
            .session
            .execute_unpaged(&self.stored, (event.aggregate_id, version))
            .await?
            .into_rows_result()?
            .single_row::<(Uuid, String)>()
            .with_context(|| format!("event {version} of {} in event_store", event.aggregate_id))?;
        ensure!(event_id == event.event_id, "event_store holds another event: {event_id}");
        Ok(event_type)
    }

    async fn event_logged(&self, event: Committed) -> anyhow::Result<CqlTimeuuid> {
        let found = wait_for("the event's row in the CDC log", HOP_LIMIT, || async {
            for streams in self.streams.chunks(STREAMS_PER_QUERY) {
                let found = self.look_into(streams, event.event_id).await;
                if let Some(time) = found.map_err(|error| format!("{error:#}"))? {
                    return Ok(time);
                }
            }
            Err(format!("no row with event {}", event.event_id))
        });
        Ok(found.await?)
    }

    /// The time of an event's row, when it is in these streams of the log.
    async fn look_into(
        &self,
        streams: &[Vec<u8>],
        event_id: Uuid,
    ) -> anyhow::Result<Option<CqlTimeuuid>> {
        let answer = self.session.execute_unpaged(&self.logged, (streams, self.since)).await?;
        let rows = answer.into_rows_result()?;
        for row in rows.rows::<(Option<Uuid>, CqlTimeuuid)>()? {
            let (id, time) = row?;
            if id == Some(event_id) {
                return Ok(Some(time));
            }
        }
        Ok(None)
    }

    async fn visible(
        &self,
        read_model: &str,
        event: Committed,
    ) -> anyhow::Result<(serde_json::Value, Instant)> {
        let url = format!("{}{read_model}/{}", self.query_url, event.aggregate_id);
        let found = wait_for("the read model to show the event", HOP_LIMIT, || async {
            let answer = self.http.get(&url).await.map_err(|error| format!("{error:#}"))?;
            match answer.version() {
                Some(version) if version >= event.version => Ok((answer.body, Instant::now())),
                _ => Err(format!("{} {}", answer.status, answer.body)),
            }
        });
        Ok(found.await?)
    }
}

/// Asks for the log's streams.
fn question(session: &Session, cql: &str) -> Statement {
    let mut statement = Statement::new(cql);
    statement.set_consistency(distributed_read(session));
    statement
}

/// The streams of the newest CDC generation.
async fn streams(session: &Session, keyspace: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    if let Some(streams) = streams_of_tablets(session, keyspace).await? {
        return Ok(streams);
    }
    const NEWEST: &str = "SELECT time FROM system_distributed.cdc_generation_timestamps \
         WHERE key = 'timestamps' LIMIT 1";
    const STREAMS: &str =
        "SELECT streams FROM system_distributed.cdc_streams_descriptions_v2 WHERE time = ?";
    let rows = session.query_unpaged(question(session, NEWEST), ()).await?.into_rows_result()?;
    let newest = rows.single_row::<(CqlTimestamp,)>()?;
    let rows =
        session.query_unpaged(question(session, STREAMS), newest).await?.into_rows_result()?;
    let ranges = rows.rows::<(Vec<Vec<u8>>,)>()?.collect::<Result<Vec<_>, _>>()?;
    Ok(ranges.into_iter().flat_map(|(streams,)| streams).collect())
}

/// The same for a keyspace on tablets, where each table has streams of its own. `None` on vnodes, also
/// where a release knows nothing else.
async fn streams_of_tablets(
    session: &Session,
    keyspace: &str,
) -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    const NEWEST: &str = "SELECT timestamp FROM system.cdc_timestamps \
         WHERE keyspace_name = ? AND table_name = 'outbox_messages' LIMIT 1";
    const STREAMS: &str = "SELECT stream_id FROM system.cdc_streams WHERE keyspace_name = ? AND \
         table_name = 'outbox_messages' AND timestamp = ? AND stream_state = 0";
    let newest = match session.query_unpaged(question(session, NEWEST), (keyspace,)).await {
        Ok(newest) => newest.into_rows_result()?.maybe_first_row::<(CqlTimestamp,)>()?,
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Invalid,
            _,
        ))) => None,
        Err(error) => return Err(error.into()),
    };
    let Some((newest,)) = newest else { return Ok(None) };
    let rows = session
        .query_unpaged(question(session, STREAMS), (keyspace, newest))
        .await?
        .into_rows_result()?;
    let streams =
        rows.rows::<(Vec<u8>,)>()?.map(|row| row.map(|(id,)| id)).collect::<Result<_, _>>();
    Ok(Some(streams?))
}
