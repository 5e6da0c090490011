//! `embedded-scylla`: one server process.

use std::process::ExitCode;

fn main() -> ExitCode {
    embedded_scylla::cli::main(std::env::args_os())
}
