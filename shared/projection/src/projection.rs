//! What a projection is: a fold over the events of one aggregate.

use crate::row::RowWrite;
use kernel::{DomainEvent, EventEnvelope};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Folds the events of one aggregate, in order, into rows.
///
/// `Default` is the projection itself: it has no state, so that every process folds alike.
/// Pure: the same view and event give the same writes, in every process and at any time. A change
/// of [`Projection::project`] that changes rows is a new [`Projection::CODE_VERSION`].
pub trait Projection: Default + Send + Sync + 'static {
    /// The projection's name, for example `orders`.
    const NAME: &'static str;
    /// Of the code: rows made by different versions never mix.
    const CODE_VERSION: u32;
    /// The tables that it writes.
    const TABLES: &'static [Table];
    /// The aggregate type whose events it folds.
    const AGGREGATE_TYPE: &'static str;
    /// Its events.
    type Event: DomainEvent;
    /// What it must remember of an aggregate between events; kept small, in the cursor's row.
    type View: Serialize + DeserializeOwned + Send;

    /// Folds one event. `view` is what was remembered before, `None` before the first event.
    /// Returns what to remember from now on, and the rows to write.
    fn project(
        &self,
        view: Option<Self::View>,
        event: &EventEnvelope<Self::Event>,
    ) -> Result<Folded<Self::View>, FoldError>;
}

/// One table of a projection. Its `.cql` file is among the migrations of [`crate::ReadModels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The columns of its partition key.
    pub partition: &'static [&'static str],
    /// Its clustering columns, in order.
    pub clustering: &'static [&'static str],
    /// The column that names the aggregate that a row belongs to.
    pub aggregate: &'static str,
}

impl Table {
    /// A table with `PRIMARY KEY ((partition), clustering)`, of whose columns `aggregate` names the aggregate.
    #[must_use]
    pub const fn new(
        name: &'static str,
        partition: &'static [&'static str],
        clustering: &'static [&'static str],
        aggregate: &'static str,
    ) -> Self {
        Self { name, partition, clustering, aggregate }
    }

    /// All columns of its primary key, in order.
    pub fn key(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.partition.iter().chain(self.clustering).copied()
    }
}

/// The view after an event, and the rows that the event changes.
pub type Folded<V> = (V, Vec<RowWrite>);

/// Why an event cannot follow what came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Nothing is known of the aggregate, and the event is not one that begins it.
    #[error("nothing came before it, and it begins nothing")]
    NotBegun,
    /// The aggregate began already.
    #[error("it begins what began already")]
    BegunTwice,
}

/// The view of an aggregate that must have begun, for projections that refuse to fold what cannot be.
pub fn begun<V>(view: Option<V>) -> Result<V, FoldError> {
    view.ok_or(FoldError::NotBegun)
}

/// The view of an aggregate that begins with this event, `first`; it must not have begun before.
pub fn beginning<V>(view: Option<V>, first: V) -> Result<V, FoldError> {
    if view.is_none() { Ok(first) } else { Err(FoldError::BegunTwice) }
}
