//! What the scanner needs of the world outside; the real one is [`crate::database::ScanTables`].

use crate::error::StoreError;
use crate::letters::LetterKey;
use crate::log_time::LogTime;
use crate::source::{NextPage, TailPage};
use async_trait::async_trait;
use kernel::Version;
use leases::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use uuid::Uuid;

/// Where newest versions are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// What was announced within the last day.
    Outbox,
    /// Everything.
    Ledger,
}

impl Scanned {
    /// The label of the scanner's metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Ledger => "ledger",
        }
    }
}

/// How far groups and consumers are, slot by slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Up to where a group has settled the log; none for a slot that it never had.
    pub(crate) checkpoints: BTreeMap<(String, Slot), LogTime>,
    /// Consumers and slots whose catch-up is done.
    pub(crate) caught_up: BTreeSet<(String, Slot)>,
}

/// The tables that the scanner compares, and the announcement.
#[async_trait]
pub(crate) trait ScanSource: Send + Sync + 'static {
    /// At least the time that the fastest node's clock shows now.
    async fn now(&self) -> Result<LogTime, StoreError>;

    /// How far all groups, and the consumers of these names, are.
    async fn progress(&self, consumers: &[String]) -> Result<Progress, StoreError>;

    /// One page of the newest version of every aggregate whose token is in `tokens`.
    async fn tails(
        &self,
        of: Scanned,
        tokens: RangeInclusive<i64>,
        page: Option<NextPage>,
    ) -> Result<TailPage, StoreError>;

    /// The versions that consumers have handled of an aggregate; those without a cursor are absent.
    async fn cursors(&self, aggregate_id: Uuid) -> Result<BTreeMap<String, Version>, StoreError>;

    /// Whether a letter has the aggregate for a consumer.
    async fn has_letter(&self, key: LetterKey<'_>) -> Result<bool, StoreError>;

    /// Whether the outbox has the event.
    async fn is_announced(&self, aggregate_id: Uuid, version: Version) -> Result<bool, StoreError>;

    /// Announces everything that is stored after a version; returns how many events.
    async fn announce_after(
        &self,
        aggregate_id: Uuid,
        version: Version,
        topic: &str,
    ) -> Result<u64, StoreError>;
}
