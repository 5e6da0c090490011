//! Commands and queries of any domain over HTTP: what both APIs share, so that an application writes only what its
//! requests are made of.
//!
//! The life of a command: `runtime`'s request context gives it a correlation id and a deadline; [`commands`] reads the
//! id in its path, its headers and its body, strictly, checks its values with the application's own
//! [`CommandBody`](commands::CommandBody), names it by its idempotency key, admits it and hands it to the event store.
//! The life of a query: [`queries`] admits and measures it, reads its id and its parameters, and asks the application's
//! function, or the event store for a history. Whatever goes wrong on the way becomes a problem document with one of
//! the [`codes`], or with the code that the application gives its own errors.
//!
//! ```text
//! CommandRoutes::new().aggregate("accounts", |account| account.create::<Open>().post::<Deposit>("deposit"))
//! QueryRoutes::new().get("account", "/v1/accounts/{id}", account).history::<Account>("accounts")
//! ```
//!
//! [`testing`] runs an application's routes in memory, and writes the tables of its documentation.

pub mod commands;
pub mod queries;

pub mod codes;
mod ids;
mod problem;
mod shell;

pub mod testing;

pub use http_server::Problem;
pub use problem::{unavailable, unreadable};
