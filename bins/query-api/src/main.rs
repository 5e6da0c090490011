//! Reads of the shop over HTTP: read models, lists, histories.
//!
//! [`routes`] says which queries there are and asks the read models, [`views`] has the JSON of the answers. The way of a
//! request through them is the same for every domain: `http_edge::queries`.

mod config;
mod routes;
mod views;

use read_models::SHOP;
use std::process::ExitCode;

fn main() -> ExitCode {
    let defaults = include_str!("../../../config/query-api.toml");
    processes::query_api::main::<routes::Shop>(SHOP, defaults)
}

#[cfg(test)]
mod tests;
