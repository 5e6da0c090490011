//! The HTTP server of APIs. Serves a router over HTTP/1.1 within bounds: connections, the pace of clients, requests at
//! work.
//!
//! A process takes its port at the start ([`TakenPort`]), and listens on it when it is able to work. The life of a
//! request from then on: its connection has a place and its header arrives in time ([`runtime::port`]), [`context`]
//! gives it what it needs to be found again and its deadline, and the process's own routes ask [`admission`] before they
//! work on it. A refusal is a [`Problem`].

mod config;
mod problem;
mod server;
mod taken;

pub mod admission;
pub mod context;
pub mod principals;

mod metrics;

pub use config::HttpConfig;
pub use problem::Problem;
pub use server::HttpServer;
pub use taken::TakenPort;
