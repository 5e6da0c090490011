//! The protocols that hold the promises together, small enough that every order of every step can be
//! looked at.
//!
//! [`append`] is the way of a command into the ledger and the outbox, with lost answers, late
//! commits, crashes and whoever settles what they leave. [`reading`] is the way from the outbox's log
//! to a consumer, with late rows, take-overs of the slot and a change of streams. Both speak of what
//! is built: each step names the code that does it, and each rule of the code that a promise rests on
//! is a [`Defect`] that can be switched on. The protocol without defects must hold in every reachable
//! state; each defect must break it, by the promise that it is there for.
//!
//! A model is not the code. It finds what is wrong with the rules; that the code follows the rules
//! is what the tests of the crates and the system tests are for. Only tests use this package.

pub mod append;
mod defect;
pub mod reading;
#[cfg(test)]
mod search;

pub use defect::Defect;
