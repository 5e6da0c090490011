//! How the tests look at every reachable state of a model.

use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

/// Looks at every reachable state: all that must hold holds, and all that must be possible is.
pub(crate) fn holds<M>(model: M)
where
    M: Model + Send + Sync + Clone + 'static,
    M::State: Hash + Debug + Send + Sync + Clone + PartialEq + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let started = Instant::now();
    let checker = model.checker().threads(2).spawn_dfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{states} states, {depth} steps deep, in {:?}", started.elapsed());
    let found = checker.discoveries();
    for property in checker.model().properties() {
        let path = found.get(property.name);
        match (&property.expectation, path) {
            (Expectation::Sometimes, None) => panic!("never seen: {}", property.name),
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                let steps = path.clone().into_actions();
                panic!("{} is broken by:\n{}", property.name, listed(&steps));
            }
            _ => {}
        }
    }
}

/// The shortest way to break the model breaks this property. Gives its steps.
pub(crate) fn breaks<M>(model: M, expected: &str) -> Vec<M::Action>
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let failures = checker.model().properties();
    let failures = failures.iter().filter(|property| property.expectation.discovery_is_failure());
    let found = checker.discoveries();
    let broken: Vec<_> =
        failures.filter_map(|property| found.get_key_value(property.name)).collect();
    let names: Vec<_> = broken.iter().map(|(name, _)| **name).collect();
    let path = broken.iter().find(|(name, _)| **name == expected);
    let path = path.unwrap_or_else(|| panic!("expected to break {expected:?}, broken: {names:?}"));
    let steps = path.1.clone().into_actions();
    println!("{expected} is broken by:\n{}", listed(&steps));
    steps
}

fn listed<A: Debug>(steps: &[A]) -> String {
    steps.iter().map(|step| format!("  {step:?}\n")).collect()
}
