//! A group of consumers in one process, from its start to its end.

use crate::catch_up::CatchUp;
use crate::clock::DatabaseClock;
use crate::config::CdcConfig;
use crate::confirm_pass::ConfirmParts;
use crate::consumer::{ChangeConsumer, ErrorClass, HandleError};
use crate::database::{CatchUps, Cursors, Ledger, OutboxLog, SlotCheckpoints, VnodeGenerations};
use crate::error::GroupError;
use crate::fast_pass::FastPass;
use crate::generation::{Generation, Slots, needed};
use crate::letters::Letters;
use crate::log_time::Window;
use crate::reader::{Ended, Reader, database};
use crate::sequencer::{Parts, Sequencer};
use crate::source::{
    CatchUpStore, Checkpoint, CheckpointStore, CursorStore, EventSource, GenerationSource,
    LogSource,
};
use event_store::EventReader;
use futures::future::BoxFuture;
use runtime::{Backoff, BackoffConfig, Settings, chain};
use scylla::client::session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// What a group needs.
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
}

/// The group's surroundings behind traits.
pub(crate) struct Sources {
    pub(crate) log: Arc<dyn LogSource>,
    pub(crate) generations: Arc<dyn GenerationSource>,
    pub(crate) events: Arc<dyn EventSource>,
    pub(crate) cursors: Arc<dyn CursorStore>,
    pub(crate) checkpoints: Arc<dyn CheckpointStore>,
    pub(crate) catch_ups: Arc<dyn CatchUpStore>,
    pub(crate) letters: Arc<dyn Letters>,
}

/// A group that is ready to run.
pub(crate) struct Group {
    pub(crate) sources: Sources,
    pub(crate) consumers: Vec<Arc<dyn ChangeConsumer>>,
    pub(crate) slots: Slots,
    pub(crate) safety_interval: Duration,
    pub(crate) config: CdcConfig,
}

/// Hands every announced event to the group's consumers, in order per aggregate, until `shutdown`;
/// then finishes what is in hand, stores cursors and checkpoints, and gives the slots up.
///
/// Takes all slots of the group: whoever had them finds itself without. Waits for a database that is
/// out of reach. Errs when an event cannot be handled (its cursor and the checkpoint stay before
/// it), when the slots were taken by another process, or when the schema or the configuration does
/// not fit.
pub async fn run_group(deps: GroupDeps, shutdown: CancellationToken) -> Result<(), GroupError> {
    deps.config.validate(deps.settings.safety_interval).map_err(GroupError::Config)?;
    check_consumers(deps.group, &deps.consumers)?;
    let pauses = deps.config.backoff;
    let open = || -> BoxFuture<'_, _> { Box::pin(open(&deps)) };
    let Some(sources) = persist("open the group's tables", pauses, &shutdown, open).await? else {
        return Ok(());
    };
    let GroupDeps { group, consumers, settings, config, .. } = deps;
    let slots = Slots::all(settings.slots);
    let running =
        Group { sources, consumers, slots, safety_interval: settings.safety_interval, config };
    info!(group, slots = settings.slots, consumers = ?running.names(), "group starts");
    let result = running.run(&shutdown).await;
    if let Err(error) = running.sources.checkpoints.release().await {
        // Whoever takes them next only counts a crash.
        warn!(group, error = chain(&error).to_string(), "slots not released");
    }
    info!(group, "group ended");
    result
}

impl Group {
    /// Runs until `shutdown`; begins anew when its place in the log got lost.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) -> Result<(), GroupError> {
        loop {
            match self.run_once(shutdown).await? {
                Ended::Lost { reason } => info!(reason, "place in the log is lost, beginning anew"),
                Ended::Stopped => return Ok(()),
            }
        }
    }

    fn names(&self) -> Vec<String> {
        self.consumers.iter().map(|consumer| consumer.name().to_owned()).collect()
    }

    async fn run_once(&self, shutdown: &CancellationToken) -> Result<Ended, GroupError> {
        let (log, pauses) = (self.sources.log.clone(), self.config.backoff);
        let clock = DatabaseClock::start(&*log, self.safety_interval, pauses, shutdown).await;
        let Some(clock) = clock.map(Arc::new) else { return Ok(Ended::Stopped) };
        let catch_up = CatchUp {
            consumers: self.names(),
            clock: clock.clone(),
            checkpoints: self.sources.checkpoints.clone(),
            store: self.sources.catch_ups.clone(),
            config: self.config.clone(),
        };
        let begin = || -> BoxFuture<'_, _> { Box::pin(self.begin(&catch_up)) };
        let begun = persist("find the place in the log", pauses, shutdown, begin).await?;
        let Some((plan, generations)) = begun else { return Ok(Ended::Stopped) };

        let parts = Parts {
            consumers: self.consumers.clone(),
            events: self.sources.events.clone(),
            cursors: self.sources.cursors.clone(),
            letters: self.sources.letters.clone(),
            slot_count: self.slots.count(),
        };
        let sequencer = Sequencer::new(parts, &self.config);
        let take_over = || -> BoxFuture<'_, _> { Box::pin(self.take_over(&sequencer)) };
        if persist("load the dead letters", pauses, shutdown, take_over).await?.is_none() {
            return Ok(Ended::Stopped);
        }
        // Ends everything that runs beside the reader when the reader ends.
        let stop = shutdown.child_token();
        let reader = Reader::start(
            self.fast_pass(&clock, &sequencer),
            self.confirm_parts(&clock, &sequencer),
            &plan.checkpoints,
            self.ahead(&clock, &plan.checkpoints),
            generations,
            &stop,
        );
        let clock_interval = self.config.clock_interval(self.safety_interval);
        let beside = async {
            tokio::join!(
                clock.follow(&*log, clock_interval, &stop),
                catch_up.run(plan, &self.slots, &*self.sources.events, &sequencer, &stop),
            )
        };
        let read = async {
            let ended = reader.run(self.sources.generations.clone()).await;
            stop.cancel();
            ended
        };
        let (ended, _) = tokio::join!(read, beside);
        debug!("reader ended, finishing what is in hand");
        match sequencer.stop().await {
            Some(failure) => Err(failure),
            None => ended,
        }
    }

    /// Takes the slots and finds where each starts, and the generations to be read.
    async fn begin(
        &self,
        catch_up: &CatchUp,
    ) -> Result<(crate::catch_up::Plan, Vec<Generation>), HandleError> {
        let later = |what: String| HandleError { class: ErrorClass::Transport, what, source: None };
        let starts = self.sources.generations.starts(None).await?;
        if starts.is_empty() {
            return Err(later("find a generation of CDC streams: there is none yet".to_owned()));
        }
        let taken = self.sources.checkpoints.take_all().await?;
        let plan = catch_up.plan(&taken, &starts).await?;
        let restart = catch_up.clock.restart_point();
        // After a step back the clock may be before a checkpoint, and before a generation's start.
        let from = |at: &Checkpoint| Checkpoint { time: at.time.min(restart), ..*at };
        let checkpoints: Vec<Checkpoint> = plan.checkpoints.values().map(from).collect();
        let mut generations = Vec::new();
        for start in needed(&starts, &checkpoints) {
            let generation = Generation::read(&*self.sources.generations, start).await?;
            let missing = || later(format!("read the streams of the CDC generation of {start}"));
            generations.push(generation.ok_or_else(missing)?);
        }
        Ok((plan, generations))
    }

    /// Prepares the sequencer for the slots that were taken.
    async fn take_over(&self, sequencer: &Sequencer) -> Result<(), HandleError> {
        for (slot, crashes) in (0..).zip(self.sources.checkpoints.crashes().await) {
            sequencer.take_over(slot, crashes).await?;
        }
        Ok(())
    }

    /// A checkpoint that is hardly behind the clock, or before it, tells that the clock stepped back:
    /// then rows may be stamped after whatever was reached before.
    fn ahead(
        &self,
        clock: &DatabaseClock,
        checkpoints: &BTreeMap<u32, Checkpoint>,
    ) -> Option<Window> {
        let newest = checkpoints.values().map(|checkpoint| checkpoint.time).max()?;
        let unstored = self.config.checkpoint_interval() + self.config.confirm_interval();
        let reached = newest.plus(self.safety_interval + unstored * 2);
        let is_ahead = newest > clock.now().minus(self.safety_interval);
        is_ahead.then(|| Window::new(newest, reached.plus(self.safety_interval)))
    }

    fn fast_pass(&self, clock: &Arc<DatabaseClock>, sequencer: &Sequencer) -> FastPass {
        FastPass {
            log: self.sources.log.clone(),
            clock: clock.clone(),
            sequencer: sequencer.clone(),
            slots: self.slots.clone(),
            config: self.config.clone(),
            chunks: AtomicUsize::new(0),
        }
    }

    fn confirm_parts(&self, clock: &Arc<DatabaseClock>, sequencer: &Sequencer) -> ConfirmParts {
        ConfirmParts {
            log: self.sources.log.clone(),
            clock: clock.clone(),
            sequencer: sequencer.clone(),
            checkpoints: self.sources.checkpoints.clone(),
            slots: self.slots.clone(),
            config: self.config.clone(),
            consumers: self.names(),
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
    let slots = leases::Slots::open(session.clone(), deps.group, deps.settings.slots);
    let slots = slots.await.map_err(crate::database::slots_failed)?;
    let log = OutboxLog::open(session.clone(), &deps.keyspace, config.page_rows).await?;
    let ledger = Ledger::open(session.clone(), reader, config.catch_up.page_aggregates).await?;
    Ok(Sources {
        log: Arc::new(log),
        generations: Arc::new(VnodeGenerations::open(session.clone()).await?),
        events: Arc::new(ledger),
        cursors: Arc::new(Cursors::open(session.clone()).await?),
        checkpoints: Arc::new(SlotCheckpoints::new(slots)),
        catch_ups: Arc::new(CatchUps::open(session).await?),
        letters: deps.letters.clone(),
    })
}

/// Does something until it succeeds or trying again is pointless. `None` when `stop` came first.
async fn persist<'a, T>(
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
