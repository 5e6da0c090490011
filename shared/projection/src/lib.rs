//! Folds events into read models.
//!
//! The life of an event here: the sequencer of `cdc` hands it to a [`Projector`], in order per
//! aggregate; the projector decodes it, lets the [`Projection`] fold it over the aggregate's view,
//! and writes the resulting [`RowWrite`]s under the version's timestamp; the sequencer stores the
//! new view with its cursor. An application lists its projections in one value, [`ReadModels`]: consumers,
//! migrations, [`audit`] and verification follow from it. [`ById`] and [`listing`] read their rows.

pub mod audit;
mod by_id;
pub mod listing;
mod metrics;
mod projection;
mod projector;
mod query_error;
mod read_model;
mod row;
pub mod testing;
#[cfg(test)]
mod tests;

pub use by_id::ById;
pub use projection::{FoldError, Folded, Projection, Table, beginning, begun};
pub use projector::Projector;
pub use query_error::QueryError;
pub use read_model::{ReadModel, ReadModelError, ReadModels};
pub use row::{IntoCell, RowWrite, as_rfc3339};
