//! HTTP commands to the shop.
//!
//! [`orders`] and [`customers`] have the bodies of the commands and what becomes of them, [`routes`] says which there
//! are. The way of a request through them is the same for every domain: `http_edge::commands`.

mod routes;

mod customers;
mod orders;

use read_models::SHOP;
use std::process::ExitCode;

fn main() -> ExitCode {
    processes::command_api::main(SHOP, routes::routes)
}

#[cfg(test)]
mod tests;
