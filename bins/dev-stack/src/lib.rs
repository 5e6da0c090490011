//! The whole system on one machine, without Docker: the embedded database engine, the embedded
//! broker and every worker, each as a process of its own.
//!
//! [`Binaries`] finds or builds the programs, [`Stack`] starts them as children and keeps them
//! running, [`demo`] and [`bench`](mod@bench) use the running system through its front doors, as
//! any client would. Nothing in the workers knows that they run here: only addresses differ.

pub mod bench;
mod binaries;
pub mod broker;
mod child;
pub mod demo;
pub mod http;
mod ports;
mod stack;
mod wait;

pub use binaries::Binaries;
pub use child::Signal;
pub use ports::free_port;
pub use stack::{
    Addresses, Detours, Output, Process, Program, Replicas, Stack, StackOptions, Whom,
};
pub use wait::{WaitError, wait_for};
