//! What the scanner compares: tails of outbox and ledger, cursors, checkpoints, catch-ups.

use crate::config::millis;
use crate::consumer::ErrorClass;
use crate::database::events::{prepare_tails, read_tails};
use crate::database::{CatchUps, OutboxLog, misread, prepare, query};
use crate::error::StoreError;
use crate::letters::{LetterKey, Letters};
use crate::log_time::LogTime;
use crate::reading::checkpoints::failed as slots_failed;
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
    pub(crate) async fn open(deps: &ScannerDeps) -> Result<Self, StoreError> {
        let ScannerDeps { group, config, .. } = deps;
        let session = group.session.clone();
        let tails = async |table: &str| {
            let mut statement = prepare_tails(&session, table, config.page_aggregates).await?;
            statement.set_request_timeout(Some(millis(config.request_timeout_ms)));
            Ok::<_, StoreError>(statement)
        };
        let announced = format!(
            "SELECT {} FROM {} WHERE {} = ? AND {} = ?",
            outbox::column::EVENT_ID,
            outbox::TABLE,
            outbox::column::AGGREGATE_ID,
            outbox::column::SEQUENCE_NUMBER,
        );
        let bounds = ReannounceBounds {
            request_timeout: millis(config.request_timeout_ms),
            page_events: i32::try_from(config.announce_events).unwrap_or(i32::MAX),
            attempts_max: config.announce_attempts_max,
            backoff: config.backoff,
        };
        let reannouncer = Reannouncer::open(session.clone(), bounds, &group.settings).await;
        let reannouncer = reannouncer.map_err(|error| {
            StoreError::new(ErrorClass::Transport, "open the event store", error)
        })?;
        Ok(Self {
            outbox_tails: tails(outbox::TABLE).await?,
            ledger_tails: tails("event_store").await?,
            cursors: prepare(&session, CURSORS).await?,
            announced: prepare(&session, &announced).await?,
            catch_ups: CatchUps::open(session.clone()).await?,
            log: OutboxLog::open(session.clone(), &group.keyspace, config.page_aggregates).await?,
            reannouncer,
            letters: group.letters.clone(),
            session,
        })
    }
}

#[async_trait]
impl ScanSource for ScanTables {
    async fn now(&self) -> Result<LogTime, StoreError> {
        let readings = self.log.clocks().await?;
        let latest = readings.iter().map(|reading| {
            let round_trip = reading.received.saturating_duration_since(reading.sent);
            reading.value.plus(round_trip + RESOLUTION)
        });
        Ok(latest.max().unwrap_or(LogTime::MAX))
    }

    async fn progress(&self, consumers: &[String]) -> Result<Progress, StoreError> {
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
    ) -> Result<TailPage, StoreError> {
        let statement = match of {
            Scanned::Outbox => &self.outbox_tails,
            Scanned::Ledger => &self.ledger_tails,
        };
        read_tails(&self.session, statement, tokens, page).await
    }

    async fn has_letter(&self, key: LetterKey<'_>) -> Result<bool, StoreError> {
        Ok(self.letters.read(key).await?.is_some())
    }

    async fn cursors(&self, aggregate_id: Uuid) -> Result<BTreeMap<String, Version>, StoreError> {
        let what = || format!("read the cursors of aggregate {aggregate_id}");
        let rows: Vec<(String, Option<i64>)> =
            query(&self.session, &self.cursors, (aggregate_id,), what).await?;
        let mut cursors = BTreeMap::new();
        for (consumer, version) in rows {
            let version = u64::try_from(version.unwrap_or(0)).map_err(|e| misread(what(), e))?;
            cursors.insert(consumer, Version(version));
        }
        Ok(cursors)
    }

    async fn is_announced(&self, aggregate_id: Uuid, version: Version) -> Result<bool, StoreError> {
        let what = || format!("look for the announcement of version {version} of {aggregate_id}");
        let number = i64::try_from(version.0).map_err(|e| misread(what(), e))?;
        let values = (aggregate_id, number);
        let found = query::<(Option<Uuid>,)>(&self.session, &self.announced, values, what).await?;
        Ok(!found.is_empty())
    }

    async fn announce_after(
        &self,
        aggregate_id: Uuid,
        version: Version,
        topic: &str,
    ) -> Result<u64, StoreError> {
        let announced = self.reannouncer.after(aggregate_id, version, topic).await;
        announced.map_err(|error: ReannounceError| {
            let class =
                if error.is_transient() { ErrorClass::Transport } else { ErrorClass::Poison };
            let what = format!("announce aggregate {aggregate_id} after version {version}");
            StoreError::new(class, what, error)
        })
    }
}
