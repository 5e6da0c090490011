//! What the tests of this crate share: an aggregate, a ledger in memory, and a store over it.

mod database;
mod fake;
mod tables;
mod wire;

pub(crate) use database::{Database, eventually};
pub(crate) use fake::{Fake, Fault, Op};
pub(crate) use kernel::testing::tally::{Tally, TallyCommand, TallyError, event};
pub(crate) use wire::{When, Wire};

use crate::command::{CommandRequest, Outcome};
use crate::config::EventStoreConfig;
use crate::error::ExecuteError;
use crate::ledger::Ledger;
use crate::store::EventStore;
use kernel::{Timestamp, Version};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// The aggregate that most tests use.
pub(crate) const ID: Uuid = Uuid::from_u128(0xA);

/// Half the safety interval in these tests.
pub(crate) const ANNOUNCE_WITHIN: Duration = Duration::from_secs(5);

pub(crate) type Answer = Result<Outcome, ExecuteError<TallyError>>;

/// A store over a ledger in memory.
pub(crate) struct Rig {
    pub(crate) fake: Arc<Fake>,
    pub(crate) store: EventStore,
    pub(crate) now_ms: Arc<AtomicI64>,
}

/// A store with default bounds over an empty ledger.
pub(crate) async fn rig() -> Rig {
    over(Fake::new(), EventStoreConfig::default()).await
}

/// A store over a ledger that others may use too.
pub(crate) async fn over(fake: Arc<Fake>, config: EventStoreConfig) -> Rig {
    let ledger = Arc::clone(&fake);
    connected(fake, ledger, config).await
}

/// A store with a connection of its own, which may be cut.
pub(crate) async fn wired(fake: &Arc<Fake>, config: EventStoreConfig) -> (Arc<Wire>, Rig) {
    let wire = Wire::new(fake);
    let rig = connected(Arc::clone(fake), wire.clone(), config).await;
    (wire, rig)
}

async fn connected(fake: Arc<Fake>, ledger: Arc<dyn Ledger>, config: EventStoreConfig) -> Rig {
    let now_ms = Arc::new(AtomicI64::new(1_000));
    let clock = Arc::clone(&now_ms);
    let clock = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
    let store = EventStore::over(ledger, config, ANNOUNCE_WITHIN, clock).await;
    Rig { fake, store: store.expect("the store opens"), now_ms }
}

impl Rig {
    /// Sends a command with an id of its own.
    pub(crate) async fn send(&self, id: u128, command: TallyCommand) -> Answer {
        self.store.execute(request(id, command)).await
    }

    /// Waits until everything that was committed is announced.
    pub(crate) async fn announced(&self) {
        let events = self.fake.events(ID).len();
        self.fake.until(|fake| fake.announced_versions(ID).len() >= events).await;
    }
}

/// A command to [`ID`] under this command id.
pub(crate) fn request(id: u128, command: TallyCommand) -> CommandRequest<Tally> {
    CommandRequest {
        name: command.name(),
        aggregate_id: ID,
        command_id: Uuid::from_u128(id),
        fingerprint: format!("{command:?}"),
        command,
        expected_version: None,
        causation_id: None,
        correlation_id: Uuid::from_u128(0xC0),
        actor: Some("tester".to_owned()),
        trace_parent: None,
    }
}

/// The versions and replay flag of an accepted command; panics with the answer otherwise.
#[track_caller]
pub(crate) fn versions(answer: &Answer) -> (Vec<u64>, bool) {
    match answer {
        Ok(outcome) => {
            let versions = outcome.events.iter().map(|event| event.version.0).collect();
            assert_eq!(outcome.aggregate_id, ID);
            let last = outcome.events.last().map(|event| event.version);
            assert_eq!(last.unwrap_or(outcome.version), outcome.version);
            (versions, outcome.replayed)
        }
        Err(error) => panic!("expected an accepted command, got {error:?}"),
    }
}

/// Asserts that a command was accepted, not replayed, with these versions.
#[track_caller]
pub(crate) fn accepted(answer: &Answer, expected: &[u64]) {
    assert_eq!(versions(answer), (expected.to_vec(), false));
}

/// Shorthand for versions.
pub(crate) fn v(version: u64) -> Version {
    Version(version)
}
