//! Examples of the events of a customer.

use super::{CustomerEvent, StoredAddress};
use kernel::testing::NOW;
use uuid::Uuid;

/// An example of each.
pub(super) fn all() -> Vec<CustomerEvent> {
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
