//! Aggregates that are registered and aggregates that have routes are the same ones.

use super::jar::{AGGREGATES, jar_commands, routes};
use crate::commands::{CommandRoutes, RoutesError};
use crate::testing::MemoryStore;
use kernel::testing::tally::{TALLIES, Tally};

type Routes = CommandRoutes<MemoryStore>;

#[test]
fn every_registered_aggregate_has_its_routes() {
    let whole: Routes = routes();
    assert_eq!(whole.aggregate_types(), ["jar", "tally"]);
    assert_eq!(whole.check(AGGREGATES), Ok(()));
    let half = Routes::new().aggregate("jars", jar_commands);
    assert_eq!(half.check(AGGREGATES), Err(RoutesError::NoRoutes { aggregate: "tally" }));
    // Look-ups alone are no commands.
    let mute = half.aggregate::<Tally>("tallies", |tally| tally);
    assert_eq!(mute.check(AGGREGATES), Err(RoutesError::NoRoutes { aggregate: "tally" }));
}

#[test]
fn an_aggregate_with_routes_is_registered() {
    let whole: Routes = routes();
    assert_eq!(whole.check(TALLIES), Err(RoutesError::NotRegistered { aggregate: "jar" }));
}
