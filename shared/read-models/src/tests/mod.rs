//! Folds against a table of expected rows and a model of timestamps; statements against the
//! embedded engine.

mod database;
mod folds;
mod lists;
mod samples;
mod stage;

#[test]
fn the_registration_is_complete() {
    crate::SHOP.check().expect("complete");
}
