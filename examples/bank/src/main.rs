//! A bank on the shared crates: accounts, and transfers between them.
//!
//! `cargo run --release -p bank` starts everything on this machine, on free ports and in a temporary folder, tells a
//! story over every hop, verifies what the stores hold, and ends. The same program is each of its processes, named by
//! its first argument: `bank projection-worker`.

mod account;
mod accounts;
mod commands;
mod error;
mod queries;
mod story;
#[cfg(test)]
mod tests;
mod transfer;

use application::Application;
use database::{Migration, MigrationSet};
use kernel::{AggregateType, Aggregates};
use projection::{ReadModel, ReadModels};
use std::process::ExitCode;

/// Everything that topics, migrations, consumers, audit and verification follow from.
const BANK: Application = Application::new(
    Aggregates::new(&[
        AggregateType::of::<account::Account>(),
        AggregateType::of::<transfer::Transfer>(),
    ]),
    ReadModels::new(
        &[ReadModel::of::<accounts::Accounts>()],
        MigrationSet {
            crate_name: "bank",
            migrations: &[Migration { number: 1, name: "accounts", cql: accounts::TABLES_CQL }],
        },
    ),
);

fn main() -> ExitCode {
    let arguments = || std::env::args_os().skip(1);
    match std::env::args().nth(1).as_deref() {
        None => local_stack::run("bank", story::tell()),
        Some("broker") => local_stack::broker::main(arguments()),
        Some("embedded-scylla") => embedded_scylla::cli::main(arguments()),
        Some(process) => processes::Program::new(BANK, commands::routes)
            .run::<queries::Bank>(process, include_str!("../config/query-api.toml")),
    }
}
