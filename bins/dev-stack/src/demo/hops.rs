//! Follows one event through the system, hop by hop, looking at the stores themselves.

use super::topics::{Arrival, TopicFollower};
use crate::http::HttpClient;
use crate::stack::Addresses;
use crate::wait::wait_for;
use anyhow::Context;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlTimeuuid};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// How long one hop may take before the demo calls it broken.
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
    /// Opens the stores of a running stack.
    pub async fn open(addresses: &Addresses, keyspace: &str) -> anyhow::Result<Self> {
        let session = SessionBuilder::new()
            .known_node(&addresses.engine)
            .use_keyspace(keyspace, true)
            .build()
            .await
            .context("open a session")?;
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
        let streams = streams(&session).await?;
        Ok(Self {
            session,
            stored,
            logged,
            streams,
            since: CqlTimestamp(i64::try_from(since)?),
            topics: TopicFollower::start(&addresses.broker).await?,
            http: HttpClient::default(),
            query_url: addresses.query_url(),
        })
    }

    /// The topics as far as they were read.
    pub fn topics(&self) -> &TopicFollower {
        &self.topics
    }

    /// Follows an event of a command that was answered. `resource` is the read model's path, for
    /// example `orders`.
    pub async fn follow(&self, resource: &str, event: Committed) -> anyhow::Result<Seen> {
        let (event_type, cdc_time, (read_model, visible_at), arrival) = futures::try_join!(
            self.event_stored(event),
            self.event_logged(event),
            self.visible(resource, event),
            self.topics.arrival(event.event_id, HOP_LIMIT),
        )?;
        let since_answer =
            |at: Instant| at.saturating_duration_since(event.answered_at).as_secs_f64() * 1000.0;
        Ok(Seen {
            event_type,
            cdc_time,
            read_model,
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
        anyhow::ensure!(event_id == event.event_id, "event_store holds another event: {event_id}");
        Ok(event_type)
    }

    async fn event_logged(&self, event: Committed) -> anyhow::Result<CqlTimeuuid> {
        let found = wait_for("the event's row in the CDC log", HOP_LIMIT, || async {
            let rows = self
                .session
                .execute_unpaged(&self.logged, (&self.streams, self.since))
                .await
                .map_err(|error| error.to_string())?
                .into_rows_result()
                .map_err(|error| error.to_string())?;
            let mut rows = rows
                .rows::<(Option<Uuid>, CqlTimeuuid)>()
                .map_err(|error| error.to_string())?
                .flatten();
            rows.find(|(id, _)| *id == Some(event.event_id))
                .map(|(_, time)| time)
                .ok_or_else(|| format!("no row with event {}", event.event_id))
        });
        Ok(found.await?)
    }

    async fn visible(
        &self,
        resource: &str,
        event: Committed,
    ) -> anyhow::Result<(serde_json::Value, Instant)> {
        let url = format!("{}/v1/{resource}/{}", self.query_url, event.aggregate_id);
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

/// The streams of the newest CDC generation.
async fn streams(session: &Session) -> anyhow::Result<Vec<Vec<u8>>> {
    let (newest,) = session
        .query_unpaged(
            "SELECT time FROM system_distributed.cdc_generation_timestamps \
             WHERE key = 'timestamps' LIMIT 1",
            (),
        )
        .await?
        .into_rows_result()?
        .single_row::<(CqlTimestamp,)>()?;
    let rows = session
        .query_unpaged(
            "SELECT streams FROM system_distributed.cdc_streams_descriptions_v2 WHERE time = ?",
            (newest,),
        )
        .await?
        .into_rows_result()?;
    let ranges = rows.rows::<(Vec<Vec<u8>>,)>()?.collect::<Result<Vec<_>, _>>()?;
    Ok(ranges.into_iter().flat_map(|(streams,)| streams).collect())
}
