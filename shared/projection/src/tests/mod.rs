//! Folds against a table of expected rows and a model of timestamps; statements against the
//! embedded engine.

mod audit;
mod database;
mod folds;
mod lists;
mod model;
mod samples;
mod stage;
