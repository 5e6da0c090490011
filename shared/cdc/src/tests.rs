//! Sequencer, passes and catch-up against an in-memory world ([`world`]) under a paused clock, and
//! the real statements against the embedded engine.

mod catch_ups;
mod clocks;
mod crashes;
mod engine;
mod letters;
mod ordering;
mod reading;
mod world;
