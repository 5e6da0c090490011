//! The slow scanner: certainty for what no reader of the log can find.
//!
//! Intents make recovery fast, and the confirm pass finds what was announced late; but an event that was
//! never announced at all, or whose log row never came, reaches nobody. The scanner looks at the
//! newest version of each aggregate, in the outbox often and in the ledger seldom, and compares it with
//! the cursors. What stays unhandled although the checkpoint has passed it ([`suspects`]) is announced,
//! again if it was before: a second announcement is a valid announcement. Each is counted as an anomaly, with a
//! line in the log.
//!
//! It leaves alone what is younger than the grace period, aggregates that wait behind a dead letter,
//! consumers that are catching up or are not there, and slots that it does not own. All its requests come out of one budget.

mod config;
mod judge;
pub(crate) mod scan;
pub(crate) mod source;
mod suspects;

pub use config::ScannerConfig;

use crate::consumer::ChangeConsumer;
use crate::database::ScanTables;
use crate::error::GroupError;
use crate::group::GroupDeps;
use crate::metrics;
use crate::reading::reader::database;
use crate::retries::Retries;
use futures::future::BoxFuture;
use kernel::Aggregates;
use leases::Slot;
use runtime::CancellationToken;
use scan::Scanner;
use source::Progress;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The slots that this process owns at the moment.
pub type OwnedSlots = Arc<dyn Fn() -> BTreeSet<Slot> + Send + Sync>;

/// What a scanner needs. A clone is for another start of it.
#[derive(Clone)]
pub struct ScannerDeps {
    /// The group whose consumers it looks after. Those that wait behind a letter are left alone.
    pub group: GroupDeps,
    /// Asked before each look.
    pub owned: OwnedSlots,
    /// Know the topic of what has to be announced.
    pub aggregates: Aggregates,
    /// Paces and bounds.
    pub config: ScannerConfig,
}

/// Scans until `shutdown`. Waits for a database that is out of reach. Errs when the schema or the
/// configuration does not fit.
pub async fn run_scanner(deps: ScannerDeps, shutdown: CancellationToken) -> Result<(), GroupError> {
    metrics::show_scanner();
    deps.config.validate().map_err(GroupError::Config)?;
    let open = || -> BoxFuture<'_, _> { Box::pin(ScanTables::open(&deps)) };
    let doing = "open the scanner's tables";
    let mut retries = Retries::new(None, doing, deps.config.backoff);
    let opened = shutdown.run_until_cancelled(retries.until_done(open)).await;
    let Some(opened) = opened else { return Ok(()) };
    let tables = opened.map_err(|error| database(doing, error))?;
    let ScannerDeps { group: GroupDeps { group, consumers, settings, .. }, .. } = deps;
    let own = consumers.into_iter().map(|consumer| Watched {
        group: group.to_owned(),
        name: consumer.name().to_owned(),
        consumer: Some(consumer),
    });
    let other = deps.config.other_groups.iter();
    let other =
        other.map(|group| Watched { group: group.clone(), name: group.clone(), consumer: None });
    let (watched, tables) = (own.chain(other).collect(), Arc::new(tables));
    Scanner::new(tables, watched, deps.aggregates, deps.owned, settings.slots, deps.config)
        .run(&shutdown)
        .await
}

/// A consumer whose cursors are compared.
pub(crate) struct Watched {
    pub(crate) group: String,
    pub(crate) name: String,
    /// `None`: it wants every event.
    pub(crate) consumer: Option<Arc<dyn ChangeConsumer>>,
}

impl Watched {
    fn wants(&self, aggregate_type: &str) -> bool {
        self.consumer.as_ref().is_none_or(|consumer| consumer.wants(aggregate_type))
    }

    /// Whether the consumer is there and not catching up, so that it should have every event.
    fn is_there(&self, slot: Slot, progress: &Progress) -> bool {
        progress.caught_up.contains(&(self.name.clone(), slot))
            && progress.checkpoints.contains_key(&(self.group.clone(), slot))
    }
}
