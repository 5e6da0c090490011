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

/// Whatever breaks the model in the fewest steps breaks this property.
pub(crate) fn breaks<M>(model: M, expected: &str)
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (model, found) = (checker.model(), checker.discoveries());
    let mut properties = model.properties();
    properties.retain(|property| property.expectation.discovery_is_failure());
    properties.retain(|property| found.contains_key(property.name));
    let broken: Vec<_> = properties.iter().map(|property| property.name).collect();
    let property = properties.iter().find(|property| property.name == expected);
    let property = property.unwrap_or_else(|| panic!("not {expected:?} is broken, but {broken:?}"));
    let path = found[property.name].clone().into_vec();
    // The search names the last of several ways that it found at once; what follows is of no interest.
    let holds = |(state, _): &&(M::State, _)| (property.condition)(model, state);
    let before = path.iter().take_while(holds);
    let steps: Vec<_> = before.filter_map(|(_, step)| step.clone()).collect();
    assert!(!steps.is_empty(), "{expected} does not even hold at the start");
    println!("{expected} is broken by:\n{}", listed(&steps));
}

fn listed<A: Debug>(steps: &[A]) -> String {
    steps.iter().map(|step| format!("  {step:?}\n")).collect()
}
