//! Commands to customers, as clients send them.
//!
//! ```text
//! POST   /v1/customers                   {"customer_id"?, "name", "email", "phone"?}
//! PUT    /v1/customers/{id}/profile      {"name", "phone"?}
//! PUT    /v1/customers/{id}/email        {"email"}
//! POST   /v1/customers/{id}/addresses    {"address_id"?, "street", "city", "postal_code"?, "country"}
//! DELETE /v1/customers/{id}/addresses/{address_id}
//! POST   /v1/customers/{id}/suspend      {"reason"}
//! POST   /v1/customers/{id}/reactivate
//! POST   /v1/customers/{id}/deactivate   {"reason"}
//! ```

use domain::customer::{Address, Profile};
use domain::value::{Country, Email, Phone, Text};
use domain::{Customer, CustomerCommand};
use http_edge::bodies;
use http_edge::commands::{At, CommandBody, Commands, Id, InvalidValue, id_of_new};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The commands to customers.
pub(crate) fn commands(customer: Commands<Customer>) -> Commands<Customer> {
    customer
        .create::<RegisterCustomer>()
        .put::<UpdateProfile>("profile")
        .put::<ChangeEmail>("email")
        .post::<AddAddress>("addresses")
        .delete::<RemoveAddress>("addresses/{address_id}")
        .post::<SuspendCustomer>("suspend")
        .post::<ReactivateCustomer>("reactivate")
        .post::<DeactivateCustomer>("deactivate")
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterCustomer {
    customer_id: Option<Id>,
    name: String,
    email: String,
    phone: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddAddress {
    address_id: Option<Id>,
    street: String,
    city: String,
    postal_code: Option<String>,
    country: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveAddress {
    /// From the path.
    #[serde(skip_deserializing)]
    address_id: Uuid,
}

fn profile(name: String, phone: Option<String>) -> Result<Profile, InvalidValue> {
    Ok(Profile {
        name: Text::new(name).at("name")?,
        phone: phone.map(Phone::new).transpose().at("phone")?,
    })
}

impl CommandBody<Customer> for RegisterCustomer {
    const NAME: &'static str = "register";

    fn named_id(&self) -> Option<Uuid> {
        self.customer_id.map(|id| id.0)
    }

    fn into_command(self, _command_id: Uuid) -> Result<CustomerCommand, InvalidValue> {
        Ok(CustomerCommand::Register {
            profile: profile(self.name, self.phone)?,
            email: Email::new(self.email).at("email")?,
        })
    }
}

impl CommandBody<Customer> for AddAddress {
    const NAME: &'static str = "add_address";

    fn into_command(self, command_id: Uuid) -> Result<CustomerCommand, InvalidValue> {
        let named = self.address_id.map(|id| id.0);
        Ok(CustomerCommand::AddAddress {
            address_id: named.unwrap_or_else(|| id_of_new("address", command_id)),
            address: Address {
                street: Text::new(self.street).at("street")?,
                city: Text::new(self.city).at("city")?,
                postal_code: self.postal_code.map(Text::new).transpose().at("postal_code")?,
                country: Country::new(self.country).at("country")?,
            },
        })
    }
}

impl CommandBody<Customer> for RemoveAddress {
    const NAME: &'static str = "remove_address";
    const MAY_BE_ABSENT: bool = true;

    fn take_path_id(&mut self, id: Uuid) {
        self.address_id = id;
    }

    fn into_command(self, _command_id: Uuid) -> Result<CustomerCommand, InvalidValue> {
        Ok(CustomerCommand::RemoveAddress { address_id: self.address_id })
    }
}

bodies! {
    for Customer;
    UpdateProfile = "update_profile" { name: String, phone: Option<String> } =>
        CustomerCommand::UpdateProfile { profile: profile(name, phone)? };
    ChangeEmail = "change_email" { email: String } =>
        CustomerCommand::ChangeEmail { email: Email::new(email).at("email")? };
    SuspendCustomer = "suspend" { reason: String } =>
        CustomerCommand::Suspend { reason: Text::new(reason).at("reason")? };
    ReactivateCustomer = "reactivate" {} => CustomerCommand::Reactivate;
    DeactivateCustomer = "deactivate" { reason: String } =>
        CustomerCommand::Deactivate { reason: Text::new(reason).at("reason")? };
}
