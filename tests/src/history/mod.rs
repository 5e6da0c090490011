//! What clients did and were told, on one monotonic clock.
//!
//! A *command* is what a client wants: it has one idempotency key for ever. A *sending* is one
//! request that carries it; a command whose outcome is unknown is sent again. Reads are here too, so
//! that the checker can see whether anybody was shown the past.

mod lines;
mod recorder;

pub(crate) use lines::write_lines;
pub use recorder::Recorder;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The namespace of command ids. Written down here a second time on purpose: the checker derives
/// ids on its own, and a change of the form would make every key of every client a new command.
const COMMANDS: Uuid = Uuid::from_u128(0x7c1b_9a52_6c0f_4d0e_9b7e_3f0a_51d2_c8e4);

/// An aggregate type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the aggregates")]
pub enum Kind {
    Order,
    Customer,
}

impl Kind {
    /// The stored name.
    pub fn stored(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Customer => "customer",
        }
    }

    /// The part of a URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Order => "orders",
            Self::Customer => "customers",
        }
    }
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in the request")]
pub struct Command {
    pub kind: Kind,
    pub aggregate_id: Uuid,
    /// The idempotency key.
    pub key: String,
    /// The correlation id of every sending: it shows in the stored events which command they are of,
    /// whatever command id they carry.
    pub correlation_id: Uuid,
    pub method: String,
    pub path: String,
    pub body: Value,
    /// `If-Match`.
    pub expected: Option<u64>,
}

impl Command {
    /// The id that its events are stored with.
    pub fn command_id(&self) -> Uuid {
        let name = format!("{}\n{}\n{}", self.kind.stored(), self.aggregate_id, self.key);
        Uuid::new_v5(&COMMANDS, name.as_bytes())
    }
}

/// The answer to a sending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Ok {
        /// The aggregate's version after it.
        version: u64,
        /// Version and id of its events; empty when its effect was there already.
        events: Vec<(u64, Uuid)>,
    },
    /// Definitely not done by this sending.
    Fail {
        /// HTTP status.
        status: u16,
        /// The problem's code.
        code: String,
        /// The aggregate's version, where it was the reason.
        version: Option<u64>,
    },
    /// Nobody can say yet.
    Info {
        /// Why.
        why: String,
    },
}

impl Reply {
    /// Whether the command's outcome is as unknown after it as it was before, or more so.
    pub fn leaves_open(&self) -> bool {
        matches!(self, Self::Info { .. }) || self.is_passing()
    }

    /// Whether it refuses for a reason of the process and not of the aggregate: the same command may
    /// be accepted at another time.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Fail { status, code, .. } => {
                matches!(status, 408 | 429 | 503) || code == "contended"
            }
            Self::Ok { .. } | Self::Info { .. } => false,
        }
    }
}

/// One request with a command. Times are microseconds since the run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// Index of its command.
    pub command: usize,
    /// Who sent it.
    pub client: u32,
    /// Through which replica of `command-api`.
    pub replica: usize,
    /// When it was sent.
    pub invoked_us: u64,
    /// When the answer came.
    pub completed_us: u64,
    /// The answer.
    pub reply: Reply,
}

/// Where somebody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The read model: may be behind, but not go back.
    ReadModel,
    /// The events themselves: never behind.
    Ledger,
}

/// One successful look at an aggregate's version; 0 when it was not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in a sending")]
pub struct Read {
    pub aggregate_id: Uuid,
    pub place: Place,
    pub invoked_us: u64,
    pub completed_us: u64,
    pub version: u64,
}

/// The answer of the look-up of a command, after everything was healed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// Index of the command.
    pub command: usize,
    /// "Done at this version", or `None` for "not found".
    pub done_at: Option<u64>,
}

/// The answer to a key that was used again with another body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reuse {
    /// Index of the command whose key it was.
    pub command: usize,
    /// HTTP status.
    pub status: u16,
    /// The problem's code.
    pub code: String,
}

/// One fault, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its kind.
    pub kind: String,
    /// Whom it befell.
    pub target: String,
    /// When it began.
    pub began_us: u64,
    /// When it ended.
    pub ended_us: u64,
    /// What it did: calls, connections or processes that it befell. 0: it did not fire.
    pub fired: u64,
}

/// Everything that clients and the nemesis did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// What chose it.
    pub seed: u64,
    /// In the order in which they were thought of.
    pub commands: Vec<Command>,
    /// In the order of their completion.
    pub sendings: Vec<Sending>,
    /// In the order of their completion.
    pub reads: Vec<Read>,
    /// After the healing.
    pub lookups: Vec<Lookup>,
    /// After the healing.
    pub reuses: Vec<Reuse>,
    /// The nemesis's log.
    pub faults: Vec<Fault>,
    /// Refusals that do not say what a refusal must.
    pub evasions: Vec<String>,
    /// The most memory that each process was seen with, in MiB.
    pub memory_mib: BTreeMap<String, f64>,
}

impl History {
    /// The share of sendings that overlapped in time with a sending of another command of the same
    /// aggregate.
    pub fn concurrent_share(&self) -> f64 {
        let mut order: Vec<usize> = (0..self.sendings.len()).collect();
        order.sort_by_key(|index| self.sendings[*index].invoked_us);
        let mut concurrent = vec![false; self.sendings.len()];
        // Per aggregate the sending that ends last among those seen so far.
        let mut latest: std::collections::HashMap<Uuid, usize> = std::collections::HashMap::new();
        for index in order {
            let sending = &self.sendings[index];
            let aggregate_id = self.commands[sending.command].aggregate_id;
            if let Some(before) = latest.get(&aggregate_id).copied() {
                let other = &self.sendings[before];
                if other.completed_us > sending.invoked_us && other.command != sending.command {
                    concurrent[index] = true;
                    concurrent[before] = true;
                }
                if other.completed_us > sending.completed_us {
                    continue;
                }
            }
            latest.insert(aggregate_id, index);
        }
        share(concurrent.iter().filter(|concurrent| **concurrent).count(), self.sendings.len())
    }

    /// The share of commands that were accepted at least once.
    pub fn accepted_share(&self) -> f64 {
        let mut accepted = vec![false; self.commands.len()];
        for sending in &self.sendings {
            if matches!(sending.reply, Reply::Ok { .. }) {
                accepted[sending.command] = true;
            }
        }
        share(accepted.iter().filter(|accepted| **accepted).count(), self.commands.len())
    }
}

/// A part of a whole; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
