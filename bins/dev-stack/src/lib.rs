//! The shop's whole system on one machine, without Docker: its story and its benchmark.
//!
//! `local_stack` starts the processes; [`demo`] and [`bench`](mod@bench) use the running system through its
//! front doors, as any client would.

pub mod bench;
pub mod demo;
