//! Random commands to random aggregates: what is decided can be stored, read and replayed, and
//! replaying it gives the same state (the same bytes of its debug form) every time.

use crate::customer::{Address, Customer, CustomerCommand, Profile};
use crate::order::{Order, OrderCommand};
use crate::value::{Amount, Country, Currency, Email, Item, Items, Quantity, Text};
use kernel::testing::{fold, live, stored_and_read};
use proptest::prelude::*;
use uuid::Uuid;

fn text<const MAX: usize>() -> impl Strategy<Value = Text<MAX>> {
    prop::sample::select(vec!["a", "b \"quoted\"", "日本"]).prop_map(|t| Text::new(t).unwrap())
}

fn items() -> impl Strategy<Value = Items> {
    let item = (text(), 1_i64..4, 0_i64..100).prop_map(|(product_id, quantity, price)| Item {
        product_id,
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: Amount::from_minor(price).unwrap(),
    });
    prop::collection::vec(item, 1..3).prop_map(|items| Items::new(items).unwrap())
}

fn order_command() -> impl Strategy<Value = OrderCommand> {
    prop_oneof![
        items().prop_map(|items| OrderCommand::Create {
            customer_id: Uuid::nil(),
            currency: Currency::new("JPY").unwrap(),
            items,
        }),
        items().prop_map(|items| OrderCommand::UpdateItems { items }),
        Just(OrderCommand::Confirm),
        (text(), text())
            .prop_map(|(carrier, number)| OrderCommand::Ship { carrier, tracking_number: number }),
        text().prop_map(|signature| OrderCommand::Deliver { signature }),
        text().prop_map(|reason| OrderCommand::Cancel { reason }),
    ]
}

fn customer_command() -> impl Strategy<Value = CustomerCommand> {
    let profile = || text().prop_map(|name| Profile { name, phone: None });
    let email = || {
        prop::sample::select(vec!["a@b.c", "d@e.f"])
            .prop_map(|address| Email::new(address).unwrap())
    };
    let id = || (0_u128..3).prop_map(Uuid::from_u128);
    let address = (text(), text(), prop::option::of(text())).prop_map(|(street, city, code)| {
        Address { street, city, postal_code: code, country: Country::new("JP").unwrap() }
    });
    prop_oneof![
        (profile(), email())
            .prop_map(|(profile, email)| CustomerCommand::Register { profile, email }),
        profile().prop_map(|profile| CustomerCommand::UpdateProfile { profile }),
        email().prop_map(|email| CustomerCommand::ChangeEmail { email }),
        (id(), address)
            .prop_map(|(address_id, address)| CustomerCommand::AddAddress { address_id, address }),
        id().prop_map(|address_id| CustomerCommand::RemoveAddress { address_id }),
        text().prop_map(|reason| CustomerCommand::Suspend { reason }),
        Just(CustomerCommand::Reactivate),
        text().prop_map(|reason| CustomerCommand::Deactivate { reason }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_order_is_what_its_stored_events_say(
        commands in prop::collection::vec(order_command(), 0..20),
    ) {
        let (state, events) = live::<Order>(commands);
        let replayed = fold::<Order>(&stored_and_read(&events));
        prop_assert_eq!(&replayed, &state);
        prop_assert_eq!(format!("{replayed:?}"), format!("{state:?}"));
    }

    #[test]
    fn a_customer_is_what_their_stored_events_say(
        commands in prop::collection::vec(customer_command(), 0..30),
    ) {
        let (state, events) = live::<Customer>(commands);
        let replayed = fold::<Customer>(&stored_and_read(&events));
        prop_assert_eq!(&replayed, &state);
        prop_assert_eq!(format!("{replayed:?}"), format!("{state:?}"));
    }
}
