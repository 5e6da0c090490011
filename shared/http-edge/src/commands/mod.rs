//! Commands over HTTP.
//!
//! The life of a command: `handle` reads its path, `headers` and `body`, the latter strictly (`json`); its
//! [`CommandBody`] checks the values; `identity` names it by its idempotency key; the [`Store`] executes it and answers as
//! soon as the events are facts. `look_up` tells later what became of it.

mod routes;

mod bodies;
mod body;
mod command_body;
mod handle;
mod headers;
mod identity;
mod json;
mod limits;
mod look_up;
mod problem;
mod store;
#[cfg(test)]
mod tests;

pub use command_body::{At, CommandBody, CommandOf, InvalidValue};
pub use identity::{Id, id_of_new};
pub use json::Object;
pub use limits::RequestLimits;
pub use routes::{CommandRoutes, Commands, RoutesError, router};
pub use store::Store;
