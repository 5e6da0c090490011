use super::*;
use crate::replay;
use crate::value::{Country, Email, Phone, Text};
use kernel::testing::{NOW, given};
use proptest::prelude::*;

const HOME: Uuid = Uuid::from_u128(10);
const WORK: Uuid = Uuid::from_u128(11);

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).expect("a text")
}

fn email(address: &str) -> Email {
    Email::new(address).expect("an address")
}

fn profile(name: &str) -> Profile {
    Profile { name: text(name), phone: Some(Phone::new("112").expect("a number")) }
}

fn address(street: &str) -> Address {
    Address {
        street: text(street),
        city: text("London"),
        postal_code: None,
        country: Country::new("GB").expect("a country"),
    }
}

fn add(address_id: Uuid, street: &str) -> CustomerCommand {
    CustomerCommand::AddAddress { address_id, address: address(street) }
}

fn remove(address_id: Uuid) -> CustomerCommand {
    CustomerCommand::RemoveAddress { address_id }
}

fn register() -> CustomerCommand {
    CustomerCommand::Register { profile: profile("Ada"), email: email("ada@example.com") }
}

fn update_profile(name: &str) -> CustomerCommand {
    CustomerCommand::UpdateProfile { profile: profile(name) }
}

fn change_email(address: &str) -> CustomerCommand {
    CustomerCommand::ChangeEmail { email: email(address) }
}

fn suspend(reason: &str) -> CustomerCommand {
    CustomerCommand::Suspend { reason: text(reason) }
}

fn deactivate(reason: &str) -> CustomerCommand {
    CustomerCommand::Deactivate { reason: text(reason) }
}

fn registered() -> CustomerEvent {
    CustomerEvent::Registered {
        name: "Ada".into(),
        email: "ada@example.com".into(),
        phone: Some("112".into()),
        registered_at: NOW,
    }
}

fn profile_updated(name: &str) -> CustomerEvent {
    CustomerEvent::ProfileUpdated { name: name.into(), phone: Some("112".into()), updated_at: NOW }
}

fn email_changed(email: &str) -> CustomerEvent {
    CustomerEvent::EmailChanged { email: email.into(), changed_at: NOW }
}

fn added(address_id: Uuid, street: &str) -> CustomerEvent {
    let address = event::stored_address(address(street));
    CustomerEvent::AddressAdded { address_id, address, added_at: NOW }
}

fn removed(address_id: Uuid) -> CustomerEvent {
    CustomerEvent::AddressRemoved { address_id, removed_at: NOW }
}

fn suspended() -> CustomerEvent {
    CustomerEvent::Suspended { reason: "unpaid".into(), suspended_at: NOW }
}

fn reactivated() -> CustomerEvent {
    CustomerEvent::Reactivated { reactivated_at: NOW }
}

fn deactivated() -> CustomerEvent {
    CustomerEvent::Deactivated { reason: "moved on".into(), deactivated_at: NOW }
}

/// What would change something about a customer besides the status.
fn changes() -> [CustomerCommand; 4] {
    [update_profile("Ada King"), change_email("a@b.c"), add(WORK, "1 Strand"), remove(HOME)]
}

#[test]
fn a_customer_is_registered_once() {
    given::<Customer>([]).when(register()).then([registered()]);
    for history in
        [vec![registered()], vec![registered(), suspended()], vec![registered(), deactivated()]]
    {
        given::<Customer>(history).when(register()).then_refused(CustomerError::AlreadyExists);
    }
}

#[test]
fn a_customer_who_never_registered_is_not_found() {
    let status = [suspend("x"), CustomerCommand::Reactivate, deactivate("x")];
    for command in changes().into_iter().chain(status) {
        given::<Customer>([]).when(command).then_refused(CustomerError::NotFound);
    }
}

#[test]
fn the_profile_is_replaced_as_a_whole() {
    given::<Customer>([registered()])
        .when(CustomerCommand::UpdateProfile { profile: Profile { phone: None, ..profile("Ada") } })
        .then([CustomerEvent::ProfileUpdated { name: "Ada".into(), phone: None, updated_at: NOW }]);
}

#[test]
fn the_profile_and_email_that_are_there_change_nothing() {
    given::<Customer>([registered()]).when(update_profile("Ada")).then_nothing();
    given::<Customer>([registered()]).when(change_email("ada@example.com")).then_nothing();
    let moved = [registered(), email_changed("a@b.c"), profile_updated("Ada King")];
    given::<Customer>(moved.clone()).when(change_email("a@b.c")).then_nothing();
    given::<Customer>(moved.clone()).when(update_profile("Ada King")).then_nothing();
    given::<Customer>(moved.clone()).when(update_profile("Ada")).then([profile_updated("Ada")]);
    given::<Customer>(moved)
        .when(change_email("ada@example.com"))
        .then([email_changed("ada@example.com")]);
}

#[test]
fn an_address_is_added_and_removed_once() {
    given::<Customer>([registered()]).when(add(HOME, "1 Strand")).then([added(HOME, "1 Strand")]);
    let at_home = [registered(), added(HOME, "1 Strand")];
    given::<Customer>(at_home.clone()).when(add(HOME, "1 Strand")).then_nothing();
    given::<Customer>(at_home.clone()).when(add(WORK, "1 Strand")).then([added(WORK, "1 Strand")]);
    given::<Customer>(at_home).when(remove(HOME)).then([removed(HOME)]);
    let gone = [registered(), added(HOME, "1 Strand"), removed(HOME)];
    given::<Customer>(gone).when(remove(HOME)).then_nothing();
}

#[test]
fn an_address_id_names_one_address_for_ever() {
    given::<Customer>([registered(), added(HOME, "1 Strand")])
        .when(add(HOME, "2 Strand"))
        .then_refused(CustomerError::AddressIdTaken);
    given::<Customer>([registered(), added(HOME, "1 Strand"), removed(HOME)])
        .when(add(HOME, "1 Strand"))
        .then_refused(CustomerError::AddressIdTaken);
}

#[test]
fn an_address_that_never_was_is_not_found() {
    given::<Customer>([registered(), added(HOME, "1 Strand")])
        .when(remove(WORK))
        .then_refused(CustomerError::AddressNotFound);
}

#[test]
fn addresses_are_bounded_at_a_time_and_over_time() {
    let many = |count: usize| (0..count).map(|n| Uuid::from_u128(1_000 + n as u128));
    let full = || {
        let addresses = many(ADDRESSES_MAX).map(|id| added(id, "1 Strand"));
        std::iter::once(registered()).chain(addresses)
    };
    given::<Customer>(full())
        .when(add(HOME, "1 Strand"))
        .then_refused(CustomerError::TooManyAddresses);
    let first = Uuid::from_u128(1_000);
    given::<Customer>(full()).when(add(first, "1 Strand")).then_nothing();
    given::<Customer>(full().chain([removed(first)]))
        .when(add(HOME, "1 Strand"))
        .then([added(HOME, "1 Strand")]);
    let come_and_gone =
        many(ADDRESSES_EVER_MAX).flat_map(|id| [added(id, "1 Strand"), removed(id)]);
    given::<Customer>(std::iter::once(registered()).chain(come_and_gone))
        .when(add(HOME, "1 Strand"))
        .then_refused(CustomerError::TooManyAddresses);
}

#[test]
fn a_suspended_customer_is_changed_in_nothing_but_the_status() {
    for command in changes() {
        given::<Customer>([registered(), added(HOME, "1 Strand"), suspended()])
            .when(command.clone())
            .then_refused(CustomerError::Suspended);
        let back = [registered(), added(HOME, "1 Strand"), suspended(), reactivated()];
        let decision = kernel::testing::fold::<Customer>(&back).decide(
            command.clone(),
            &DecisionContext { aggregate_id: kernel::testing::AGGREGATE_ID, now: NOW },
        );
        assert_eq!(decision.map(|events| events.len()), Ok(1), "{command:?} after reactivation");
    }
}

#[test]
fn suspending_twice_is_once_and_for_one_reason() {
    given::<Customer>([registered()]).when(suspend("unpaid")).then([suspended()]);
    given::<Customer>([registered(), suspended()]).when(suspend("unpaid")).then_nothing();
    given::<Customer>([registered(), suspended()])
        .when(suspend("fraud"))
        .then_refused(CustomerError::DoneDifferently { status: CustomerStatus::Suspended });
    given::<Customer>([registered(), suspended(), reactivated()])
        .when(suspend("unpaid"))
        .then([suspended()]);
}

#[test]
fn only_a_suspended_customer_is_reactivated_and_twice_is_once() {
    let reactivate = CustomerCommand::Reactivate;
    given::<Customer>([registered(), suspended()]).when(reactivate.clone()).then([reactivated()]);
    given::<Customer>([registered(), suspended(), reactivated()])
        .when(reactivate.clone())
        .then_nothing();
    given::<Customer>([registered()]).when(reactivate).then_refused(CustomerError::NotSuspended);
}

#[test]
fn a_customer_is_deactivated_from_any_standing_once_and_for_one_reason() {
    for history in [
        vec![registered()],
        vec![registered(), suspended()],
        vec![registered(), suspended(), reactivated()],
    ] {
        given::<Customer>(history).when(deactivate("moved on")).then([deactivated()]);
    }
    given::<Customer>([registered(), deactivated()]).when(deactivate("moved on")).then_nothing();
    given::<Customer>([registered(), deactivated()])
        .when(deactivate("fraud"))
        .then_refused(CustomerError::DoneDifferently { status: CustomerStatus::Deactivated });
}

#[test]
fn deactivation_is_final() {
    let others = [suspend("unpaid"), CustomerCommand::Reactivate];
    for command in changes().into_iter().chain(others) {
        given::<Customer>([registered(), added(HOME, "1 Strand"), deactivated()])
            .when(command)
            .then_refused(CustomerError::Deactivated);
    }
}

/// Any command, with few different values.
fn any_command() -> impl Strategy<Value = CustomerCommand> {
    let profile = || replay::text().prop_map(|name| Profile { name, phone: None });
    let email = || {
        prop::sample::select(vec!["a@b.c", "d@e.f"])
            .prop_map(|address| Email::new(address).unwrap())
    };
    let id = || (0_u128..3).prop_map(Uuid::from_u128);
    let address = (replay::text(), replay::text(), prop::option::of(replay::text())).prop_map(
        |(street, city, code)| Address {
            street,
            city,
            postal_code: code,
            country: Country::new("JP").unwrap(),
        },
    );
    prop_oneof![
        (profile(), email())
            .prop_map(|(profile, email)| CustomerCommand::Register { profile, email }),
        profile().prop_map(|profile| CustomerCommand::UpdateProfile { profile }),
        email().prop_map(|email| CustomerCommand::ChangeEmail { email }),
        (id(), address)
            .prop_map(|(address_id, address)| CustomerCommand::AddAddress { address_id, address }),
        id().prop_map(|address_id| CustomerCommand::RemoveAddress { address_id }),
        replay::text().prop_map(|reason| CustomerCommand::Suspend { reason }),
        Just(CustomerCommand::Reactivate),
        replay::text().prop_map(|reason| CustomerCommand::Deactivate { reason }),
    ]
}

#[test]
fn a_customer_is_what_their_stored_events_say() {
    replay::check::<Customer>(any_command());
}
