//! Applies a projection: decode, fold, write; the sequencer then writes the cursor.

use crate::metrics::{EVENTS, FRESHNESS};
use crate::projection::Projection;
use crate::row::{RowWrite, WriteTimes};
use async_trait::async_trait;
use cdc::{Change, ChangeConsumer, ErrorClass, HandleError};
use database::error_class;
use futures::future::try_join_all;
use moka::future::Cache;
use scylla::client::session::Session;
use scylla::errors::{ExecutionError, PrepareError};
use scylla::statement::prepared::PreparedStatement;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The generation whose tables are written and whose cursors are kept.
const GENERATION: u32 = 1;

/// How many statements are kept prepared; a projection has a handful of shapes.
const PREPARED_MAX: u64 = 256;

/// The stored name of the consumer that runs a projection.
pub(crate) fn consumer_of(projection: &str) -> String {
    format!("{projection}@{GENERATION}")
}

/// The consumer that runs one projection.
pub struct Projector<P> {
    projection: P,
    consumer: String,
    session: Arc<Session>,
    statements: Cache<String, PreparedStatement>,
}

impl<P: Projection> Projector<P> {
    /// A projector that writes through `session`, into the first generation of the tables.
    pub fn new(session: Arc<Session>) -> Self {
        Self {
            projection: P::default(),
            consumer: consumer_of(P::NAME),
            session,
            statements: Cache::new(PREPARED_MAX),
        }
    }

    async fn write(&self, write: &RowWrite, times: WriteTimes) -> Result<(), WriteError> {
        let text = write.statement();
        let statement = self.statements.try_get_with_by_ref(&text, self.prepare(&text)).await?;
        self.session.execute_unpaged(&statement, write.bind(times)).await.map_err(Box::new)?;
        Ok(())
    }

    async fn prepare(&self, text: &str) -> Result<PreparedStatement, PrepareError> {
        let mut statement = self.session.prepare(text).await?;
        // Under the version's timestamp a second identical write changes nothing.
        statement.set_is_idempotent(true);
        Ok(statement)
    }

    async fn apply(&self, change: &Change, view: Option<&str>) -> Result<String, HandleError> {
        let event = &change.event;
        let failed = |class, what: &str, source: Box<dyn std::error::Error + Send + Sync>| {
            let what = format!(
                "{what} {} {} of {} for {}",
                event.event_type, event.version, event.aggregate_id, self.consumer
            );
            HandleError { class, what, source: Some(source) }
        };
        let poison = |what, source| failed(ErrorClass::Poison, what, source);
        let decoded = kernel::codec::decode_recorded::<P::Event>(event)
            .map_err(|error| poison("decode", Box::new(error)))?;
        let times = WriteTimes::of(event.version)
            .ok_or_else(|| poison("find the timestamps of", "the version is too large".into()))?;
        let view = view
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| poison("read the view before", Box::new(error)))?;
        let (view, writes) = self
            .projection
            .project(view, &decoded)
            .map_err(|error| poison("fold", Box::new(error)))?;
        let view = serde_json::to_string(&view)
            .map_err(|error| poison("store the view after", Box::new(error)))?;
        try_join_all(writes.iter().map(|write| self.write(write, times)))
            .await
            .map_err(|error| failed(error.class(), "write the rows of", Box::new(error)))?;
        Ok(view)
    }
}

/// Why a row could not be written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("prepare the write")]
    Prepare(#[from] Arc<PrepareError>),
    #[error("execute the write")]
    Execute(#[from] Box<ExecutionError>),
}

impl WriteError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Prepare(error) => error_class::of_prepare(error),
            Self::Execute(error) => error_class::of_request(error),
        }
    }
}

#[async_trait]
impl<P: Projection> ChangeConsumer for Projector<P> {
    fn name(&self) -> &str {
        &self.consumer
    }

    fn wants(&self, aggregate_type: &str) -> bool {
        aggregate_type == P::AGGREGATE_TYPE
    }

    async fn handle(
        &self,
        change: &Change,
        view: Option<&str>,
    ) -> Result<Option<String>, HandleError> {
        let result = self.apply(change, view).await;
        let outcome = match &result {
            Ok(_) => "applied",
            Err(error) if error.class == ErrorClass::Transport => "retried",
            Err(_) => "refused",
        };
        EVENTS.with_label_values(&[P::NAME, outcome]).inc();
        if result.is_ok()
            && let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH)
        {
            let age = now.as_secs_f64() - change.event.recorded_at.0 as f64 / 1000.0;
            FRESHNESS.with_label_values(&[P::NAME]).observe(age.max(0.0));
        }
        result.map(Some)
    }
}
