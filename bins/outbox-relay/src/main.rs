//! Publishes announced events to their topics. Replicas share the slots.

use read_models::SHOP;
use std::process::ExitCode;

fn main() -> ExitCode {
    processes::outbox_relay::main(SHOP)
}
