use super::*;
use crate::replay;
use crate::value::{Amount, Currency, Item, Quantity, Text};
use kernel::testing::{NOW, given};
use proptest::prelude::*;
use uuid::Uuid;

const CUSTOMER: Uuid = Uuid::from_u128(7);

fn items(positions: &[(&str, i64, i64)]) -> Items {
    let items = positions.iter().map(|&(product, quantity, price)| Item {
        product_id: text(product),
        quantity: Quantity::new(quantity).expect("a quantity"),
        unit_price: Amount::from_minor(price).expect("an amount"),
    });
    Items::new(items.collect()).expect("items")
}

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).expect("a text")
}

fn stored(positions: &[(&str, u32, i64)]) -> Vec<OrderItem> {
    let items = positions.iter().map(|&(product, quantity, unit_price_minor)| OrderItem {
        product_id: product.to_owned(),
        quantity,
        unit_price_minor,
    });
    items.collect()
}

fn create() -> OrderCommand {
    OrderCommand::Create {
        customer_id: CUSTOMER,
        currency: Currency::new("EUR").expect("a currency"),
        items: items(&[("tea", 2, 450), ("pot", 1, 1999)]),
    }
}

fn update() -> OrderCommand {
    OrderCommand::UpdateItems { items: items(&[("tea", 3, 450)]) }
}

fn ship() -> OrderCommand {
    OrderCommand::Ship { carrier: text("DHL"), tracking_number: text("JD01") }
}

fn deliver() -> OrderCommand {
    OrderCommand::Deliver { signature: text("A. Lovelace") }
}

fn cancel() -> OrderCommand {
    OrderCommand::Cancel { reason: text("changed my mind") }
}

fn created() -> OrderEvent {
    OrderEvent::Created {
        customer_id: CUSTOMER,
        currency: "EUR".into(),
        items: stored(&[("tea", 2, 450), ("pot", 1, 1999)]),
        total_minor: 2899,
        created_at: NOW,
    }
}

fn updated() -> OrderEvent {
    OrderEvent::ItemsUpdated {
        items: stored(&[("tea", 3, 450)]),
        total_minor: 1350,
        updated_at: NOW,
    }
}

fn confirmed() -> OrderEvent {
    OrderEvent::Confirmed { confirmed_at: NOW }
}

fn shipped() -> OrderEvent {
    OrderEvent::Shipped { carrier: "DHL".into(), tracking_number: "JD01".into(), shipped_at: NOW }
}

fn delivered() -> OrderEvent {
    OrderEvent::Delivered { signature: "A. Lovelace".into(), delivered_at: NOW }
}

fn cancelled() -> OrderEvent {
    OrderEvent::Cancelled { reason: "changed my mind".into(), cancelled_at: NOW }
}

/// The events that bring an order to each status.
fn histories() -> [(OrderStatus, Vec<OrderEvent>); 5] {
    [
        (OrderStatus::Created, vec![created()]),
        (OrderStatus::Confirmed, vec![created(), confirmed()]),
        (OrderStatus::Shipped, vec![created(), confirmed(), shipped()]),
        (OrderStatus::Delivered, vec![created(), confirmed(), shipped(), delivered()]),
        (OrderStatus::Cancelled, vec![created(), confirmed(), cancelled()]),
    ]
}

/// What `command` yields in each status, in the order of [`OrderStatus::ALL`].
#[track_caller]
fn check(
    command: &OrderCommand,
    expected: impl Fn(OrderStatus) -> Result<Vec<OrderEvent>, OrderError>,
) {
    for (status, history) in histories() {
        let order = kernel::testing::fold::<Order>(&history);
        assert_eq!(order.status(), Some(status));
        let ctx = DecisionContext { aggregate_id: kernel::testing::AGGREGATE_ID, now: NOW };
        let decision = order.decide(command.clone(), &ctx);
        assert_eq!(decision, expected(status), "{command:?} on an order that is {status}");
    }
}

#[test]
fn an_order_is_created_with_its_total() {
    given::<Order>([]).when(create()).then([created()]);
}

#[test]
fn a_second_create_is_refused_whatever_became_of_the_order() {
    check(&create(), |_| Err(OrderError::AlreadyExists));
}

#[test]
fn an_order_that_was_never_created_is_not_found() {
    for command in [update(), OrderCommand::Confirm, ship(), deliver(), cancel()] {
        given::<Order>([]).when(command).then_refused(OrderError::NotFound);
    }
}

#[test]
fn items_change_only_while_created() {
    check(&update(), |status| match status {
        OrderStatus::Created => Ok(vec![updated()]),
        status => Err(OrderError::ItemsFixed { status }),
    });
}

#[test]
fn the_same_items_again_change_nothing() {
    given::<Order>([created(), updated()]).when(update()).then_nothing();
    let first = OrderCommand::UpdateItems { items: items(&[("tea", 2, 450), ("pot", 1, 1999)]) };
    given::<Order>([created()]).when(first).then_nothing();
}

#[test]
fn items_in_another_order_are_other_items() {
    let turned = OrderCommand::UpdateItems { items: items(&[("pot", 1, 1999), ("tea", 2, 450)]) };
    given::<Order>([created()]).when(turned).then([OrderEvent::ItemsUpdated {
        items: stored(&[("pot", 1, 1999), ("tea", 2, 450)]),
        total_minor: 2899,
        updated_at: NOW,
    }]);
}

#[test]
fn only_a_created_order_is_confirmed_and_twice_is_once() {
    check(&OrderCommand::Confirm, |status| match status {
        OrderStatus::Created => Ok(vec![confirmed()]),
        OrderStatus::Confirmed => Ok(Vec::new()),
        status => Err(OrderError::NotConfirmable { status }),
    });
}

#[test]
fn only_a_confirmed_order_is_shipped_and_twice_is_once() {
    check(&ship(), |status| match status {
        OrderStatus::Confirmed => Ok(vec![shipped()]),
        OrderStatus::Shipped => Ok(Vec::new()),
        status => Err(OrderError::NotShippable { status }),
    });
}

#[test]
fn an_order_is_not_shipped_a_second_time_in_another_way() {
    for (carrier, number) in [("UPS", "JD01"), ("DHL", "JD02")] {
        given::<Order>([created(), confirmed(), shipped()])
            .when(OrderCommand::Ship { carrier: text(carrier), tracking_number: text(number) })
            .then_refused(OrderError::DoneDifferently { status: OrderStatus::Shipped });
    }
}

#[test]
fn only_a_shipped_order_is_delivered_and_twice_is_once() {
    check(&deliver(), |status| match status {
        OrderStatus::Shipped => Ok(vec![delivered()]),
        OrderStatus::Delivered => Ok(Vec::new()),
        status => Err(OrderError::NotDeliverable { status }),
    });
}

#[test]
fn a_delivery_is_signed_by_one_person() {
    given::<Order>([created(), confirmed(), shipped(), delivered()])
        .when(OrderCommand::Deliver { signature: text("C. Babbage") })
        .then_refused(OrderError::DoneDifferently { status: OrderStatus::Delivered });
}

#[test]
fn an_order_on_its_way_cannot_be_cancelled() {
    check(&cancel(), |status| match status {
        OrderStatus::Created | OrderStatus::Confirmed => Ok(vec![cancelled()]),
        OrderStatus::Cancelled => Ok(Vec::new()),
        status @ (OrderStatus::Shipped | OrderStatus::Delivered) => {
            Err(OrderError::NotCancellable { status })
        }
    });
}

#[test]
fn an_order_is_cancelled_for_one_reason() {
    given::<Order>([created(), cancelled()])
        .when(OrderCommand::Cancel { reason: text("too dear") })
        .then_refused(OrderError::DoneDifferently { status: OrderStatus::Cancelled });
}

#[test]
fn a_status_is_found_by_its_name() {
    for status in OrderStatus::ALL {
        assert_eq!(OrderStatus::parse(status.as_str()), Some(status));
    }
    assert_eq!(OrderStatus::parse("Created"), None);
}

fn any_items() -> impl Strategy<Value = Items> {
    let item =
        (replay::text(), 1_i64..4, 0_i64..100).prop_map(|(product_id, quantity, price)| Item {
            product_id,
            quantity: Quantity::new(quantity).unwrap(),
            unit_price: Amount::from_minor(price).unwrap(),
        });
    prop::collection::vec(item, 1..3).prop_map(|items| Items::new(items).unwrap())
}

/// Any command, with few different values.
fn any_command() -> impl Strategy<Value = OrderCommand> {
    prop_oneof![
        any_items().prop_map(|items| OrderCommand::Create {
            customer_id: Uuid::nil(),
            currency: Currency::new("JPY").unwrap(),
            items,
        }),
        any_items().prop_map(|items| OrderCommand::UpdateItems { items }),
        Just(OrderCommand::Confirm),
        (replay::text(), replay::text())
            .prop_map(|(carrier, number)| OrderCommand::Ship { carrier, tracking_number: number }),
        replay::text().prop_map(|signature| OrderCommand::Deliver { signature }),
        replay::text().prop_map(|reason| OrderCommand::Cancel { reason }),
    ]
}

#[test]
fn an_order_is_what_its_stored_events_say() {
    replay::check::<Order>(any_command());
}
