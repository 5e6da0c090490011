//! What the scanner compares: tails of outbox and ledger, cursors, checkpoints, catch-ups.

use crate::checkpoints::failed as slots_failed;
use crate::consumer::{ErrorClass, HandleError};
use crate::database::events::{TAILS_COLUMNS, read_tails};
use crate::database::{CatchUps, OutboxLog, failed, misread, prepare};
use crate::letters::{LetterKey, Letters};
use crate::log_time::LogTime;
use crate::scanner::ScannerDeps;
use crate::scanner::source::{Progress, ScanSource, Scanned};
use crate::source::{CatchUpStore, LogSource, NextPage, TailPage};
use async_trait::async_trait;
use event_store::{ReannounceBounds, ReannounceError, Reannouncer, outbox};
use kernel::Version;
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const CURSORS: &str = "SELECT consumer, last_version FROM consumer_cursors WHERE aggregate_id = ?";

/// What `toTimestamp` cuts off.
const RESOLUTION: Duration = Duration::from_millis(1);

/// The tables.
pub(crate) struct ScanTables {
    session: Arc<Session>,
    outbox_tails: PreparedStatement,
    ledger_tails: PreparedStatement,
    cursors: PreparedStatement,
    announced: PreparedStatement,
    catch_ups: CatchUps,
    log: OutboxLog,
    reannouncer: Reannouncer,
    letters: Arc<dyn Letters>,
}

impl ScanTables {
    /// Prepares the statements; the tables must be there.
    pub(crate) async fn open(deps: &ScannerDeps) -> Result<Self, HandleError> {
        let (session, config) = (deps.session.clone(), &deps.config);
        let page_rows = i32::try_from(config.page_aggregates).unwrap_or(i32::MAX);
        let tails = async |table: &str| {
            let cql = format!(
                "SELECT {TAILS_COLUMNS} FROM {table} WHERE token(aggregate_id) >= ? \
                 AND token(aggregate_id) <= ? PER PARTITION LIMIT 1"
            );
            let mut statement = prepare(&session, &cql).await?;
            statement.set_page_size(page_rows);
            statement.set_request_timeout(Some(config.request_timeout()));
            Ok::<_, HandleError>(statement)
        };
        let announced = format!(
            "SELECT {} FROM {} WHERE {} = ? AND {} = ?",
            outbox::column::EVENT_ID,
            outbox::TABLE,
            outbox::column::AGGREGATE_ID,
            outbox::column::SEQUENCE_NUMBER,
        );
        let bounds = ReannounceBounds {
            request_timeout: config.request_timeout(),
            page_events: i32::try_from(config.announce_events).unwrap_or(i32::MAX),
            attempts_max: config.announce_attempts_max,
            backoff: config.backoff,
        };
        let reannouncer = Reannouncer::open(session.clone(), bounds, &deps.settings).await;
        let reannouncer = reannouncer.map_err(|error| HandleError {
            class: ErrorClass::Transport,
            what: "open the event store".to_owned(),
            source: Some(Box::new(error)),
        })?;
        Ok(Self {
            outbox_tails: tails(outbox::TABLE).await?,
            ledger_tails: tails("event_store").await?,
            cursors: prepare(&session, CURSORS).await?,
            announced: prepare(&session, &announced).await?,
            catch_ups: CatchUps::open(session.clone()).await?,
            log: OutboxLog::open(session.clone(), &deps.keyspace, config.page_aggregates).await?,
            reannouncer,
            letters: deps.letters.clone(),
            session,
        })
    }
}

#[async_trait]
impl ScanSource for ScanTables {
    async fn now(&self) -> Result<LogTime, HandleError> {
        let readings = self.log.clocks().await?;
        let latest = readings.iter().map(|reading| {
            let round_trip = reading.received.saturating_duration_since(reading.sent);
            reading.value.plus(round_trip + RESOLUTION)
        });
        Ok(latest.max().unwrap_or(LogTime::MAX))
    }

    async fn progress(&self, consumers: &[String]) -> Result<Progress, HandleError> {
        let mut progress = Progress::default();
        for slot in leases::list(&self.session).await.map_err(slots_failed)? {
            if let Some(checkpoint) = slot.checkpoint_us {
                let key = (slot.group, slot.slot);
                progress.checkpoints.insert(key, LogTime::from_micros(checkpoint));
            }
        }
        for consumer in consumers {
            let rows = self.catch_ups.load(consumer).await?;
            let done = rows.into_iter().filter(|(_, row)| row.is_done);
            progress.caught_up.extend(done.map(|(slot, _)| (consumer.clone(), slot)));
        }
        Ok(progress)
    }

    async fn tails(
        &self,
        of: Scanned,
        tokens: RangeInclusive<i64>,
        page: Option<NextPage>,
    ) -> Result<TailPage, HandleError> {
        let statement = match of {
            Scanned::Outbox => &self.outbox_tails,
            Scanned::Ledger => &self.ledger_tails,
        };
        read_tails(&self.session, statement, tokens, page).await
    }

    async fn has_letter(&self, key: LetterKey<'_>) -> Result<bool, HandleError> {
        Ok(self.letters.read(key).await?.is_some())
    }

    async fn cursors(&self, aggregate_id: Uuid) -> Result<BTreeMap<String, u64>, HandleError> {
        let what = || format!("read the cursors of aggregate {aggregate_id}");
        let answer = self.session.execute_unpaged(&self.cursors, (aggregate_id,)).await;
        let rows = answer.map_err(|e| failed(what(), e))?.into_rows_result();
        let rows = rows.map_err(|e| misread(what(), e))?;
        let mut cursors = BTreeMap::new();
        for row in rows.rows::<(String, Option<i64>)>().map_err(|e| misread(what(), e))? {
            let (consumer, version) = row.map_err(|e| misread(what(), e))?;
            let version = u64::try_from(version.unwrap_or(0)).map_err(|e| misread(what(), e))?;
            cursors.insert(consumer, version);
        }
        Ok(cursors)
    }

    async fn is_announced(&self, aggregate_id: Uuid, version: u64) -> Result<bool, HandleError> {
        let what = || format!("look for the announcement of version {version} of {aggregate_id}");
        let number = i64::try_from(version).map_err(|e| misread(what(), e))?;
        let answer = self.session.execute_unpaged(&self.announced, (aggregate_id, number)).await;
        let rows = answer.map_err(|e| failed(what(), e))?.into_rows_result();
        Ok(rows.map_err(|e| misread(what(), e))?.rows_num() > 0)
    }

    async fn announce_after(
        &self,
        aggregate_id: Uuid,
        version: u64,
        topic: &str,
    ) -> Result<u64, HandleError> {
        let announced = self.reannouncer.after(aggregate_id, Version(version), topic).await;
        announced.map_err(|error: ReannounceError| HandleError {
            class: if error.is_transient() { ErrorClass::Transport } else { ErrorClass::Poison },
            what: format!("announce aggregate {aggregate_id} after version {version}"),
            source: Some(Box::new(error)),
        })
    }
}
