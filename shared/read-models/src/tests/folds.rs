//! Every fold: which rows an event leaves, and that order and repetition do not matter.

use super::samples::*;
use crate::customers::Customers;
use crate::orders::Orders;
use domain::Customer;
use kernel::{DomainEvent, EventEnvelope, Version};
use projection::RowWrite;
use projection::testing::{tables_of, writes};
use projection::{FoldError, Projection};
use proptest::prelude::*;
use scylla::value::CqlValue;

#[test]
fn golden_events_leave_the_rows_that_they_always_left() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    projection::testing::golden(domain::AGGREGATES, crate::READ_MODELS, &folder);
}

/// The first event of an aggregate begins it, and no other does.
#[track_caller]
fn only_the_first_begins<P: Projection>(projection: &P) {
    let project = |view, event| {
        projection
            .project(view, &envelope(ORDER, P::AGGREGATE_TYPE, 2, event))
            .map(|folded| folded.0)
    };
    let mut events = P::Event::samples().into_iter();
    let first = events.next().expect("a sample");
    let begun = project(None, first.clone()).expect("it begins");
    assert_eq!(project(Some(begun), first).err(), Some(FoldError::BegunTwice));
    for event in events {
        assert_eq!(project(None, event).err(), Some(FoldError::NotBegun));
    }
}

#[test]
fn an_event_that_does_not_follow_is_refused() {
    only_the_first_begins(&Orders);
    only_the_first_begins(&Customers);
}

#[test]
fn an_order_is_listed_under_one_status_at_a_time() {
    let events = order_life(ORDER);
    for until in 1..=events.len() {
        let tables = tables_of(&writes(&Orders, &events[..until]));
        let listed = tables.keys_of("orders_by_status");
        assert_eq!(listed.len(), 1, "after version {until}: {listed:#?}");
        assert_eq!(tables.keys_of("orders_by_customer").len(), 1, "after version {until}");
    }
}

#[test]
fn a_customer_who_is_back_has_no_reason_for_being_away() {
    let events = life::<Customer>(CUSTOMER, vec![registered(), suspended(), reactivated()]);
    let rows = tables_of(&writes(&Customers, &events)).seen();
    assert_eq!(rows.len(), 1);
    assert!(rows.values().all(|row| !row.contains_key("status_reason")), "{rows:?}");
}

#[test]
fn a_row_deleted_and_rewritten_by_one_event_survives() {
    let delete = RowWrite::delete("t").key("id", 1_i32);
    let write = RowWrite::upsert("t").key("id", 1_i32).set("a", "new");
    let old = (RowWrite::upsert("t").key("id", 1_i32).set("b", "old"), Version(4));
    for order in [[&delete, &write], [&write, &delete]] {
        let both = order.map(|write| (write.clone(), Version(5)));
        let tables = tables_of([&old].into_iter().chain(&both));
        let rows: Vec<_> = tables.seen().into_values().collect();
        assert_eq!(rows, [[("a", CqlValue::Text("new".to_owned()))].into()]);
    }
}

/// Whatever comes twice, late or in another order: the tables are the same.
fn order_does_not_matter<P: Projection>(
    projection: &P,
    events: &[EventEnvelope<P::Event>],
    again: &[prop::sample::Index],
    keys: &[u64],
) -> Result<(), TestCaseError> {
    let once = writes(projection, events);
    let expected = tables_of(&once).seen();

    // A process starts again at any place, once more at another.
    let mut replayed = once;
    for index in again {
        let until = index.index(events.len() + 1);
        replayed.extend(writes(projection, &events[..until]));
    }
    prop_assert_eq!(&tables_of(&replayed).seen(), &expected);

    let mut shuffled: Vec<_> = replayed.iter().zip(keys.iter().cycle()).zip(1_u64..).collect();
    shuffled.sort_by_key(|((_, key), place)| key.wrapping_mul(*place).rotate_left(17));
    let shuffled = shuffled.into_iter().map(|((write, _), _)| write);
    prop_assert_eq!(&tables_of(shuffled).seen(), &expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_rows_do_not_depend_on_order_and_repetition(
        events in order_lives(),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        keys in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        order_does_not_matter(&Orders, &events, &again, &keys)?;
    }

    #[test]
    fn customer_rows_do_not_depend_on_order_and_repetition(
        events in customer_lives(),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        keys in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        order_does_not_matter(&Customers, &events, &again, &keys)?;
    }
}
