//! A customer, from registration to deactivation.
//!
//! ```text
//! active ◄──► suspended
//!    └──────────┴──► deactivated
//! ```
//!
//! A suspended customer is changed in nothing but the status; a deactivated one not at all.

mod command;
mod event;
mod samples;

pub use command::{Address, CustomerCommand, Profile};
pub use event::{CustomerEvent, StoredAddress};

use kernel::{Aggregate, Decision, DecisionContext};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The most addresses that a customer may have at a time.
pub const ADDRESSES_MAX: usize = 20;

/// The most addresses that a customer may ever have had: ids of removed ones are remembered.
pub const ADDRESSES_EVER_MAX: usize = 1_000;

statuses! {
    /// Where a customer stands.
    CustomerStatus {
        /// Dealt with.
        Active = "active",
        /// Not dealt with for now.
        Suspended = "suspended",
        /// Not dealt with any more. Final.
        Deactivated = "deactivated",
    }
}

/// A customer. `Default` is the state before the first event: no such customer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Customer(Option<Existing>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Existing {
    name: String,
    phone: Option<String>,
    email: String,
    addresses: BTreeMap<Uuid, StoredAddress>,
    removed: BTreeSet<Uuid>,
    standing: Standing,
}

/// The status with what led to it, by which a repeated command recognises its own effect.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Active { again: bool },
    Suspended { reason: String },
    Deactivated { reason: String },
}

/// Why a command to a customer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustomerError {
    /// There is no such customer.
    #[error("there is no such customer")]
    NotFound,
    /// There is a customer of this id.
    #[error("a customer of this id exists already")]
    AlreadyExists,
    /// Nothing but the status of a suspended customer changes.
    #[error("the customer is suspended")]
    Suspended,
    /// Nothing of a deactivated customer changes.
    #[error("the customer is deactivated, which is final")]
    Deactivated,
    /// Only a suspended customer is reactivated.
    #[error("only a suspended customer can be reactivated")]
    NotSuspended,
    /// Suspended or deactivated before, for another reason.
    #[error("the customer is {status} already, for another reason")]
    DoneDifferently {
        /// Where they stand.
        status: CustomerStatus,
    },
    /// The customer never had that address.
    #[error("the customer has no such address")]
    AddressNotFound,
    /// The id names another address of the customer, or one that was removed.
    #[error("the id names another address of this customer, present or removed")]
    AddressIdTaken,
    /// One address more is too many.
    #[error("a customer has at most {ADDRESSES_MAX} addresses, and {ADDRESSES_EVER_MAX} ever")]
    TooManyAddresses,
}

kernel::error_codes! {
    CustomerError {
        NotFound: NotFound "customer_not_found",
        AlreadyExists: WrongState "customer_already_exists",
        Suspended: WrongState "customer_suspended",
        Deactivated: WrongState "customer_deactivated",
        NotSuspended: WrongState "customer_not_suspended",
        DoneDifferently: WrongState "customer_done_differently",
        AddressNotFound: NotFound "address_not_found",
        AddressIdTaken: WrongState "address_id_taken",
        TooManyAddresses: WrongState "too_many_addresses",
    }
}

impl Aggregate for Customer {
    const TYPE: &'static str = "customer";
    const TOPIC: &'static str = "customers.events";
    type Command = CustomerCommand;
    type Event = CustomerEvent;
    type Error = CustomerError;

    fn decide(&self, command: CustomerCommand, ctx: &DecisionContext) -> Decision<Self> {
        match (&self.0, command) {
            (None, CustomerCommand::Register { profile, email }) => {
                let (name, phone) = event::stored_profile(profile);
                let email = email.into_string();
                Ok(vec![CustomerEvent::Registered { name, email, phone, registered_at: ctx.now }])
            }
            (Some(_), CustomerCommand::Register { .. }) => Err(CustomerError::AlreadyExists),
            (None, _) => Err(CustomerError::NotFound),
            (Some(customer), CustomerCommand::UpdateProfile { profile }) => {
                customer.update_profile(profile, ctx)
            }
            (Some(customer), CustomerCommand::ChangeEmail { email }) => {
                customer.change_email(email.into_string(), ctx)
            }
            (Some(customer), CustomerCommand::AddAddress { address_id, address }) => {
                customer.add_address(address_id, event::stored_address(address), ctx)
            }
            (Some(customer), CustomerCommand::RemoveAddress { address_id }) => {
                customer.remove_address(address_id, ctx)
            }
            (Some(customer), CustomerCommand::Suspend { reason }) => {
                customer.suspend(reason.into_string(), ctx)
            }
            (Some(customer), CustomerCommand::Reactivate) => customer.reactivate(ctx),
            (Some(customer), CustomerCommand::Deactivate { reason }) => {
                customer.deactivate(reason.into_string(), ctx)
            }
        }
    }

    fn apply(&mut self, event: &CustomerEvent) {
        match (event, &mut self.0) {
            (CustomerEvent::Registered { name, email, phone, .. }, customer) => {
                *customer = Some(Existing {
                    name: name.clone(),
                    phone: phone.clone(),
                    email: email.clone(),
                    addresses: BTreeMap::new(),
                    removed: BTreeSet::new(),
                    standing: Standing::Active { again: false },
                });
            }
            (_, None) => {}
            (CustomerEvent::ProfileUpdated { name, phone, .. }, Some(customer)) => {
                customer.name.clone_from(name);
                customer.phone.clone_from(phone);
            }
            (CustomerEvent::EmailChanged { email, .. }, Some(customer)) => {
                customer.email.clone_from(email);
            }
            (CustomerEvent::AddressAdded { address_id, address, .. }, Some(customer)) => {
                customer.addresses.insert(*address_id, address.clone());
            }
            (CustomerEvent::AddressRemoved { address_id, .. }, Some(customer)) => {
                customer.addresses.remove(address_id);
                customer.removed.insert(*address_id);
            }
            (CustomerEvent::Suspended { reason, .. }, Some(customer)) => {
                customer.standing = Standing::Suspended { reason: reason.clone() };
            }
            (CustomerEvent::Reactivated { .. }, Some(customer)) => {
                customer.standing = Standing::Active { again: true };
            }
            (CustomerEvent::Deactivated { reason, .. }, Some(customer)) => {
                customer.standing = Standing::Deactivated { reason: reason.clone() };
            }
        }
    }
}

impl Existing {
    /// Whether anything but the status may change.
    fn changeable(&self) -> Result<(), CustomerError> {
        match self.standing {
            Standing::Active { .. } => Ok(()),
            Standing::Suspended { .. } => Err(CustomerError::Suspended),
            Standing::Deactivated { .. } => Err(CustomerError::Deactivated),
        }
    }

    fn update_profile(&self, profile: Profile, ctx: &DecisionContext) -> Decision<Customer> {
        self.changeable()?;
        let (name, phone) = event::stored_profile(profile);
        if self.name == name && self.phone == phone {
            return Ok(Vec::new());
        }
        Ok(vec![CustomerEvent::ProfileUpdated { name, phone, updated_at: ctx.now }])
    }

    fn change_email(&self, email: String, ctx: &DecisionContext) -> Decision<Customer> {
        self.changeable()?;
        if self.email == email {
            return Ok(Vec::new());
        }
        Ok(vec![CustomerEvent::EmailChanged { email, changed_at: ctx.now }])
    }

    fn add_address(
        &self,
        address_id: Uuid,
        address: StoredAddress,
        ctx: &DecisionContext,
    ) -> Decision<Customer> {
        self.changeable()?;
        match self.addresses.get(&address_id) {
            Some(present) if *present == address => return Ok(Vec::new()),
            Some(_) => return Err(CustomerError::AddressIdTaken),
            None if self.removed.contains(&address_id) => {
                return Err(CustomerError::AddressIdTaken);
            }
            None => {}
        }
        let ever = self.addresses.len() + self.removed.len();
        if self.addresses.len() >= ADDRESSES_MAX || ever >= ADDRESSES_EVER_MAX {
            return Err(CustomerError::TooManyAddresses);
        }
        Ok(vec![CustomerEvent::AddressAdded { address_id, address, added_at: ctx.now }])
    }

    fn remove_address(&self, address_id: Uuid, ctx: &DecisionContext) -> Decision<Customer> {
        self.changeable()?;
        if self.removed.contains(&address_id) {
            return Ok(Vec::new());
        }
        if !self.addresses.contains_key(&address_id) {
            return Err(CustomerError::AddressNotFound);
        }
        Ok(vec![CustomerEvent::AddressRemoved { address_id, removed_at: ctx.now }])
    }

    fn suspend(&self, reason: String, ctx: &DecisionContext) -> Decision<Customer> {
        match &self.standing {
            Standing::Active { .. } => {
                Ok(vec![CustomerEvent::Suspended { reason, suspended_at: ctx.now }])
            }
            Standing::Suspended { reason: before } => {
                nothing_new(*before == reason, CustomerStatus::Suspended)
            }
            Standing::Deactivated { .. } => Err(CustomerError::Deactivated),
        }
    }

    fn reactivate(&self, ctx: &DecisionContext) -> Decision<Customer> {
        match &self.standing {
            Standing::Suspended { .. } => {
                Ok(vec![CustomerEvent::Reactivated { reactivated_at: ctx.now }])
            }
            Standing::Active { again: true } => Ok(Vec::new()),
            Standing::Active { again: false } => Err(CustomerError::NotSuspended),
            Standing::Deactivated { .. } => Err(CustomerError::Deactivated),
        }
    }

    fn deactivate(&self, reason: String, ctx: &DecisionContext) -> Decision<Customer> {
        match &self.standing {
            Standing::Active { .. } | Standing::Suspended { .. } => {
                Ok(vec![CustomerEvent::Deactivated { reason, deactivated_at: ctx.now }])
            }
            Standing::Deactivated { reason: before } => {
                nothing_new(*before == reason, CustomerStatus::Deactivated)
            }
        }
    }
}

/// What a command yields that finds the customer where it wanted to bring them.
fn nothing_new(same_reason: bool, status: CustomerStatus) -> Decision<Customer> {
    if same_reason { Ok(Vec::new()) } else { Err(CustomerError::DoneDifferently { status }) }
}

#[cfg(test)]
mod tests;
