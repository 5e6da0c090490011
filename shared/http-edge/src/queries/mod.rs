//! Queries over HTTP.
//!
//! The life of a query: `bounds` gives it a place and measures it; [`QueryRoutes`] reads the id in its path and its
//! parameters ([`PageRequest`]) and asks the application's function, which gives a [`Representation`] or a [`Page`]; a
//! history (`history`) comes from the event store itself. `answer` writes the JSON and the `ETag`.

mod routes;

mod answer;
mod bounds;
mod history;
mod limits;
mod metrics;
mod page;
#[cfg(test)]
mod tests;

pub use answer::Representation;
pub use limits::QueryLimits;
pub use page::{NoParameters, Page, PageRequest, malformed_parameter};
pub use routes::{QueryRoutes, router};
