//! The event store of a process: bounds, the tasks behind it, and its end.

use crate::announce::Announcer;
use crate::append::Appender;
use crate::cache::Aggregates;
use crate::call::Call;
use crate::command::{CommandRequest, Outcome};
use crate::config::EventStoreConfig;
use crate::error::{BusyReason, ExecuteError, Failure, OpenError};
use crate::execute::{Answer, Execution};
use crate::ledger::Ledger;
use crate::metrics::METRICS;
use crate::queue::{Queues, Turn};
use crate::reader::EventReader;
use crate::scylla_ledger::ScyllaLedger;
use crate::sendings::Sendings;
use crate::settler::Settler;
use crate::statements::RequestBounds;
use crate::writer::Keeper;
use database::Settings;
use kernel::{Aggregate, Timestamp};
use runtime::CancellationToken;
use scylla::client::session::Session;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error};
use uuid::Uuid;

/// The wall clock; a value, so that tests have their own.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Commits commands. Cheap to clone; all clones are one writer.
#[derive(Clone)]
pub struct EventStore {
    shared: Arc<Shared>,
}

/// What the store and its tasks share.
pub(crate) struct Shared {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) config: EventStoreConfig,
    pub(crate) clock: Clock,
    pub(crate) cache: Aggregates,
    pub(crate) appender: Appender,
    pub(crate) announcer: Arc<Announcer>,
    queues: Arc<Queues>,
    sendings: Arc<Sendings>,
    open: Arc<Semaphore>,
    closing: AtomicBool,
    closed: CancellationToken,
    /// Heartbeat and settler, and one task per command from its commit to its announcement.
    tasks: TaskTracker,
    failed: watch::Sender<Option<Failure>>,
    /// How the heartbeat task ended; the sender is gone when it fell over.
    ended: watch::Receiver<Option<Result<(), Failure>>>,
}

impl fmt::Debug for EventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStore").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl EventStore {
    /// Prepares the statements in the session's keyspace, where the schema must be, registers this
    /// process as a writer and starts its heartbeat.
    ///
    /// The process must also drive [`EventStore::run`], and call [`EventStore::close`] at its end.
    pub async fn open(
        session: Arc<Session>,
        config: EventStoreConfig,
        settings: &Settings,
    ) -> Result<Self, OpenError> {
        config.validate()?;
        let within = settings.safety_interval / 2;
        let bounds = RequestBounds {
            timeout: config.request_timeout(),
            announce_timeout: within,
            page_rows: config.settle.page_rows,
        };
        let ledger = ScyllaLedger::prepare(session, bounds).await?;
        Self::over(Arc::new(ledger), config, within, Arc::new(now)).await
    }

    pub(crate) async fn over(
        ledger: Arc<dyn Ledger>,
        config: EventStoreConfig,
        announce_within: Duration,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let announcer = Announcer::new(Arc::clone(&ledger), config.backoff(), announce_within);
        let announcer = Arc::new(announcer);
        let closed = CancellationToken::new();
        let deadline = Instant::now() + config.wait();
        let registered = Keeper::register(
            Arc::clone(&ledger),
            Arc::clone(&announcer),
            config.clone(),
            closed.clone(),
            deadline,
        );
        let (keeper, writer) = registered.await.map_err(OpenError::Register)?;
        let (failed, failures) = watch::channel(None);
        let (ending, ended) = watch::channel(None);
        let tasks = TaskTracker::new();
        let settler = Settler::new(
            Arc::clone(&ledger),
            Arc::clone(&announcer),
            writer.clone(),
            config.clone(),
        );
        let settle_until = closed.clone();
        // One task, so that neither goes on without the other.
        tasks.spawn(async move {
            let mut keep = std::pin::pin!(keeper.run(failures));
            let result = tokio::select! {
                result = &mut keep => result,
                () = settler.run(settle_until) => keep.await,
            };
            ending.send_replace(Some(result));
        });
        let appender = Appender { ledger: Arc::clone(&ledger), writer, config: config.clone() };
        let shared = Shared {
            cache: Aggregates::new(config.cache_bytes_max),
            queues: Queues::new(config.queue_per_aggregate_max),
            sendings: Arc::default(),
            open: Arc::new(Semaphore::new(config.open_commands_max)),
            closing: AtomicBool::new(false),
            ledger,
            clock,
            appender,
            announcer,
            closed,
            tasks,
            failed,
            ended,
            config,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A reader over the same statements.
    #[must_use]
    pub fn reader(&self) -> EventReader {
        EventReader::over(Arc::clone(&self.shared.ledger))
    }

    /// Executes a command: load, decide, commit. The answer comes as soon as the events are facts;
    /// they are announced in any case, also when this future is dropped.
    ///
    /// Sent again with the same command id and fingerprint it gives the first answer again.
    pub async fn execute<A: Aggregate>(
        &self,
        request: CommandRequest<A>,
    ) -> Result<Outcome, ExecuteError<A::Error>> {
        self.execute_by(request, self.latest()).await
    }

    /// The same for a caller who waits until `deadline` and no longer than anyone may. The error that
    /// it gets then says whether the command was done; what is on its way goes on.
    pub async fn execute_by<A: Aggregate>(
        &self,
        request: CommandRequest<A>,
        deadline: Instant,
    ) -> Result<Outcome, ExecuteError<A::Error>> {
        let started = Instant::now();
        let name = request.name;
        let result = self.answer(request, deadline.min(self.latest())).await;
        let outcome = match &result {
            Ok(outcome) if outcome.replayed => "replayed",
            Ok(outcome) if outcome.events.is_empty() => "unchanged",
            Ok(_) => "accepted",
            Err(error) => error.label(),
        };
        METRICS.answered(A::TYPE, name, outcome, started.elapsed());
        result
    }

    async fn answer<A: Aggregate>(
        &self,
        request: CommandRequest<A>,
        deadline: Instant,
    ) -> Answer<A> {
        let command_id = request.command_id;
        let (open, turn) = match self.admit(request.aggregate_id, deadline).await {
            Ok(admitted) => admitted,
            // "Not done" would be wrong if an earlier sending of the same command took effect.
            Err(_) if self.shared.sendings.contains(command_id) => {
                return Err(ExecuteError::Unknown { command_id });
            }
            Err(error) => return Err(error),
        };
        let call = Arc::new(Call::new(deadline));
        let (to, answer) = oneshot::channel();
        let execution = Execution {
            shared: Arc::clone(&self.shared),
            call: Arc::clone(&call),
            sending: self.shared.sendings.begin(command_id),
            request,
        };
        let watch = PanicWatch { shared: Arc::clone(&self.shared), call: Arc::clone(&call) };
        self.shared.tasks.spawn(
            async move {
                let _open = open;
                let _watch = watch;
                execution.run(turn, to).await;
            }
            .in_current_span(),
        );
        let in_time = tokio::select! {
            answer = answer => answer.ok(),
            () = sleep_until(deadline) => None,
        };
        match in_time {
            Some(answer) => answer,
            None if call.abandon() => {
                Err(ExecuteError::Unavailable { doing: "answer in time", source: None })
            }
            None => Err(ExecuteError::Unknown { command_id }),
        }
    }

    /// Whether a sending of this command is at work in this process. While one is, another sending
    /// that cannot be served must not be told "not done".
    #[must_use]
    pub fn is_at_work(&self, command_id: Uuid) -> bool {
        self.shared.sendings.contains(command_id)
    }

    /// When an answer that is asked for now must be there.
    pub(crate) fn latest(&self) -> Instant {
        Instant::now() + self.shared.config.wait()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes a place among the open commands and waits for the aggregate's turn.
    pub(crate) async fn admit<E: kernel::DomainError>(
        &self,
        aggregate_id: Uuid,
        deadline: Instant,
    ) -> Result<(Open, Turn), ExecuteError<E>> {
        let shared = &self.shared;
        let busy = |reason, retry_after| ExecuteError::Busy { reason, retry_after };
        let permit = Arc::clone(&shared.open).try_acquire_owned();
        if shared.closing.load(Ordering::SeqCst) {
            return Err(ExecuteError::Unavailable { doing: "stop this process", source: None });
        }
        let soon = Duration::from_millis(shared.config.backoff_ms_max);
        let permit = permit.map_err(|_| busy(BusyReason::OpenCommands, soon))?;
        let open = Open::new(permit);
        let place = shared.queues.enter(aggregate_id);
        let place = place.ok_or_else(|| busy(BusyReason::AggregateQueue, soon))?;
        let turn = timeout_at(deadline, place.turn()).await;
        let turn = turn.map_err(|_| busy(BusyReason::AggregateWait, soon))?;
        Ok((open, turn))
    }

    /// Completes when the store was closed. Errs when the process has to end, because what it holds
    /// must be finished by another one.
    pub async fn run(&self) -> Result<(), Failure> {
        let mut ended = self.shared.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Err(Failure::HeartbeatEnded)),
            Err(_) => Err(Failure::HeartbeatEnded),
        }
    }

    /// Takes no more commands, waits until every open one is certain and announced, then signs off as
    /// a writer. To be called when nobody is left who would wait for an answer.
    pub async fn close(&self) {
        let shared = &self.shared;
        shared.closing.store(true, Ordering::SeqCst);
        let all = u32::try_from(shared.config.open_commands_max).unwrap_or(u32::MAX);
        // Errs only when the semaphore is closed, which it never is.
        let _all = shared.open.acquire_many(all).await;
        shared.closed.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
    }
}

/// One open command; counts itself out when dropped.
pub(crate) struct Open {
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        METRICS.open_commands.inc();
        Self { _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        METRICS.open_commands.dec();
    }
}

/// Ends the process when an append task falls over with something on its way: nobody else here knows
/// what to announce, another process finds it by the intent.
struct PanicWatch {
    shared: Arc<Shared>,
    call: Arc<Call>,
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if std::thread::panicking() && self.call.is_sent() {
            error!("an append task panicked with a commit on its way");
            self.shared.failed.send_replace(Some(Failure::AppendPanicked));
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
