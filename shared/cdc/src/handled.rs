//! How far consumers have come with single aggregates, for those who look after their work.

use crate::database::Cursors;
use crate::error::StoreError;
use crate::source::CursorStore;
use kernel::Version;
use scylla::client::session::Session;
use std::sync::Arc;
use uuid::Uuid;

/// Reads cursors, as the consumers stored them. Cheap to clone.
#[derive(Clone)]
pub struct Handled {
    cursors: Arc<Cursors>,
}

impl Handled {
    /// Prepares the statement; the table must be there.
    pub async fn open(session: Arc<Session>) -> Result<Self, StoreError> {
        Ok(Self { cursors: Arc::new(Cursors::open(session).await?) })
    }

    /// The version up to which the consumer has handled the aggregate's events; 0 before the first.
    pub async fn version(&self, aggregate_id: Uuid, consumer: &str) -> Result<Version, StoreError> {
        Ok(self.cursors.read(aggregate_id, consumer).await?.version)
    }
}
