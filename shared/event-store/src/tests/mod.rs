//! The append's state machine over a scripted ledger, under a paused clock.

mod bounds;
mod commands;
mod engine;
mod look_ups;
mod settling;
mod settling_engine;
mod unknown;
mod unstorable;
mod writer;
