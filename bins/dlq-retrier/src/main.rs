//! Tries dead letters again, of the projections and of the relay. Replicas share the slots.

use read_models::SHOP;
use std::process::ExitCode;

fn main() -> ExitCode {
    processes::dlq_retrier::main(SHOP)
}
