//! A store in memory: real decisions, with command ids and expected versions as the event store has them, and failures
//! on demand.

use crate::commands::Store;
use event_store::{
    BusyReason, CommandRequest, CorruptError, ExecuteError, LookUp, Outcome, StoredEventRef,
};
use kernel::codec::CodecError;
use kernel::{Aggregate, DecisionContext, DomainEvent, Version, testing};
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

/// See the module. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    aggregates: HashMap<Uuid, Box<dyn Any + Send>>,
    executed: Vec<Executed>,
    fails: Option<Fails>,
    /// While there is one, commands wait for its permits, and stay at work for ever.
    gate: Option<Arc<Semaphore>>,
    at_work: Vec<Uuid>,
}

/// What arrived at the store.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are those of a command's request")]
pub struct Executed {
    pub name: &'static str,
    pub aggregate_id: Uuid,
    pub command_id: Uuid,
    pub correlation_id: Uuid,
    pub trace_parent: Option<String>,
    pub actor: Option<String>,
}

/// How the next command fails.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are those of the event store's errors")]
pub enum Fails {
    Busy(BusyReason, Duration),
    Conflict,
    Unknown,
    Unavailable,
    TooLarge,
    Corrupt,
    Unstorable,
    /// It panics.
    Panic,
}

/// One aggregate.
struct Kept<A: Aggregate> {
    state: A,
    version: Version,
    answers: HashMap<Uuid, (String, Outcome)>,
}

impl<A: Aggregate> Default for Kept<A> {
    fn default() -> Self {
        Self { state: A::default(), version: Version::NONE, answers: HashMap::new() }
    }
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Every command that arrived, refused ones too.
    #[must_use]
    pub fn executed(&self) -> Vec<Executed> {
        self.lock().executed.clone()
    }

    /// From now on a command is executed only for a permit of the gate.
    #[must_use]
    pub fn hold(&self) -> Arc<Semaphore> {
        self.lock().gate.insert(Arc::new(Semaphore::new(0))).clone()
    }

    /// The next command or look-up fails like this.
    pub fn fail_next(&self, fails: Fails) {
        self.lock().fails = Some(fails);
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    async fn execute<A: Aggregate>(
        &self,
        request: CommandRequest<A>,
        deadline: Instant,
    ) -> Result<Outcome, ExecuteError<A::Error>> {
        let gate = self.lock().gate.clone();
        if let Some(gate) = gate {
            self.lock().at_work.push(request.command_id);
            let turn = timeout_at(deadline, gate.acquire()).await;
            let turn =
                turn.map_err(|_| ExecuteError::Unknown { command_id: request.command_id })?;
            turn.expect("never closed").forget();
        }
        let mut inner = self.lock();
        inner.executed.push(Executed {
            name: request.name,
            aggregate_id: request.aggregate_id,
            command_id: request.command_id,
            correlation_id: request.correlation_id,
            trace_parent: request.trace_parent.clone(),
            actor: request.actor.clone(),
        });
        if let Some(fails) = inner.fails.take() {
            return Err(failed::<A>(fails, request.aggregate_id, request.command_id));
        }
        let kept = inner
            .aggregates
            .entry(request.aggregate_id)
            .or_insert_with(|| Box::new(Kept::<A>::default()));
        match kept.downcast_mut::<Kept<A>>() {
            Some(kept) => kept.execute(request),
            None => Err(ExecuteError::OtherType { found: "another".to_owned() }),
        }
    }

    async fn look_up<A: Aggregate>(
        &self,
        aggregate_id: Uuid,
        command_ids: &[Uuid],
        _deadline: Instant,
    ) -> Result<LookUp, ExecuteError<A::Error>> {
        let mut inner = self.lock();
        if let Some(fails) = inner.fails.take() {
            return Err(failed::<A>(fails, aggregate_id, command_ids[0]));
        }
        match inner.aggregates.get(&aggregate_id).map(|kept| kept.downcast_ref::<Kept<A>>()) {
            None => Ok(LookUp::NotFound { version: Version::NONE }),
            Some(Some(kept)) => Ok(kept.look_up(command_ids)),
            Some(None) => Err(ExecuteError::OtherType { found: "another".to_owned() }),
        }
    }

    fn is_at_work(&self, command_id: Uuid) -> bool {
        self.lock().at_work.contains(&command_id)
    }
}

impl<A: Aggregate> Kept<A> {
    fn look_up(&self, command_ids: &[Uuid]) -> LookUp {
        match command_ids.iter().find_map(|id| self.answers.get(id)) {
            Some((_, outcome)) => LookUp::Done(Outcome { replayed: true, ..outcome.clone() }),
            None => LookUp::NotFound { version: self.version },
        }
    }

    fn execute(&mut self, request: CommandRequest<A>) -> Result<Outcome, ExecuteError<A::Error>> {
        let command_id = request.command_id;
        if let Some((fingerprint, outcome)) = self.answers.get(&command_id) {
            return if *fingerprint == request.fingerprint {
                Ok(Outcome { replayed: true, ..outcome.clone() })
            } else {
                Err(ExecuteError::CommandReused { command_id, version: self.version })
            };
        }
        let actual = self.version;
        if let Some(expected) = request.expected_version.filter(|expected| *expected != actual) {
            return Err(ExecuteError::VersionMismatch { expected, actual });
        }
        let ctx = DecisionContext { aggregate_id: request.aggregate_id, now: testing::NOW };
        let events = self
            .state
            .decide(request.command, &ctx)
            .map_err(|error| ExecuteError::Refused { error, version: actual })?;
        let mut stored = Vec::new();
        for event in &events {
            self.state.apply(event);
            self.version = self.version.next();
            stored.push(StoredEventRef {
                event_id: Uuid::new_v5(&command_id, &[]),
                event_type: event.kind().name.to_owned(),
                version: self.version,
            });
        }
        let outcome = Outcome {
            aggregate_id: request.aggregate_id,
            version: self.version,
            events: stored,
            replayed: false,
        };
        if !events.is_empty() {
            self.answers.insert(command_id, (request.fingerprint, outcome.clone()));
        }
        Ok(outcome)
    }
}

fn failed<A: Aggregate>(
    fails: Fails,
    aggregate_id: Uuid,
    command_id: Uuid,
) -> ExecuteError<A::Error> {
    match fails {
        Fails::Busy(reason, retry_after) => ExecuteError::Busy { reason, retry_after },
        Fails::Conflict => ExecuteError::Conflict { attempts: 20, version: Version(7) },
        Fails::Unknown => ExecuteError::Unknown { command_id },
        Fails::Unavailable => {
            ExecuteError::Unavailable { doing: "load the aggregate", source: None }
        }
        Fails::TooLarge => {
            ExecuteError::TooLarge { events: 1, bytes: 9, events_max: 1, bytes_max: 8 }
        }
        Fails::Corrupt => ExecuteError::Corrupt {
            aggregate_id,
            source: CorruptError::Gap { aggregate_id, expected: Version(2), found: Version(3) },
        },
        Fails::Unstorable => ExecuteError::Unstorable {
            aggregate_id,
            source: CodecError::OtherName {
                rust_type: "Event",
                event_type: "Happened",
                tag: "happened".to_owned(),
            },
        },
        Fails::Panic => panic!("announced by the test"),
    }
}
