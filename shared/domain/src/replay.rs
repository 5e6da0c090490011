//! Random commands to an aggregate: what is decided can be stored, read and replayed, and replaying it gives the same
//! state (the same bytes of its debug form) every time. The tests of each aggregate bring its commands.

use crate::value::Text;
use kernel::testing::{fold, live, stored_and_read};
use kernel::{Aggregate, DomainEvent};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;

/// Text that any command may have.
pub(crate) fn text<const MAX: usize>() -> impl Strategy<Value = Text<MAX>> {
    prop::sample::select(vec!["a", "b \"quoted\"", "日本"]).prop_map(|t| Text::new(t).unwrap())
}

/// Lives of `A` by these commands: each is what its stored events say, and together they have every event.
#[track_caller]
pub(crate) fn check<A>(command: impl Strategy<Value = A::Command>)
where
    A: Aggregate<Command: Debug> + PartialEq,
{
    let happened = RefCell::new(BTreeSet::new());
    let lives = prop::collection::vec(command, 0..40);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let held = TestRunner::new(config).run(&lives, |commands| {
        let (state, events) = live::<A>(commands);
        let replayed = fold::<A>(&stored_and_read(&events));
        prop_assert_eq!(&replayed, &state);
        prop_assert_eq!(format!("{replayed:?}"), format!("{state:?}"));
        happened.borrow_mut().extend(events.iter().map(|event| event.kind().name));
        Ok(())
    });
    if let Err(error) = held {
        panic!("{error}");
    }
    for kind in A::Event::KINDS {
        let led_to = happened.borrow().contains(kind.name);
        assert!(led_to, "no command of this test leads to {}", kind.name);
    }
}
