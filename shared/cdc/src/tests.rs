//! Sequencer, passes and catch-up against an in-memory world ([`world`]) under a paused clock, and
//! the real statements against the embedded engine.

mod catch_ups;
mod clocks;
mod crashes;
#[path = "tests/engine.rs"]
mod engine_on_tablets;
#[path = "tests/engine.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests on both kinds of keyspaces")]
mod engine_on_vnodes;
mod letters;
mod ordering;
mod outages;
mod reading;
mod scanning;
mod sharing;
mod world;
