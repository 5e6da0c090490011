//! Leases against an in-memory table under a paused clock ([`world`]), and the statements against the
//! embedded engine.

mod engine;
mod sharing;
mod world;
