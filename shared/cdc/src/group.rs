//! A group of consumers in one process, from its start to its end.

use crate::breakers::Breakers;
use crate::config::{CdcConfig, millis};
use crate::consumer::ChangeConsumer;
use crate::database::{CatchUps, Cursors, Ledger, OutboxLog, generations_of};
use crate::error::{GroupError, StoreError};
use crate::letters::Letters;
use crate::ordering::Sequencer;
use crate::reading::{
    Reading,
    checkpoints::failed as slots_failed,
    clock::DatabaseClock,
    generation::Generation,
    reader::{Ended, Reader, database},
};
use crate::retries::Retries;
use crate::source::{Fence, GenerationSource};
use crate::surroundings::Surroundings;
use database::Settings;
use futures::future::BoxFuture;
use leases::{LeaseConfig, Leases, Slot};
use runtime::Readiness;
use scylla::client::session::Session;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

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
    pub owned: watch::Sender<BTreeSet<Slot>>,
    /// Learns under `leases` whether this process can take part in the group; one that holds no slot
    /// because there are more members than slots is ready.
    pub readiness: Readiness,
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
    let doing = "open the group's tables";
    let open = || -> BoxFuture<'_, _> { Box::pin(open(&deps)) };
    let mut retries = Retries::new(None, doing, pauses);
    let opened = shutdown.run_until_cancelled(retries.until_done(open)).await;
    let Some(opened) = opened else { return Ok(()) };
    let around = Arc::new(opened.map_err(|error| database(doing, error))?);
    let (group, slots, owner) = (deps.group, around.slots, around.leases.owner());
    info!(group, slots, %owner, consumers = ?around.names().collect::<Vec<_>>(), "group starts");
    let result = run(around, &shutdown).await;
    info!(group, "group ended");
    result
}

/// Takes part in the group until `shutdown` or a failure; then gives up its slots.
pub(crate) async fn run(
    around: Arc<Surroundings>,
    shutdown: &CancellationToken,
) -> Result<(), GroupError> {
    let stop = shutdown.child_token();
    let work = async {
        let result = work(&around, &stop).await;
        stop.cancel();
        around.leases.release_all().await;
        around.leases.end();
        result
    };
    let ((), result) = tokio::join!(around.leases.run(&stop), work);
    result
}

/// Works on the slots; begins anew when its place in the log got lost.
async fn work(around: &Arc<Surroundings>, shutdown: &CancellationToken) -> Result<(), GroupError> {
    loop {
        match work_once(around, shutdown).await? {
            Ended::Lost { reason } => info!(reason, "place in the log is lost, beginning anew"),
            Ended::Stopped => return Ok(()),
        }
    }
}

async fn work_once(
    around: &Arc<Surroundings>,
    shutdown: &CancellationToken,
) -> Result<Ended, GroupError> {
    let Surroundings { log, generations, safety_interval, config, .. } = &**around;
    let begin = async {
        let clock = DatabaseClock::start(&**log, *safety_interval, config.backoff).await;
        let newest = || -> BoxFuture<'_, _> { Box::pin(newest_generation(&**generations)) };
        let doing = "find the streams of the log";
        let found = Retries::new(None, doing, config.backoff).until_done(newest).await;
        Ok((Arc::new(clock), found.map_err(|error| database(doing, error))?))
    };
    let Some(begun) = shutdown.run_until_cancelled(begin).await else { return Ok(Ended::Stopped) };
    let (clock, newest) = begun?;
    let sequencer = Sequencer::new(around.clone());
    let reading = Reading { around: around.clone(), clock: clock.clone(), sequencer };
    // Ends everything that runs beside the reader when the reader ends.
    let stop = shutdown.child_token();
    let sequencer = reading.sequencer.clone();
    let reader = Reader::start(reading, newest, &stop);
    let read = async {
        let ended = reader.run().await;
        stop.cancel();
        ended
    };
    let clock_interval = config.clock_interval(*safety_interval);
    let follow = clock.follow(&**log, clock_interval);
    let (ended, _) = tokio::join!(read, stop.run_until_cancelled(follow));
    debug!("reader ended, finishing what is in hand");
    match sequencer.stop().await {
        Some(failure) => Err(failure),
        None => ended,
    }
}

/// The newest generation whose streams are known.
async fn newest_generation(source: &dyn GenerationSource) -> Result<Generation, StoreError> {
    for start in source.starts(None).await?.into_iter().rev() {
        if let Some(generation) = Generation::read(source, start).await? {
            return Ok(generation);
        }
    }
    Err(StoreError::missing("find a generation of CDC streams: there is none yet"))
}

/// Opens the real tables.
async fn open(deps: &GroupDeps) -> Result<Surroundings, StoreError> {
    let GroupDeps { session, keyspace, group, consumers, config, readiness, .. } = deps;
    let slots = deps.settings.slots;
    let timeout = millis(deps.leases.request_timeout_ms);
    let table = leases::Table::open(session.clone(), *group, slots, timeout);
    let table = Arc::new(table.await.map_err(slots_failed)?);
    let (terms, owned) = (deps.leases.clone(), deps.owned.clone());
    let leases = Leases::new(table, *group, slots, terms, owned, readiness.clone());
    let log = OutboxLog::open(session.clone(), keyspace, config.page_rows).await?;
    let timeout = millis(config.heal_timeout_ms);
    let ledger = Ledger::open(session.clone(), timeout, config.catch_up.page_aggregates).await?;
    let outbox = event_store::outbox::TABLE;
    Ok(Surroundings {
        log: Arc::new(log),
        generations: generations_of(session.clone(), keyspace, outbox).await?,
        events: Arc::new(ledger),
        cursors: Arc::new(Cursors::open(session.clone()).await?),
        catch_ups: Arc::new(CatchUps::open(session.clone()).await?),
        letters: deps.letters.clone(),
        may_begin: fence(&leases),
        leases,
        breakers: Breakers::new(consumers, config.breaker, Some(readiness)),
        consumers: consumers.clone(),
        slots,
        safety_interval: deps.settings.safety_interval,
        config: config.clone(),
    })
}

/// What leases allow.
pub(crate) fn fence(leases: &Leases) -> Fence {
    let leases = leases.clone();
    Arc::new(move |slot| leases.may_begin(slot))
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
