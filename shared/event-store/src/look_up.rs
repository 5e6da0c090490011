//! What became of a command, for a client that does not know.
//!
//! The answer is read at SERIAL, so it includes whatever was decided before. "Not found at version n"
//! is not "not done": a sending may still be on its way, and the client settles it by sending the same
//! command again. A look-up waits its turn in the aggregate's queue, so that what this very process is
//! still resolving is certain first.

use crate::append::pause;
use crate::call::Call;
use crate::command::Outcome;
use crate::error::ExecuteError;
use crate::load::{LoadError, load, refresh};
use crate::state::Loaded;
use crate::store::EventStore;
use kernel::{Aggregate, Version};
use runtime::{Backoff, chain};
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use uuid::Uuid;

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookUp {
    /// The command was accepted; the answer it got.
    Done(Outcome),
    /// The aggregate does not know it at this version.
    NotFound {
        /// The aggregate's version; 0 when there is no such aggregate.
        version: Version,
    },
}

impl EventStore {
    /// Looks for the first of these command ids that the aggregate knows, as far back as it
    /// remembers commands. Changes nothing.
    ///
    /// Of the errors it has those of reading, and `Busy`; their effect speaks of the look-up, not of
    /// the command.
    pub async fn look_up<A: Aggregate>(
        &self,
        aggregate_id: Uuid,
        command_ids: &[Uuid],
    ) -> Result<LookUp, ExecuteError<A::Error>> {
        self.look_up_by::<A>(aggregate_id, command_ids, self.latest()).await
    }

    /// The same for a caller who waits until `deadline` and no longer than anyone may.
    pub async fn look_up_by<A: Aggregate>(
        &self,
        aggregate_id: Uuid,
        command_ids: &[Uuid],
        deadline: Instant,
    ) -> Result<LookUp, ExecuteError<A::Error>> {
        let deadline = deadline.min(self.latest());
        let found = timeout_at(deadline, self.find_by::<A>(aggregate_id, command_ids, deadline));
        let late = ExecuteError::Unavailable { doing: "look up a command in time", source: None };
        found.await.unwrap_or(Err(late))
    }

    async fn find_by<A: Aggregate>(
        &self,
        aggregate_id: Uuid,
        command_ids: &[Uuid],
        deadline: Instant,
    ) -> Result<LookUp, ExecuteError<A::Error>> {
        let shared = self.shared();
        let call = Call::new(deadline);
        let (_open, _turn) = self.admit(aggregate_id, call.deadline()).await?;
        let mut loaded = match shared.cache.take::<A>(aggregate_id).await {
            Some(loaded) => loaded,
            None => self.first_load::<A>(aggregate_id, &call).await?,
        };
        let mut backoff = Backoff::new(shared.config.backoff());
        while let Err(error) =
            refresh(&*shared.ledger, &mut loaded, shared.config.load_page_events).await
        {
            pause_or_fail::<A>(aggregate_id, error, &mut backoff, &call).await?;
        }
        let found = find(&loaded, command_ids);
        if loaded.version > Version::NONE {
            shared.cache.put(loaded).await;
        }
        Ok(found)
    }

    async fn first_load<A: Aggregate>(
        &self,
        aggregate_id: Uuid,
        call: &Call,
    ) -> Result<Loaded<A>, ExecuteError<A::Error>> {
        let shared = self.shared();
        let mut backoff = Backoff::new(shared.config.backoff());
        loop {
            match load(&*shared.ledger, aggregate_id, shared.config.load_page_events).await {
                Ok(loaded) => return Ok(loaded),
                Err(error) => {
                    pause_or_fail::<A>(aggregate_id, error, &mut backoff, call).await?;
                }
            }
        }
    }
}

fn find<A: Aggregate>(loaded: &Loaded<A>, command_ids: &[Uuid]) -> LookUp {
    match command_ids.iter().find_map(|id| loaded.commands.get(id)) {
        Some(seen) => LookUp::Done(Outcome {
            aggregate_id: loaded.aggregate_id,
            version: seen.version(),
            events: seen.events.clone(),
            replayed: true,
        }),
        None => LookUp::NotFound { version: loaded.version },
    }
}

/// After a failed read: a pause before the next try, or the error for the caller.
async fn pause_or_fail<A: Aggregate>(
    aggregate_id: Uuid,
    error: LoadError,
    backoff: &mut Backoff,
    call: &Call,
) -> Result<(), ExecuteError<A::Error>> {
    match error {
        LoadError::Database(error) => {
            debug!(%aggregate_id, error = %chain(&error), "read failed");
            if pause(backoff, call).await {
                return Ok(());
            }
            Err(ExecuteError::Unavailable { doing: "look up a command", source: Some(error) })
        }
        LoadError::OtherType(found) => Err(ExecuteError::OtherType { found }),
        LoadError::Corrupt(source) => Err(ExecuteError::Corrupt { aggregate_id, source }),
    }
}
