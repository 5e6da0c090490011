//! The statements of the append as one trait, so that the append's state machine runs against the
//! database as well as against a scripted one in memory. Nothing here retries: who may send what
//! again is the state machine's business.

use crate::ids::{AttemptId, Bucket, Counter, Fence, Spread, WriterId};
use async_trait::async_trait;
use kernel::{RecordedEvent, Version};
use std::sync::Arc;
use uuid::Uuid;

/// A database request that did not give a usable answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The request was not carried out and never will be: it was never sent, or was refused before
    /// it began.
    #[error("not sent or refused")]
    NotDone(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// It may have been carried out, or may still be: timeout, broken connection, an error from the
    /// middle of its execution.
    #[error("no certain answer")]
    Unknown(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The database answered, but not in the expected form.
    #[error("unexpected answer")]
    Answer(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// How strong a read has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strength {
    /// Sees every acknowledged commit.
    Quorum,
    /// Also finishes every commit that was accepted but not acknowledged.
    Serial,
}

/// What a read of an aggregate's partition shows.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Tail {
    /// The fence; `None` also when the read matched no row.
    pub(crate) fence: Option<Fence>,
    /// Events in ascending order.
    pub(crate) events: Vec<RecordedEvent>,
}

/// One commit: the events of one command, contiguous, under the fence that was read.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) aggregate_id: Uuid,
    pub(crate) fence: Option<Fence>,
    pub(crate) events: Arc<[RecordedEvent]>,
}

/// What the commit's conditional update answers: the row as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitAnswer {
    pub(crate) applied: bool,
    pub(crate) fence: Option<Fence>,
    pub(crate) event_id: Option<Uuid>,
    pub(crate) command_id: Option<Uuid>,
}

/// What moving a fence answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FenceAnswer {
    pub(crate) applied: bool,
    /// The fence before the update.
    pub(crate) fence: Option<Fence>,
}

/// "This writer may be appending to this aggregate after this version."
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) writer: WriterId,
    pub(crate) bucket: Bucket,
    pub(crate) spread: Spread,
    pub(crate) aggregate_id: Uuid,
    pub(crate) after: Version,
    pub(crate) aggregate_type: &'static str,
    pub(crate) topic: &'static str,
}

/// An intent as it is stored: type and topic are text, maybe of another release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredIntent {
    pub(crate) aggregate_id: Uuid,
    pub(crate) after: Version,
    pub(crate) aggregate_type: String,
    pub(crate) topic: String,
}

/// Where the next page of a read begins; only the ledger that made it can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NextPage(pub(crate) Arc<[u8]>);

/// One page of a read; the last one has no `next`.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) next: Option<NextPage>,
}

/// Whether a writer may still commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriterState {
    Alive,
    /// There is a death certificate; what is left is to be settled.
    Dead,
}

impl WriterState {
    /// As the row has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Dead => "dead",
        }
    }

    /// The state of this name; `None` for one that this release does not know.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::Alive, Self::Dead].into_iter().find(|state| state.name() == name)
    }
}

/// A writer's row as somebody else sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredWriter {
    pub(crate) writer: WriterId,
    pub(crate) state: WriterState,
    pub(crate) counter: Counter,
    pub(crate) attempt: AttemptId,
    pub(crate) oldest_bucket: Bucket,
    pub(crate) newest_bucket: Bucket,
    pub(crate) intent_spread: i32,
}

/// A death certificate: one conditional change of another writer's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) writer: WriterId,
    /// The counter that stood still; it becomes one more.
    pub(crate) counter: Counter,
    /// The id of the change that gave the row this counter.
    pub(crate) previous: AttemptId,
    /// The id of this change.
    pub(crate) attempt: AttemptId,
}

/// A heartbeat: one conditional change of the writer's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub(crate) writer: WriterId,
    /// The counter that the row has; [`Counter::NONE`] when the row is to be created.
    pub(crate) counter: Counter,
    /// The id of the change that gave the row this counter.
    pub(crate) previous: Option<AttemptId>,
    /// The id of this change; the counter becomes one more.
    pub(crate) attempt: AttemptId,
    pub(crate) oldest_bucket: Bucket,
    pub(crate) newest_bucket: Bucket,
    pub(crate) intent_spread: i32,
}

/// What a change of a writer's row answers: the row as it was, `None` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriterAnswer {
    pub(crate) applied: bool,
    pub(crate) counter: Option<Counter>,
    pub(crate) attempt: Option<AttemptId>,
    pub(crate) state: Option<WriterState>,
}

/// The statements. Each call is one request; none is repeated by the driver.
#[async_trait]
pub(crate) trait Ledger: Send + Sync + 'static {
    /// The newest events, at most `limit`, and the fence (also of a partition without events).
    async fn newest(
        &self,
        aggregate_id: Uuid,
        limit: i32,
        strength: Strength,
    ) -> Result<Tail, ReadFailure>;

    /// Events from `version` on, that one included, at most `limit`, oldest first.
    async fn from(
        &self,
        aggregate_id: Uuid,
        version: Version,
        limit: i32,
        strength: Strength,
    ) -> Result<Tail, ReadFailure>;

    /// One lightweight transaction: all events or none.
    async fn commit(&self, commit: &Commit) -> Result<CommitAnswer, LedgerError>;

    /// Moves the fence, if it still has the value read.
    async fn move_fence(
        &self,
        aggregate_id: Uuid,
        from: Option<Fence>,
        to: Fence,
    ) -> Result<FenceAnswer, LedgerError>;

    /// Makes an intent durable.
    async fn write_intent(&self, intent: &Intent) -> Result<(), LedgerError>;

    /// Writes the events of one commit into the outbox, in one write with a server timestamp.
    async fn announce(&self, events: &[RecordedEvent], topic: &str) -> Result<(), LedgerError>;

    /// Creates or beats the writer's row.
    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<WriterAnswer, LedgerError>;

    /// Writes a death certificate.
    async fn certify(&self, certificate: &Certificate) -> Result<WriterAnswer, LedgerError>;

    /// One page of all writers' rows.
    async fn writers(&self, page: Option<NextPage>) -> Result<Page<StoredWriter>, LedgerError>;

    /// One page of a writer's intents in one partition of a bucket.
    async fn intents(
        &self,
        writer: WriterId,
        bucket: Bucket,
        spread: Spread,
        page: Option<NextPage>,
    ) -> Result<Page<StoredIntent>, LedgerError>;

    /// Removes a writer's row, if it is still as the last change left it. `true` when it is gone.
    async fn remove_writer(
        &self,
        writer: WriterId,
        state: WriterState,
        counter: Counter,
        attempt: AttemptId,
    ) -> Result<bool, LedgerError>;
}

/// Why a read gave no events.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFailure {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Corrupt(#[from] crate::error::CorruptError),
}
