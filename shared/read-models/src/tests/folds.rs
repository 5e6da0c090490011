//! Every fold: which event writes which columns, and that order and repetition do not matter.

use super::samples::*;
use crate::customers::Customers;
use crate::orders::Orders;
use domain::{Customer, CustomerEvent, Order, OrderEvent};
use kernel::{Aggregate, EventEnvelope, Version};
use projection::RowWrite;
use projection::testing::{tables_of, writes};
use projection::{FoldError, Projection};
use proptest::prelude::*;
use scylla::value::CqlValue;
use serde_json::json;

/// The view of an aggregate after `events`.
fn view_after<P: Projection>(
    projection: &P,
    events: &[EventEnvelope<P::Event>],
) -> Option<P::View> {
    events.iter().fold(None, |view, event| {
        Some(projection.project(view, event).expect("a life that fits together").0)
    })
}

/// A write in short: `+table column=value …` or `-table`, without what every write has.
fn told(write: &RowWrite) -> String {
    let sign = if write.is_delete() { '-' } else { '+' };
    let mut told = format!("{sign}{}", write.table());
    let status = write.key_columns().iter().filter(|(column, _)| *column == "status");
    for (column, value) in status {
        told += &format!(" [{column}={}]", shown(Some(value)));
    }
    let usual = ["version", "updated_at"];
    for (column, value) in write.values().iter().filter(|(column, _)| !usual.contains(column)) {
        told += &format!(" {column}={}", shown(value.as_ref()));
    }
    told
}

fn shown(value: Option<&CqlValue>) -> String {
    match value {
        None => "null".to_owned(),
        Some(CqlValue::Text(text)) => text.clone(),
        Some(CqlValue::BigInt(number)) => number.to_string(),
        Some(CqlValue::Uuid(id)) => id.simple().to_string().trim_start_matches('0').to_owned(),
        Some(CqlValue::Timestamp(time)) => format!("t{}", (time.0 - at(0).0) / 1_000),
        Some(other) => format!("{other:?}"),
    }
}

/// What the last of `events` writes.
#[track_caller]
fn check<P: Projection>(projection: &P, events: &[EventEnvelope<P::Event>], expected: &[&str]) {
    let (last, before) = events.split_last().expect("an event");
    let view = view_after(projection, before);
    let (_, writes) = projection.project(view, last).expect("a life that fits together");
    for write in writes.iter().filter(|write| !write.is_delete()) {
        let version = ("version", Some(CqlValue::BigInt(last.version.0.cast_signed())));
        assert!(write.values().contains(&version), "{} lacks its version", write.table());
    }
    assert_eq!(writes.iter().map(told).collect::<Vec<_>>(), expected, "{:?}", last.payload);
}

fn orders(events: Vec<OrderEvent>) -> Vec<EventEnvelope<OrderEvent>> {
    life::<Order>(ORDER, events)
}

fn customers(events: Vec<CustomerEvent>) -> Vec<EventEnvelope<CustomerEvent>> {
    life::<Customer>(CUSTOMER, events)
}

const CUSTOMER_TOLD: &str = "1900000000070008000000000000007";

#[test]
fn each_event_of_an_order_writes_its_columns_and_both_lists() {
    let two = r#"[{"product_id":"tea","quantity":2,"unit_price_minor":450}]"#;
    let three = r#"[{"product_id":"tea","quantity":3,"unit_price_minor":450}]"#;
    let by_customer = |status, total| {
        format!("+orders_by_customer currency=EUR total_minor={total} status={status}")
    };
    let by_status = |status, total| {
        format!(
            "+orders_by_status [status={status}] currency=EUR total_minor={total} \
             customer_id={CUSTOMER_TOLD}"
        )
    };
    let no_longer = |status| format!("-orders_by_status [status={status}]");
    let order = |columns: &str| format!("+order_read_model {columns}");
    let listed = |status, total| [by_customer(status, total), by_status(status, total)];
    // For every event: what came before it, it, and what it writes.
    for event in [created(), items_updated(2), confirmed(3), shipped(4), delivered(5), cancelled(6)]
    {
        let (before, own, lists, left) = match &event {
            OrderEvent::Created { .. } => {
                let own = format!(
                    "status=created items={two} total_minor=900 customer_id={CUSTOMER_TOLD} \
                     currency=EUR created_at=t1"
                );
                (vec![], own, listed("created", 900), None)
            }
            OrderEvent::ItemsUpdated { .. } => {
                let own = format!("status=created items={three} total_minor=1350");
                (vec![created()], own, listed("created", 1_350), None)
            }
            OrderEvent::Confirmed { .. } => (
                vec![created()],
                "status=confirmed confirmed_at=t3".to_owned(),
                listed("confirmed", 900),
                Some("created"),
            ),
            OrderEvent::Shipped { .. } => (
                vec![created(), confirmed(2)],
                "status=shipped carrier=DHL tracking_number=JD01 shipped_at=t4".to_owned(),
                listed("shipped", 900),
                Some("confirmed"),
            ),
            OrderEvent::Delivered { .. } => (
                vec![created(), items_updated(2), confirmed(3), shipped(4)],
                "status=delivered signature=Zoë delivered_at=t5".to_owned(),
                listed("delivered", 1_350),
                Some("shipped"),
            ),
            OrderEvent::Cancelled { .. } => (
                vec![created()],
                "status=cancelled cancel_reason=twice cancelled_at=t6".to_owned(),
                listed("cancelled", 900),
                Some("created"),
            ),
        };
        let expected = [order(&own)].into_iter().chain(lists).chain(left.map(no_longer));
        let expected: Vec<_> = expected.collect();
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        check(&Orders, &orders([before, vec![event]].concat()), &expected);
    }
}

#[test]
fn each_event_of_a_customer_writes_its_columns() {
    let home =
        json!([{"address_id": HOME, "street": "Square 1", "city": "London", "country": "GB"}]);
    let work = json!({"address_id": WORK, "street": "Square 2", "city": "London", "country": "GB"});
    let both = format!("[{},{}]", address_text(&home[0]), address_text(&work));
    let events = [
        registered(),
        profile_updated(None),
        email_changed(),
        address_added(WORK, "Square 2"),
        address_removed(HOME),
        suspended(),
        reactivated(),
        deactivated(),
    ];
    for event in events {
        let at_home = || vec![registered(), address_added(HOME, "Square 1")];
        let (before, columns) = match &event {
            CustomerEvent::Registered { .. } => (
                vec![],
                "name=Ada email=ada@example.com phone=+44 20 status=active addresses=[] \
                 registered_at=t1"
                    .to_owned(),
            ),
            CustomerEvent::ProfileUpdated { .. } => {
                (at_home(), "name=Ada King phone=null".to_owned())
            }
            CustomerEvent::EmailChanged { .. } => (at_home(), "email=king@example.com".to_owned()),
            CustomerEvent::AddressAdded { .. } => (at_home(), format!("addresses={both}")),
            CustomerEvent::AddressRemoved { .. } => (at_home(), "addresses=[]".to_owned()),
            CustomerEvent::Suspended { .. } => {
                (at_home(), "status=suspended status_reason=unpaid".to_owned())
            }
            CustomerEvent::Reactivated { .. } => {
                (vec![registered(), suspended()], "status=active status_reason=null".to_owned())
            }
            CustomerEvent::Deactivated { .. } => {
                (at_home(), "status=deactivated status_reason=asked to".to_owned())
            }
        };
        let expected = format!("+customer_read_model {columns}");
        check(&Customers, &customers([before, vec![event]].concat()), &[&expected]);
    }
}

/// An address as the column has it: fields in the order of their declaration.
fn address_text(address: &serde_json::Value) -> String {
    format!(
        r#"{{"address_id":{},"street":{},"city":{},"country":{}}}"#,
        address["address_id"], address["street"], address["city"], address["country"]
    )
}

#[test]
fn an_event_that_does_not_follow_is_refused() {
    let order =
        |view, event| Orders.project(view, &envelope(ORDER, Order::TYPE, 2, event)).map(|_| ());
    let known = || view_after(&Orders, &orders(vec![created()]));
    assert_eq!(order(known(), created()), Err(FoldError::BegunTwice));
    for event in [items_updated(2), confirmed(2), shipped(2), delivered(2), cancelled(2)] {
        assert_eq!(order(None, event), Err(FoldError::NotBegun));
    }
    let customer = |view, event| {
        Customers.project(view, &envelope(CUSTOMER, Customer::TYPE, 2, event)).map(|_| ())
    };
    let known = || view_after(&Customers, &customers(vec![registered()]));
    assert_eq!(customer(known(), registered()), Err(FoldError::BegunTwice));
    let later = [
        address_added(HOME, "Square 1"),
        address_removed(HOME),
        profile_updated(None),
        email_changed(),
        suspended(),
        reactivated(),
        deactivated(),
    ];
    for event in later {
        assert_eq!(customer(None, event), Err(FoldError::NotBegun));
    }
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
