//! What the reader and the sequencer need of the world outside, as narrow traits: the real ones are
//! in [`crate::database`], the tests bring fakes of their own.
//!
//! Every error is a [`StoreError`], whose class says what to do about it.

use crate::consumer::Change;
use crate::error::StoreError;
use crate::log_time::{LogTime, Window};
use crate::reading::generation::StreamRange;
use async_trait::async_trait;
use kernel::{RecordedEvent, Version};
use leases::Slot;
use scylla_cdc::cdc_types::StreamID;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

/// How much of each row a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The whole event.
    Full,
    /// Which event of which aggregate it is.
    Keys,
}

/// That an event was announced: aggregate, type and version, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) aggregate_id: Uuid,
    /// `None` when the log row does not tell.
    pub(crate) aggregate_type: Option<String>,
    pub(crate) version: Version,
}

/// One row of the log that announces an event.
#[derive(Debug, Clone)]
pub(crate) struct LogRow {
    pub(crate) stream: StreamID,
    /// `cdc$time`, the same for all rows of one group.
    pub(crate) time: Uuid,
    /// Whether it is the last row of its group.
    pub(crate) end_of_group: bool,
    pub(crate) announcement: Announcement,
    /// The event, where the query asked for it and the row can be decoded. What cannot be is read
    /// from the event store.
    pub(crate) change: Option<Change>,
}

/// Where the next page begins; only the source that made it can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NextPage(pub(crate) Arc<[u8]>);

/// One page of a log query: rows by stream, then time, then place in their group.
#[derive(Debug, Default)]
pub(crate) struct LogPage {
    pub(crate) rows: Vec<LogRow>,
    pub(crate) next: Option<NextPage>,
}

/// What one node's clock showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeReading {
    pub(crate) sent: Instant,
    pub(crate) received: Instant,
    /// Cut to milliseconds.
    pub(crate) value: LogTime,
}

/// The CDC log of the outbox, and the clocks that stamp it.
#[async_trait]
pub(crate) trait LogSource: Send + Sync + 'static {
    /// One page of the rows of `streams` in `window`. The first one with `page: None`.
    async fn read(
        &self,
        streams: &[StreamID],
        window: Window,
        detail: Detail,
        page: Option<NextPage>,
    ) -> Result<LogPage, StoreError>;

    /// What the nodes' clocks show now; at least one, else an error.
    async fn clocks(&self) -> Result<Vec<NodeReading>, StoreError>;
}

/// Which streams the log has had, and from when. The seam between vnodes (one set for all tables)
/// and tablets (one per table).
#[async_trait]
pub(crate) trait GenerationSource: Send + Sync + 'static {
    /// Start times of the generations after `after` (all with `None`), ascending.
    async fn starts(&self, after: Option<LogTime>) -> Result<Vec<LogTime>, StoreError>;

    /// The streams of the generation that starts then, with the part of the ring that each covers;
    /// empty when the description is not there.
    async fn streams(&self, start: LogTime) -> Result<Vec<StreamRange>, StoreError>;
}

/// The truth that gaps are healed from.
#[async_trait]
pub(crate) trait EventSource: Send + Sync + 'static {
    /// Up to `limit` events of an aggregate after `version`, ascending.
    async fn after(
        &self,
        aggregate_id: Uuid,
        version: Version,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, StoreError>;

    /// One page of the newest version of every aggregate whose token is in `tokens`, by token. The
    /// first one with `page: None`.
    async fn tails(
        &self,
        tokens: RangeInclusive<i64>,
        page: Option<NextPage>,
    ) -> Result<TailPage, StoreError>;
}

/// One page of a scan of the ledger.
#[derive(Debug, Default)]
pub(crate) struct TailPage {
    /// Token and newest version.
    pub(crate) tails: Vec<(i64, Announcement)>,
    pub(crate) next: Option<NextPage>,
}

/// How far the scan of one slot is for one consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CatchUpRow {
    /// From here on the log is followed.
    pub(crate) log_from: LogTime,
    /// Aggregates with a token below it are done; `None` at the beginning.
    pub(crate) position: Option<i64>,
    pub(crate) is_done: bool,
}

/// The table of catch-ups.
#[async_trait]
pub(crate) trait CatchUpStore: Send + Sync + 'static {
    /// The consumer's catch-ups, by slot.
    async fn load(&self, consumer: &str) -> Result<BTreeMap<Slot, CatchUpRow>, StoreError>;

    /// Stores the state of one.
    async fn save(&self, consumer: &str, slot: Slot, row: CatchUpRow) -> Result<(), StoreError>;
}

/// How far a consumer is with an aggregate, and what it remembers of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// [`Version::NONE`]: nothing handled yet.
    pub(crate) version: Version,
    pub(crate) view: Option<Arc<str>>,
}

/// The cursors' table.
#[async_trait]
pub(crate) trait CursorStore: Send + Sync + 'static {
    /// The stored cursor; a cursor of version 0 when there is none.
    async fn read(&self, aggregate_id: Uuid, consumer: &str) -> Result<Cursor, StoreError>;

    /// Stores a cursor under its version. The same write twice, or after a later one, changes
    /// nothing.
    async fn write(
        &self,
        aggregate_id: Uuid,
        consumer: &str,
        cursor: &Cursor,
    ) -> Result<(), StoreError>;
}

/// How far a slot is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Every event announced before was handled by every consumer of the group.
    pub(crate) time: LogTime,
    /// Start of the newest generation that this holds for.
    pub(crate) generation: LogTime,
}

/// Whether an effect that belongs to the slot may begin now.
pub(crate) type Fence = Arc<dyn Fn(Slot) -> bool + Send + Sync>;
