//! Folds announced events into the read models. Replicas share the slots.

use read_models::SHOP;
use std::process::ExitCode;

fn main() -> ExitCode {
    processes::projection_worker::main(SHOP)
}
