//! The stored form of every event against `golden/`: one file per event and schema version, added
//! to, never edited, for events of that form are in somebody's ledger.
//!
//! `cargo bless` adds what is missing. A sample that is not written as before any more is a changed
//! format: raise the schema version, keep reading the old one.

use crate::customer::{CustomerEvent, StoredAddress};
use crate::order::{OrderEvent, OrderItem};
use crate::testing::NOW;
use crate::{DomainEvent, EventKind, codec};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use uuid::Uuid;

fn order_samples() -> Vec<OrderEvent> {
    let tea = OrderItem { product_id: "tea".into(), quantity: 2, unit_price_minor: 450 };
    let pot = OrderItem { product_id: "pot \"blue\"".into(), quantity: 1, unit_price_minor: 1999 };
    vec![
        OrderEvent::Created {
            customer_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0007),
            currency: "EUR".into(),
            items: vec![tea.clone(), pot],
            total_minor: 2899,
            created_at: NOW,
        },
        OrderEvent::ItemsUpdated { items: vec![tea], total_minor: 900, updated_at: NOW },
        OrderEvent::Confirmed { confirmed_at: NOW },
        OrderEvent::Shipped {
            carrier: "DHL".into(),
            tracking_number: "JD014600006281230701".into(),
            shipped_at: NOW,
        },
        OrderEvent::Delivered { signature: "Zoë Müller".into(), delivered_at: NOW },
        OrderEvent::Cancelled { reason: "ordered twice".into(), cancelled_at: NOW },
    ]
}

fn customer_samples() -> Vec<CustomerEvent> {
    let address_id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_000A);
    vec![
        CustomerEvent::Registered {
            name: "Ada Lovelace".into(),
            email: "ada@example.com".into(),
            phone: Some("+44 20 7946 0958".into()),
            registered_at: NOW,
        },
        CustomerEvent::ProfileUpdated {
            name: "Ada King, Countess of Lovelace".into(),
            phone: None,
            updated_at: NOW,
        },
        CustomerEvent::EmailChanged { email: "ada@example.org".into(), changed_at: NOW },
        CustomerEvent::AddressAdded {
            address_id,
            address: StoredAddress {
                street: "12 St James's Square".into(),
                city: "London".into(),
                postal_code: Some("SW1Y 4JH".into()),
                country: "GB".into(),
            },
            added_at: NOW,
        },
        CustomerEvent::AddressRemoved { address_id, removed_at: NOW },
        CustomerEvent::Suspended { reason: "unpaid invoices".into(), suspended_at: NOW },
        CustomerEvent::Reactivated { reactivated_at: NOW },
        CustomerEvent::Deactivated { reason: "asked to be".into(), deactivated_at: NOW },
    ]
}

fn directory(aggregate: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(aggregate)
}

fn file_name(kind: EventKind) -> String {
    format!("{}.v{}.json", kind.name, kind.schema_version)
}

/// One line, written by hand so that the order of its fields does not depend on any map.
fn stored<E: DomainEvent>(event: &E) -> String {
    let EventKind { name, schema_version } = event.kind();
    let data = codec::encode(event).expect("a sample can be encoded");
    format!("{{\"type\":\"{name}\",\"schema_version\":{schema_version},\"data\":{data}}}\n")
}

/// The stored names that serde knows, as it lists them when it meets one that it does not know.
/// This list cannot forget a variant, as one written by hand can.
fn names_in_enum<E: DomainEvent>() -> BTreeSet<String> {
    let error = codec::decode::<E>("?", 1, "{}").expect_err("? is not an event");
    let codec::CodecError::Decode { source, .. } = error else { panic!("{error}") };
    let text = source.to_string();
    let (_, list) = text.split_once("expected").expect("serde lists the names");
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn check<E: DomainEvent>(aggregate: &str, kinds: &[EventKind], samples: Vec<E>) {
    let listed: BTreeSet<_> = kinds.iter().map(|kind| kind.name.to_owned()).collect();
    assert_eq!(names_in_enum::<E>(), listed, "KINDS does not list every {aggregate} event");
    let sampled: BTreeSet<_> = samples.iter().map(|event| event.kind().name.to_owned()).collect();
    assert_eq!(sampled, listed, "golden.rs lacks a sample of a new {aggregate} event");

    let bless = std::env::var_os("BLESS").is_some();
    for event in &samples {
        let path = directory(aggregate).join(file_name(event.kind()));
        let now = stored(event);
        if bless && !path.exists() {
            fs::write(&path, &now).expect("golden/ can be written");
        }
        let before = fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; `cargo bless` adds the sample", path.display())
        });
        assert_eq!(before, now, "{} is not written as before", path.display());
    }
    old_samples_decode(aggregate, &samples);
}

/// Every file must still be readable; that of a current schema version gives its sample back.
fn old_samples_decode<E: DomainEvent>(aggregate: &str, samples: &[E]) {
    let current: BTreeMap<_, _> =
        samples.iter().map(|event| (file_name(event.kind()), event)).collect();
    for entry in fs::read_dir(directory(aggregate)).expect("golden/ can be listed") {
        let path = entry.expect("golden/ can be listed").path();
        let text = fs::read_to_string(&path).expect("a sample can be read");
        let file: serde_json::Value = serde_json::from_str(&text).expect("a sample is JSON");
        let event_type = file["type"].as_str().expect("a sample has a type");
        let version = file["schema_version"].as_u64().and_then(|v| u32::try_from(v).ok());
        let version = version.expect("a sample has a schema version");
        let event: E = codec::decode(event_type, version, &file["data"].to_string())
            .unwrap_or_else(|error| panic!("{} stopped decoding: {error:?}", path.display()));
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        assert_eq!(name, file_name(EventKind { name: event.kind().name, schema_version: version }));
        if let Some(sample) = current.get(&name) {
            assert_eq!(event, **sample, "{name} reads as something else");
        }
    }
}

#[test]
fn golden_order_events() {
    check("order", &OrderEvent::KINDS, order_samples());
}

#[test]
fn golden_customer_events() {
    check("customer", &CustomerEvent::KINDS, customer_samples());
}
