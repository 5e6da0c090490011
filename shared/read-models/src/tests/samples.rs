//! Lives of orders and customers, and what surrounds their events.

use cdc::Change;
use domain::customer::StoredAddress;
use domain::{Customer, CustomerEvent, Order, OrderEvent, OrderItem};
use kernel::{
    Aggregate, CommitPlace, DomainEvent, EventEnvelope, EventMetadata, Timestamp, Version, codec,
};
use proptest::prelude::*;
use uuid::Uuid;

pub(super) const ORDER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0011);
pub(super) const CUSTOMER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0007);
pub(super) const HOME: Uuid = Uuid::from_u128(0xA1);
pub(super) const WORK: Uuid = Uuid::from_u128(0xA2);

/// When the version of that number was recorded.
pub(super) fn at(version: u64) -> Timestamp {
    Timestamp(1_767_323_045_678 + i64::try_from(version).expect("a small version") * 1_000)
}

/// The version that makes an event of this life.
pub(super) fn envelope<E: DomainEvent>(
    aggregate_id: Uuid,
    aggregate_type: &str,
    version: u64,
    payload: E,
) -> EventEnvelope<E> {
    EventEnvelope {
        event_id: Uuid::from_u128(version.into()),
        aggregate_id,
        aggregate_type: aggregate_type.to_owned(),
        version: Version(version),
        event_type: payload.kind().name.to_owned(),
        schema_version: payload.kind().schema_version,
        recorded_at: at(version),
        metadata: EventMetadata {
            command_id: Uuid::from_u128(1),
            fingerprint: String::new(),
            causation_id: Uuid::from_u128(1),
            correlation_id: Uuid::from_u128(1),
            actor: None,
            trace_parent: None,
            commit: CommitPlace { index: 0, count: 1 },
        },
        payload,
    }
}

/// Events of one aggregate, from version 1 on.
pub(super) fn life<A: Aggregate>(id: Uuid, events: Vec<A::Event>) -> Vec<EventEnvelope<A::Event>> {
    let numbered = events.into_iter().zip(1..);
    numbered.map(|(event, version)| envelope(id, A::TYPE, version, event)).collect()
}

/// The event as the sequencer hands it on.
pub(super) fn change<E: DomainEvent>(event: &EventEnvelope<E>) -> Change {
    let payload = codec::encode(&event.payload).expect("a sample can be stored");
    Change { event: event.clone().with_payload(payload), topic: None }
}

pub(super) fn item(quantity: u32) -> OrderItem {
    OrderItem { product_id: "tea".to_owned(), quantity, unit_price_minor: 450 }
}

pub(super) fn created() -> OrderEvent {
    OrderEvent::Created {
        customer_id: CUSTOMER,
        currency: "EUR".to_owned(),
        items: vec![item(2)],
        total_minor: 900,
        created_at: at(1),
    }
}

pub(super) fn items_updated(version: u64) -> OrderEvent {
    OrderEvent::ItemsUpdated { items: vec![item(3)], total_minor: 1_350, updated_at: at(version) }
}

pub(super) fn confirmed(version: u64) -> OrderEvent {
    OrderEvent::Confirmed { confirmed_at: at(version) }
}

pub(super) fn shipped(version: u64) -> OrderEvent {
    OrderEvent::Shipped {
        carrier: "DHL".to_owned(),
        tracking_number: "JD01".to_owned(),
        shipped_at: at(version),
    }
}

pub(super) fn delivered(version: u64) -> OrderEvent {
    OrderEvent::Delivered { signature: "Zoë".to_owned(), delivered_at: at(version) }
}

/// From order to delivery.
pub(super) fn order_life(id: Uuid) -> Vec<EventEnvelope<OrderEvent>> {
    let events = vec![created(), items_updated(2), confirmed(3), shipped(4), delivered(5)];
    life::<Order>(id, events)
}

pub(super) fn registered() -> CustomerEvent {
    CustomerEvent::Registered {
        name: "Ada".to_owned(),
        email: "ada@example.com".to_owned(),
        phone: Some("+44 20".to_owned()),
        registered_at: at(1),
    }
}

pub(super) fn address(street: &str) -> StoredAddress {
    StoredAddress {
        street: street.to_owned(),
        city: "London".to_owned(),
        postal_code: None,
        country: "GB".to_owned(),
    }
}

pub(super) fn address_added(address_id: Uuid, street: &str) -> CustomerEvent {
    CustomerEvent::AddressAdded { address_id, address: address(street), added_at: at(1) }
}

pub(super) fn address_removed(address_id: Uuid) -> CustomerEvent {
    CustomerEvent::AddressRemoved { address_id, removed_at: at(1) }
}

pub(super) fn suspended() -> CustomerEvent {
    CustomerEvent::Suspended { reason: "unpaid".to_owned(), suspended_at: at(1) }
}

pub(super) fn reactivated() -> CustomerEvent {
    CustomerEvent::Reactivated { reactivated_at: at(1) }
}

pub(super) fn deactivated() -> CustomerEvent {
    CustomerEvent::Deactivated { reason: "asked to".to_owned(), deactivated_at: at(1) }
}

pub(super) fn profile_updated(phone: Option<&str>) -> CustomerEvent {
    CustomerEvent::ProfileUpdated {
        name: "Ada King".to_owned(),
        phone: phone.map(str::to_owned),
        updated_at: at(1),
    }
}

pub(super) fn email_changed() -> CustomerEvent {
    CustomerEvent::EmailChanged { email: "king@example.com".to_owned(), changed_at: at(1) }
}

/// Every event of a customer at least once.
pub(super) fn customer_life(id: Uuid) -> Vec<EventEnvelope<CustomerEvent>> {
    let events = vec![
        registered(),
        address_added(HOME, "Square 1"),
        address_added(WORK, "Square 2"),
        profile_updated(None),
        email_changed(),
        suspended(),
        reactivated(),
        address_removed(HOME),
        deactivated(),
    ];
    life::<Customer>(id, events)
}

/// Any life of an order, also one that the rules would refuse: the fold must not mind.
pub(super) fn order_lives() -> impl Strategy<Value = Vec<EventEnvelope<OrderEvent>>> {
    let later = OrderEvent::samples().into_iter().skip(1).collect::<Vec<_>>();
    let later = prop::sample::select(later);
    prop::collection::vec(later, 0..8)
        .prop_map(|later| life::<Order>(ORDER, [created()].into_iter().chain(later).collect()))
}

/// Any life of a customer.
pub(super) fn customer_lives() -> impl Strategy<Value = Vec<EventEnvelope<CustomerEvent>>> {
    let mut later: Vec<_> = CustomerEvent::samples().into_iter().skip(1).collect();
    // Besides, two addresses that come and go.
    later.extend([
        address_added(HOME, "Square 1"),
        address_added(WORK, "Square 2"),
        address_removed(HOME),
        address_removed(WORK),
    ]);
    let later = prop::sample::select(later);
    prop::collection::vec(later, 0..12).prop_map(|later| {
        life::<Customer>(CUSTOMER, [registered()].into_iter().chain(later).collect())
    })
}
