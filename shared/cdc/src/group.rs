//! A group of consumers in one process, from its start to its end.

use crate::admission::Admissions;
use crate::breakers::Breakers;
use crate::catch_up::CatchUp;
use crate::checkpoints::{Checkpoints, failed as slots_failed};
use crate::clock::DatabaseClock;
use crate::config::CdcConfig;
use crate::confirm_pass::ConfirmParts;
use crate::consumer::{ChangeConsumer, ErrorClass, HandleError};
use crate::database::{CatchUps, Cursors, Ledger, OutboxLog, generations_of};
use crate::error::GroupError;
use crate::fast_pass::FastPass;
use crate::generation::Generation;
use crate::letters::Letters;
use crate::reader::{Ended, Reader, ReaderParts, database};
use crate::sequencer::{Parts, Sequencer};
use crate::source::{CatchUpStore, CursorStore, EventSource, GenerationSource, LogSource};
use database::Settings;
use event_store::EventReader;
use futures::future::BoxFuture;
use leases::{LeaseConfig, LeaseStore, Leases};
use runtime::{Backoff, BackoffConfig, Readiness, chain};
use scylla::client::session::Session;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// What a group needs. A clone is for another start of it.
#[derive(Clone)]
pub struct GroupDeps {
    /// A connection that uses the keyspace; the schema must be complete.
    pub session: Arc<Session>,
    /// The keyspace of all tables.
    pub keyspace: String,
    /// The group's stored name: `projections`, `relay`.
    pub group: &'static str,
    /// Its consumers; they share the group's slots.
    pub consumers: Vec<Arc<dyn ChangeConsumer>>,
    /// The letters of events that a consumer could not handle.
    pub letters: Arc<dyn Letters>,
    /// What all processes agree on.
    pub settings: Settings,
    /// Paces and bounds.
    pub config: CdcConfig,
    /// Terms of the leases.
    pub leases: LeaseConfig,
    /// Follows the slots that this process holds.
    pub owned: watch::Sender<BTreeSet<u32>>,
    /// Learns under `leases` whether this process can take part in the group; one that holds no slot
    /// because there are more members than slots is ready.
    pub readiness: Readiness,
}

/// The group's surroundings behind traits.
pub(crate) struct Sources {
    pub(crate) log: Arc<dyn LogSource>,
    pub(crate) generations: Arc<dyn GenerationSource>,
    pub(crate) events: Arc<dyn EventSource>,
    pub(crate) cursors: Arc<dyn CursorStore>,
    pub(crate) leases: Arc<dyn LeaseStore>,
    pub(crate) catch_ups: Arc<dyn CatchUpStore>,
    pub(crate) letters: Arc<dyn Letters>,
}

/// A group that is ready to run.
pub(crate) struct Group {
    pub(crate) sources: Sources,
    pub(crate) leases: Leases,
    pub(crate) consumers: Vec<Arc<dyn ChangeConsumer>>,
    pub(crate) breakers: Breakers,
    pub(crate) slots: u32,
    pub(crate) safety_interval: Duration,
    pub(crate) config: CdcConfig,
}

/// Hands announced events of its share of the slots to the group's consumers, in order per
/// aggregate, until `shutdown`; then finishes what is in hand, stores cursors and checkpoints, and
/// gives the slots up.
///
/// Processes of one group share its slots; they come and go while this runs. Waits for a database
/// that is out of reach. Errs when an event cannot be handled (its cursor and the checkpoint stay
/// before it), or when the schema or the configuration does not fit.
pub async fn run_group(deps: GroupDeps, shutdown: CancellationToken) -> Result<(), GroupError> {
    deps.config.validate(deps.settings.safety_interval).map_err(GroupError::Config)?;
    deps.leases.validate().map_err(GroupError::Leases)?;
    check_consumers(deps.group, &deps.consumers)?;
    crate::metrics::show_group(&deps.consumers);
    let pauses = deps.config.backoff;
    let open = || -> BoxFuture<'_, _> { Box::pin(open(&deps)) };
    let Some(sources) = persist("open the group's tables", pauses, &shutdown, open).await? else {
        return Ok(());
    };
    let GroupDeps { group, consumers, settings, config, leases, owned, readiness, .. } = deps;
    let (slots, store) = (settings.slots, sources.leases.clone());
    let breakers = Breakers::new(&consumers, config.breaker, Some(&readiness));
    let leases = Leases::new(store, group, slots, leases, owned, readiness);
    let safety_interval = settings.safety_interval;
    let running = Group { sources, leases, consumers, breakers, slots, safety_interval, config };
    let owner = running.leases.owner();
    info!(group, slots, %owner, consumers = ?running.names(), "group starts");
    let result = running.run(&shutdown).await;
    info!(group, "group ended");
    result
}

impl Group {
    /// Takes part in the group until `shutdown` or a failure; then gives up its slots.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) -> Result<(), GroupError> {
        let stop = shutdown.child_token();
        let work = async {
            let result = self.work(&stop).await;
            stop.cancel();
            self.leases.release_all().await;
            self.leases.end();
            result
        };
        let ((), result) = tokio::join!(self.leases.run(&stop), work);
        result
    }

    /// Works on the slots; begins anew when its place in the log got lost.
    async fn work(&self, shutdown: &CancellationToken) -> Result<(), GroupError> {
        loop {
            match self.work_once(shutdown).await? {
                Ended::Lost { reason } => info!(reason, "place in the log is lost, beginning anew"),
                Ended::Stopped => return Ok(()),
            }
        }
    }

    fn names(&self) -> Vec<String> {
        self.consumers.iter().map(|consumer| consumer.name().to_owned()).collect()
    }

    async fn work_once(&self, shutdown: &CancellationToken) -> Result<Ended, GroupError> {
        let (log, pauses) = (self.sources.log.clone(), self.config.backoff);
        let clock = DatabaseClock::start(&*log, self.safety_interval, pauses, shutdown).await;
        let Some(clock) = clock.map(Arc::new) else { return Ok(Ended::Stopped) };
        let newest = || -> BoxFuture<'_, _> { Box::pin(self.newest_generation()) };
        let found = persist("find the streams of the log", pauses, shutdown, newest).await?;
        let Some(newest) = found else { return Ok(Ended::Stopped) };

        let parts = Parts {
            consumers: self.consumers.clone(),
            events: self.sources.events.clone(),
            cursors: self.sources.cursors.clone(),
            fence: Arc::new(self.leases.clone()),
            letters: self.sources.letters.clone(),
            breakers: self.breakers.clone(),
            slots: self.slots,
        };
        let sequencer = Sequencer::new(parts, &self.config);
        // Ends everything that runs beside the reader when the reader ends.
        let stop = shutdown.child_token();
        let reader = Reader::start(self.reader_parts(&clock, &sequencer), &newest, &stop);
        let clock_interval = self.config.clock_interval(self.safety_interval);
        let read = async {
            let ended = reader.run(self.sources.generations.clone()).await;
            stop.cancel();
            ended
        };
        let (ended, ()) = tokio::join!(read, clock.follow(&*log, clock_interval, &stop));
        debug!("reader ended, finishing what is in hand");
        match sequencer.stop().await {
            Some(failure) => Err(failure),
            None => ended,
        }
    }

    /// The newest generation whose streams are known.
    async fn newest_generation(&self) -> Result<Generation, HandleError> {
        let later = |what: &str| HandleError {
            class: ErrorClass::Transport,
            what: what.to_owned(),
            source: None,
        };
        let source = &*self.sources.generations;
        let starts = source.starts(None).await?;
        for start in starts.into_iter().rev() {
            if let Some(generation) = Generation::read(source, start).await? {
                return Ok(generation);
            }
        }
        Err(later("find a generation of CDC streams: there is none yet"))
    }

    fn reader_parts(&self, clock: &Arc<DatabaseClock>, sequencer: &Sequencer) -> ReaderParts {
        let checkpoints = Checkpoints::new(self.leases.clone());
        let catch_up = CatchUp {
            consumers: self.names(),
            clock: clock.clone(),
            checkpoints: checkpoints.clone(),
            slots: self.slots,
            store: self.sources.catch_ups.clone(),
            config: self.config.clone(),
        };
        ReaderParts {
            fast: FastPass {
                log: self.sources.log.clone(),
                clock: clock.clone(),
                sequencer: sequencer.clone(),
                config: self.config.clone(),
                chunks: AtomicUsize::new(0),
            },
            confirm: ConfirmParts {
                log: self.sources.log.clone(),
                clock: clock.clone(),
                sequencer: sequencer.clone(),
                checkpoints,
                slots: self.slots,
                config: self.config.clone(),
                consumers: self.names(),
            },
            admissions: Admissions {
                catch_up: Arc::new(catch_up),
                generations: self.sources.generations.clone(),
                clock: clock.clone(),
                leases: self.leases.clone(),
                letters: self.sources.letters.clone(),
                safety_interval: self.safety_interval,
                config: self.config.clone(),
            },
            events: self.sources.events.clone(),
        }
    }
}

/// Opens the real tables.
async fn open(deps: &GroupDeps) -> Result<Sources, HandleError> {
    let (session, config) = (deps.session.clone(), &deps.config);
    let timeout = Duration::from_millis(config.heal_timeout_ms);
    let reader =
        EventReader::open(session.clone(), timeout).await.map_err(|error| HandleError {
            class: ErrorClass::Transport,
            what: "open the event store".to_owned(),
            source: Some(Box::new(error)),
        })?;
    let timeout = Duration::from_millis(deps.leases.request_timeout_ms);
    let slots = deps.settings.slots;
    let leases = leases::Table::open(session.clone(), deps.group, slots, timeout);
    let leases = leases.await.map_err(slots_failed)?;
    let log = OutboxLog::open(session.clone(), &deps.keyspace, config.page_rows).await?;
    let ledger = Ledger::open(session.clone(), reader, config.catch_up.page_aggregates).await?;
    Ok(Sources {
        log: Arc::new(log),
        generations: generations_of(session.clone(), &deps.keyspace, event_store::outbox::TABLE)
            .await?,
        events: Arc::new(ledger),
        cursors: Arc::new(Cursors::open(session.clone()).await?),
        leases: Arc::new(leases),
        catch_ups: Arc::new(CatchUps::open(session).await?),
        letters: deps.letters.clone(),
    })
}

/// Does something until it succeeds or trying again is pointless. `None` when `stop` came first.
pub(crate) async fn persist<'a, T>(
    doing: &'static str,
    pauses: BackoffConfig,
    stop: &CancellationToken,
    mut work: impl FnMut() -> BoxFuture<'a, Result<T, HandleError>>,
) -> Result<Option<T>, GroupError> {
    let mut backoff = Backoff::new(pauses);
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            done = work() => done,
        };
        match done {
            Ok(done) => return Ok(Some(done)),
            Err(error) if error.class != ErrorClass::Transport => {
                return Err(database(doing, error));
            }
            Err(error) if backoff.attempts().is_power_of_two() => {
                let error = chain(&error).to_string();
                warn!(
                    doing,
                    attempts = backoff.attempts(),
                    error,
                    "trying again until it succeeds"
                );
            }
            Err(_) => {}
        }
        if !backoff.pause(stop).await {
            return Ok(None);
        }
    }
}

fn check_consumers(
    group: &'static str,
    consumers: &[Arc<dyn ChangeConsumer>],
) -> Result<(), GroupError> {
    let mut names = BTreeSet::new();
    let what = match consumers.iter().find(|consumer| !names.insert(consumer.name())) {
        Some(twice) => format!("two consumers of the name {}", twice.name()),
        None if names.is_empty() => "no consumers".to_owned(),
        None => return Ok(()),
    };
    Err(GroupError::Consumers { group, what })
}
