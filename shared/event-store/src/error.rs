//! Why a command was not accepted, an event not read, the store not opened. Each error of a command
//! says whether the command was done ([`ExecuteError::effect`]).

use crate::ledger::LedgerError;
use kernel::codec::CodecError;
use kernel::{DomainError, Version};
use runtime::config::BadValue;
use std::time::Duration;
use uuid::Uuid;

/// Whether a command that got an error took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It did not, and this sending of it never will.
    NotDone,
    /// It may have or may still; sending the same command id again settles it.
    Unknown,
}

/// Why a command did not get an answer.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E: DomainError> {
    /// The aggregate's rules refuse it. Not done.
    #[error("refused at version {version}")]
    Refused {
        /// The rule.
        #[source]
        error: E,
        /// The version that was decided upon; 0 when there is no such aggregate.
        version: Version,
    },
    /// The sender decided upon another version. Not done.
    #[error("the aggregate is at version {actual}, the command expects {expected}")]
    VersionMismatch {
        /// What the sender named.
        expected: Version,
        /// What is stored.
        actual: Version,
    },
    /// The command id was used before, with another fingerprint. Not done (the first one was).
    #[error("command id {command_id} was used before for another command")]
    CommandReused {
        /// The id.
        command_id: Uuid,
        /// The aggregate's version.
        version: Version,
    },
    /// The id belongs to an aggregate of another type. Not done.
    #[error("the aggregate id belongs to an aggregate of type {found}")]
    OtherType {
        /// The type that is stored under the id.
        found: String,
    },
    /// The command leads to more than one commit may hold. Not done.
    #[error(
        "the command leads to {events} events of {bytes} bytes; {events_max} and {bytes_max} are the bounds"
    )]
    TooLarge {
        /// How many events.
        events: usize,
        /// Their size as stored, in bytes.
        bytes: usize,
        /// How many a commit may have.
        events_max: usize,
        /// How many bytes a commit may have.
        bytes_max: usize,
    },
    /// One of this process's bounds is reached. Not done; try again later.
    #[error("busy: {reason}")]
    Busy {
        /// Which bound.
        reason: BusyReason,
        /// When another try is worth it.
        retry_after: Duration,
    },
    /// Others kept appending first. Not done.
    #[error("gave up after {attempts} attempts: others kept appending first")]
    Conflict {
        /// How often it was decided.
        attempts: u32,
        /// The version after the last lost race.
        version: Version,
    },
    /// The commit was sent and its outcome is not known yet. It goes on being resolved; sending the
    /// same command id again settles it.
    #[error("the outcome of command {command_id} is not known yet")]
    Unknown {
        /// The command.
        command_id: Uuid,
    },
    /// The database could not be reached in time, or the process is stopping. Not done.
    #[error("not available while trying to {doing}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// Why, where the database said so.
        #[source]
        source: Option<LedgerError>,
    },
    /// An event that the command leads to has no stored form: its type does not keep to the rules of
    /// the codec. Not done.
    #[error("an event that the command to aggregate {aggregate_id} leads to cannot be stored")]
    Unstorable {
        /// The aggregate.
        aggregate_id: Uuid,
        /// What the codec says.
        #[source]
        source: CodecError,
    },
    /// What is stored cannot be used: not decodable, or not contiguous. Not done.
    #[error("the events of aggregate {aggregate_id} cannot be used")]
    Corrupt {
        /// The aggregate.
        aggregate_id: Uuid,
        /// What is wrong.
        #[source]
        source: CorruptError,
    },
}

impl<E: DomainError> ExecuteError<E> {
    /// Whether the command took effect.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self {
            Self::Unknown { .. } => Effect::Unknown,
            _ => Effect::NotDone,
        }
    }

    /// The label of `commands_total`.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::VersionMismatch { .. } => "version_mismatch",
            Self::CommandReused { .. } => "command_reused",
            Self::OtherType { .. } => "other_type",
            Self::TooLarge { .. } => "too_large",
            Self::Busy { .. } => "busy",
            Self::Conflict { .. } => "conflict",
            Self::Unknown { .. } => "unknown",
            Self::Unavailable { .. } => "unavailable",
            Self::Unstorable { .. } => "unstorable",
            Self::Corrupt { .. } => "corrupt",
        }
    }
}

/// Which bound turned a command away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BusyReason {
    /// Too many commands are open in this process: queued, running, or waiting for announcement.
    #[error("too many open commands")]
    OpenCommands,
    /// Too many commands wait for this aggregate.
    #[error("too many commands for one aggregate")]
    AggregateQueue,
    /// The wait for the aggregate's earlier commands ran out.
    #[error("waited too long for earlier commands of the aggregate")]
    AggregateWait,
}

/// Stored events that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorruptError {
    /// A version is missing or doubled.
    #[error("aggregate {aggregate_id}: expected version {expected}, found {found}")]
    Gap {
        /// The aggregate.
        aggregate_id: Uuid,
        /// The version that should come.
        expected: Version,
        /// The version that came.
        found: Version,
    },
    /// A column has no value, or one that cannot be.
    #[error("aggregate {aggregate_id} version {version}: column {column}")]
    Column {
        /// The aggregate.
        aggregate_id: Uuid,
        /// The event's version.
        version: i64,
        /// The column.
        column: &'static str,
        /// What is wrong, where a parser said so.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The event's data cannot be read by this release.
    #[error("aggregate {aggregate_id} version {version}")]
    Data {
        /// The aggregate.
        aggregate_id: Uuid,
        /// The event's version.
        version: Version,
        /// What the codec says.
        #[source]
        source: CodecError,
    },
}

/// Why stored events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database did not answer, or with an error. Try again.
    #[error("read the events of aggregate {aggregate_id}")]
    Database {
        /// The aggregate.
        aggregate_id: Uuid,
        /// Why.
        #[source]
        source: LedgerError,
    },
    /// A version is missing in the answer. To be treated like a transport error: never a reason to
    /// advance.
    #[error("hole in the answer")]
    Gap(#[source] CorruptError),
    /// A row cannot be read at all. Trying again will not help.
    #[error("unreadable row")]
    Corrupt(#[source] CorruptError),
}

impl ReadError {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { .. } | Self::Gap(_) => true,
            Self::Corrupt(_) => false,
        }
    }

    pub(crate) fn unusable(source: CorruptError) -> Self {
        match source {
            CorruptError::Gap { .. } => Self::Gap(source),
            _ => Self::Corrupt(source),
        }
    }
}

/// Why the event store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A value of the configuration makes no sense.
    #[error("configuration")]
    Config(#[from] BadValue),
    /// A statement could not be prepared; usually the schema is not there yet.
    #[error("prepare the statement on {table}")]
    Prepare {
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: Box<scylla::errors::PrepareError>,
    },
    /// The writer's row could not be written.
    #[error("register as a writer")]
    Register(#[source] LedgerError),
}

/// Why the process has to end: what it holds is finished by another process.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// An announcement made no progress although the database answered all the time.
    #[error(
        "an announcement for aggregate {aggregate_id} made no progress for {waited:?} while the database answered"
    )]
    AnnouncementStuck {
        /// The aggregate.
        aggregate_id: Uuid,
        /// How long.
        waited: Duration,
    },
    /// An append task ended without finishing its work.
    #[error("an append task panicked")]
    AppendPanicked,
    /// The task that keeps the writer's row alive ended.
    #[error("the heartbeat task ended")]
    HeartbeatEnded,
}
