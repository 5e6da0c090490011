//! What executes commands: the event store, and a store in memory for tests of routes.

use event_store::{CommandRequest, EventStore, ExecuteError, LookUp, Outcome};
use kernel::Aggregate;
use tokio::time::Instant;
use uuid::Uuid;

/// What executes commands.
pub trait Store: Clone + Send + Sync + 'static {
    /// See [`EventStore::execute_by`].
    fn execute<A: Aggregate>(
        &self,
        request: CommandRequest<A>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Outcome, ExecuteError<A::Error>>> + Send;

    /// See [`EventStore::look_up_by`].
    fn look_up<A: Aggregate>(
        &self,
        aggregate_id: Uuid,
        command_ids: &[Uuid],
        deadline: Instant,
    ) -> impl Future<Output = Result<LookUp, ExecuteError<A::Error>>> + Send;

    /// See [`EventStore::is_at_work`].
    fn is_at_work(&self, command_id: Uuid) -> bool;
}

impl Store for EventStore {
    async fn execute<A: Aggregate>(
        &self,
        request: CommandRequest<A>,
        deadline: Instant,
    ) -> Result<Outcome, ExecuteError<A::Error>> {
        self.execute_by(request, deadline).await
    }

    async fn look_up<A: Aggregate>(
        &self,
        aggregate_id: Uuid,
        command_ids: &[Uuid],
        deadline: Instant,
    ) -> Result<LookUp, ExecuteError<A::Error>> {
        self.look_up_by::<A>(aggregate_id, command_ids, deadline).await
    }

    fn is_at_work(&self, command_id: Uuid) -> bool {
        EventStore::is_at_work(self, command_id)
    }
}
