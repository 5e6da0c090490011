//! What may be asked of a customer.

use crate::value::{Country, Email, Phone, Text};
use uuid::Uuid;

/// A command to a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomerCommand {
    /// Make them known.
    Register {
        /// How to call them.
        profile: Profile,
        /// Where to write to.
        email: Email,
    },
    /// Replace the profile.
    UpdateProfile {
        /// How to call them from now on.
        profile: Profile,
    },
    /// Write to another place.
    ChangeEmail {
        /// Where to write to from now on.
        email: Email,
    },
    /// Add a place to send goods to.
    AddAddress {
        /// Names this address for ever; not used again after its removal.
        address_id: Uuid,
        /// The place.
        address: Address,
    },
    /// Remove a place.
    RemoveAddress {
        /// Which one.
        address_id: Uuid,
    },
    /// Stop dealing with them for a while.
    Suspend {
        /// Why.
        reason: Text<500>,
    },
    /// Deal with them again.
    Reactivate,
    /// Stop dealing with them for ever.
    Deactivate {
        /// Why.
        reason: Text<500>,
    },
}

/// How to call a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The whole name, in the order in which they write it.
    pub name: Text<200>,
    /// Where to call them.
    pub phone: Option<Phone>,
}

/// A place to send goods to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Street and number, or whatever stands for it.
    pub street: Text<200>,
    /// The town.
    pub city: Text<100>,
    /// The postal code, where the country has them.
    pub postal_code: Option<Text<20>>,
    /// The country.
    pub country: Country,
}
