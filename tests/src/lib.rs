//! The harness of the system tests: a whole stack of real processes per test, clients that
//! remember what they were told, and a checker that works on what the stores hold.

mod check;
mod client;
mod dump;
mod hops;
mod proxy;
mod world;

pub use check::{Expectations, verify};
pub use client::{Client, Outcome, Told};
pub use dump::{Dump, StoredEvent};
pub use hops::{Hop, Hops};
pub use proxy::{Mode, Proxy, Rewrite};
pub use world::{Plan, World, binaries, hooked_binaries, seed};
