//! What happened to a customer.

use super::command::{Address, Profile};
use kernel::{DomainEvent, EventKind, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An event of a customer. The stored names are literals and outlive the Rust names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum CustomerEvent {
    /// They became known.
    #[serde(rename = "CustomerRegistered")]
    Registered {
        /// The whole name.
        name: String,
        /// Where to write to.
        email: String,
        /// Where to call them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phone: Option<String>,
        /// When.
        registered_at: Timestamp,
    },
    /// The profile was replaced.
    #[serde(rename = "CustomerProfileUpdated")]
    ProfileUpdated {
        /// The whole name.
        name: String,
        /// Where to call them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phone: Option<String>,
        /// When.
        updated_at: Timestamp,
    },
    /// They are written to at another place.
    #[serde(rename = "CustomerEmailChanged")]
    EmailChanged {
        /// Where to write to.
        email: String,
        /// When.
        changed_at: Timestamp,
    },
    /// A place to send goods to was added.
    #[serde(rename = "CustomerAddressAdded")]
    AddressAdded {
        /// Names this address for ever.
        address_id: Uuid,
        /// The place.
        address: StoredAddress,
        /// When.
        added_at: Timestamp,
    },
    /// A place to send goods to was removed.
    #[serde(rename = "CustomerAddressRemoved")]
    AddressRemoved {
        /// Which one.
        address_id: Uuid,
        /// When.
        removed_at: Timestamp,
    },
    /// Dealing with them was stopped for a while.
    #[serde(rename = "CustomerSuspended")]
    Suspended {
        /// Why.
        reason: String,
        /// When.
        suspended_at: Timestamp,
    },
    /// Dealing with them began again.
    #[serde(rename = "CustomerReactivated")]
    Reactivated {
        /// When.
        reactivated_at: Timestamp,
    },
    /// Dealing with them was stopped for ever.
    #[serde(rename = "CustomerDeactivated")]
    Deactivated {
        /// Why.
        reason: String,
        /// When.
        deactivated_at: Timestamp,
    },
}

/// A place to send goods to, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAddress {
    /// Street and number.
    pub street: String,
    /// The town.
    pub city: String,
    /// The postal code, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2 code.
    pub country: String,
}

impl DomainEvent for CustomerEvent {
    const KINDS: &'static [EventKind] = &[
        EventKind::new("CustomerRegistered", 1),
        EventKind::new("CustomerProfileUpdated", 1),
        EventKind::new("CustomerEmailChanged", 1),
        EventKind::new("CustomerAddressAdded", 1),
        EventKind::new("CustomerAddressRemoved", 1),
        EventKind::new("CustomerSuspended", 1),
        EventKind::new("CustomerReactivated", 1),
        EventKind::new("CustomerDeactivated", 1),
    ];

    fn kind(&self) -> EventKind {
        match self {
            Self::Registered { .. } => Self::KINDS[0],
            Self::ProfileUpdated { .. } => Self::KINDS[1],
            Self::EmailChanged { .. } => Self::KINDS[2],
            Self::AddressAdded { .. } => Self::KINDS[3],
            Self::AddressRemoved { .. } => Self::KINDS[4],
            Self::Suspended { .. } => Self::KINDS[5],
            Self::Reactivated { .. } => Self::KINDS[6],
            Self::Deactivated { .. } => Self::KINDS[7],
        }
    }

    fn samples() -> Vec<Self> {
        super::samples::all()
    }
}

/// A profile in its stored form: name and phone.
pub(super) fn stored_profile(profile: Profile) -> (String, Option<String>) {
    (profile.name.into_string(), profile.phone.map(crate::value::Phone::into_string))
}

/// An address in its stored form.
pub(super) fn stored_address(address: Address) -> StoredAddress {
    StoredAddress {
        street: address.street.into_string(),
        city: address.city.into_string(),
        postal_code: address.postal_code.map(crate::value::Text::into_string),
        country: address.country.into_string(),
    }
}
