//! From the ledger to a folded aggregate: the first load, and the look at what came since.

use crate::error::CorruptError;
use crate::ledger::{Ledger, LedgerError, ReadFailure, Strength, Tail};
use crate::state::{FoldError, Loaded};
use kernel::{Aggregate, Version};
use uuid::Uuid;

/// Why an aggregate could not be loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    Database(LedgerError),
    OtherType(String),
    Corrupt(CorruptError),
}

impl From<ReadFailure> for LoadError {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Ledger(error) => Self::Database(error),
            ReadFailure::Corrupt(error) => Self::Corrupt(error),
        }
    }
}

impl From<FoldError> for LoadError {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::OtherType(found) => Self::OtherType(found),
            FoldError::Corrupt(error) => Self::Corrupt(error),
        }
    }
}

/// Loads an aggregate: one read of its newest `page` events, and for a longer history the rest from
/// version 1 on.
pub(crate) async fn load<A: Aggregate>(
    ledger: &dyn Ledger,
    aggregate_id: Uuid,
    page: i32,
) -> Result<Loaded<A>, LoadError> {
    let mut loaded = Loaded::new(aggregate_id);
    let tail = ledger.newest(aggregate_id, page, Strength::Quorum).await?;
    catch_up(ledger, &mut loaded, Read { tail, limit: page }, Strength::Quorum).await?;
    Ok(loaded)
}

/// Brings `loaded` up to date by a read that sees every decided commit.
pub(crate) async fn refresh<A: Aggregate>(
    ledger: &dyn Ledger,
    loaded: &mut Loaded<A>,
    page: i32,
) -> Result<(), LoadError> {
    let read = since(ledger, loaded.aggregate_id, loaded.version, page).await?;
    catch_up(ledger, loaded, read, Strength::Serial).await
}

/// What one read showed, and how many events it asked for.
pub(crate) struct Read {
    pub(crate) tail: Tail,
    limit: i32,
}

impl Read {
    /// Whether there may be more than what was asked for.
    fn is_full(&self) -> bool {
        self.tail.events.len() >= usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

/// What is stored after `version`, with the fence, in one read at SERIAL: at least the first `page`
/// events after `version`, or the newest ones.
///
/// The event at `version` is read too when there is one: a read that matches no row does not show
/// the fence.
pub(crate) async fn since(
    ledger: &dyn Ledger,
    aggregate_id: Uuid,
    version: Version,
    page: i32,
) -> Result<Read, ReadFailure> {
    if version == Version::NONE {
        let tail = ledger.newest(aggregate_id, page, Strength::Serial).await?;
        Ok(Read { tail, limit: page })
    } else {
        upwards(ledger, aggregate_id, version, page, Strength::Serial).await
    }
}

/// The event at `version` and `page` events after it.
pub(crate) async fn upwards(
    ledger: &dyn Ledger,
    aggregate_id: Uuid,
    version: Version,
    page: i32,
    strength: Strength,
) -> Result<Read, ReadFailure> {
    let limit = page.saturating_add(1);
    let tail = ledger.from(aggregate_id, version, limit, strength).await?;
    Ok(Read { tail, limit })
}

/// Folds what was read, and what is missing before or after it.
async fn catch_up<A: Aggregate>(
    ledger: &dyn Ledger,
    loaded: &mut Loaded<A>,
    mut read: Read,
    strength: Strength,
) -> Result<(), LoadError> {
    let (id, page) = (loaded.aggregate_id, read.limit);
    loaded.fence = read.tail.fence;
    let first = read.tail.events.first().map(|event| event.version);
    if loaded.version == Version::NONE && read.is_full() && first > Some(Version(1)) {
        // The newest page of a long history: the rest comes first.
        read = upwards(ledger, id, Version(1), page, strength).await?;
    }
    loop {
        fold_after(loaded, &read.tail)?;
        if !read.is_full() {
            return Ok(());
        }
        read = upwards(ledger, id, loaded.version, page, strength).await?;
        loaded.fence = read.tail.fence.or(loaded.fence);
    }
}

/// Folds what is new in `tail`; the event that is known already must be the one that is stored.
fn fold_after<A: Aggregate>(loaded: &mut Loaded<A>, tail: &Tail) -> Result<(), LoadError> {
    let known = loaded.version;
    let new = tail.events.partition_point(|event| event.version <= known);
    let again = tail.events[..new].last().map(|event| event.event_id);
    if known > Version::NONE && again != loaded.last_event_id() {
        return Err(LoadError::Corrupt(CorruptError::Gap {
            aggregate_id: loaded.aggregate_id,
            expected: known,
            found: tail.events.first().map_or(Version::NONE, |event| event.version),
        }));
    }
    loaded.fold(&tail.events[new..]).map_err(Into::into)
}
