//! What happened to a customer.

use super::command::{Address, Profile};
use kernel::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

kernel::events! {
    /// An event of a customer. The stored names are literals and outlive the Rust names.
    pub enum CustomerEvent, samples = super::samples::all;

    /// They became known.
    Registered = "CustomerRegistered" 1 {
        /// The whole name.
        name: String,
        /// Where to write to.
        email: String,
        /// Where to call them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phone: Option<String>,
        /// When.
        registered_at: Timestamp,
    }
    /// The profile was replaced.
    ProfileUpdated = "CustomerProfileUpdated" 1 {
        /// The whole name.
        name: String,
        /// Where to call them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phone: Option<String>,
        /// When.
        updated_at: Timestamp,
    }
    /// They are written to at another place.
    EmailChanged = "CustomerEmailChanged" 1 {
        /// Where to write to.
        email: String,
        /// When.
        changed_at: Timestamp,
    }
    /// A place to send goods to was added.
    AddressAdded = "CustomerAddressAdded" 1 {
        /// Names this address for ever.
        address_id: Uuid,
        /// The place.
        address: StoredAddress,
        /// When.
        added_at: Timestamp,
    }
    /// A place to send goods to was removed.
    AddressRemoved = "CustomerAddressRemoved" 1 {
        /// Which one.
        address_id: Uuid,
        /// When.
        removed_at: Timestamp,
    }
    /// Dealing with them was stopped for a while.
    Suspended = "CustomerSuspended" 1 {
        /// Why.
        reason: String,
        /// When.
        suspended_at: Timestamp,
    }
    /// Dealing with them began again.
    Reactivated = "CustomerReactivated" 1 {
        /// When.
        reactivated_at: Timestamp,
    }
    /// Dealing with them was stopped for ever.
    Deactivated = "CustomerDeactivated" 1 {
        /// Why.
        reason: String,
        /// When.
        deactivated_at: Timestamp,
    }
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
