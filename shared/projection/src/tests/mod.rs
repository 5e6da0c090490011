//! The engine of projections with a projection of its own, against the embedded engine.

mod audit;
mod database;
mod registration;
mod tallies;
